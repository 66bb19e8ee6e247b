"""Everything ingest sends to a cluster: describes an index, changes its mapping, reads it in pages, writes in bulk."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from opensearchpy.exceptions import AuthorizationException, NotFoundError, TransportError
from opensearchpy.helpers import scan, streaming_bulk
from tenacity import (
    Retrying,
    retry_base,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
    wait_random_exponential,
)

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors, cluster_info, error_reason
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES, SHARD_DOC_SORT, Release, parse_release
from anthem_ingest.actions import PRODUCTS_PER_PAGE, BulkAction, IndexHit, ProductDocument, build_read_body
from anthem_ingest.mapping import choose_write_index

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch
    from tenacity import RetryCallState

    from anthem_core.opensearch.schema import ModelFields
    from anthem_ingest.mapping import IndexDescription
    from anthem_ingest.report import IngestTally

BulkItemStatus: TypeAlias = int | str
BulkItem: TypeAlias = dict[str, Any]  # the part of a bulk response that belongs to one action

VIEW_KEEP_ALIVE = "10m"  # how long the cluster keeps a point in time or scroll after each page
BULK_CHUNK_BYTES = 8_000_000  # hosted clusters refuse requests of 10 MB
REQUEST_TIMEOUT_SECONDS = 120
MAX_ATTEMPTS = 9  # about three minutes
MAX_WAIT_SECONDS = 60.0  # between two attempts
# Reasons that OpenSearch gives if the node that held a point in time has left the cluster.
LOST_VIEW_MESSAGES = ("No search context found", "no node found for id", "Node not connected")

CHANGED_STATUSES: frozenset[BulkItemStatus] = frozenset({409, 404})  # the product has changed, or was deleted
BUSY_STATUSES: frozenset[BulkItemStatus] = frozenset({429, 502, 503, 504, "TIMEOUT", "N/A"})
# Of a whole bulk request: one product invalidates it, or it is too large.
_REJECTED_REQUEST_STATUSES = frozenset({400, 413})
# Of a whole bulk request: the next one would fail in the same way.
_FATAL_STATUSES = frozenset({401, 403, "N/A"})

# Random within a range that doubles, so that writers refused together do not come back together.
_backoff = wait_random_exponential(multiplier=1, max=MAX_WAIT_SECONDS)

_log = logging.getLogger(__name__)


def read_release(client: OpenSearch) -> Release:
    """Release of the cluster; one small request.

    Raises:
        ClusterError: The cluster is not OpenSearch, or too old.
    """
    return parse_release(cluster_info(client))


def describe_index(client: OpenSearch, index: str) -> dict[str, Any] | None:
    """Response to `GET /<index>` for an index or alias; None if it does not exist."""
    try:
        response: dict[str, Any] = client.indices.get(index=index)
    except NotFoundError:
        return None
    return response


def resolve_write_index(client: OpenSearch, name: str) -> str:
    """The write index of an alias of several indices, or the name itself, see `choose_write_index`."""
    with cluster_errors():
        response = describe_index(client, name)
    return choose_write_index(response or {}, name)


def put_mapping(client: OpenSearch, index: str, body: Mapping[str, Any]) -> None:
    """Change a mapping; on releases where that makes shards fail for a moment, wait until all answer again."""
    client.indices.put_mapping(index=index, body=body)
    if not read_release(client).has(SAFE_MAPPING_CHANGES):
        is_unavailable = retry_if_exception(_is_busy) | retry_if_result(lambda count: count["_shards"]["failed"] > 0)
        _retrying(is_unavailable)(client.count, index=index)


def replace_meta(
    client: OpenSearch, index: IndexDescription, meta: Mapping[str, Any], *, accept_outages: bool = False
) -> None:
    """Replace a mapping's `_meta` if it differs; log a warning if the cluster forbids it or shards would fail."""
    if meta == index.meta:
        return
    warning = "Index '%s': the record of ingested text fields (_meta.anthem) was not updated: %s."
    if not (accept_outages or index.knn or read_release(client).has(SAFE_MAPPING_CHANGES)):
        _log.warning(warning, index.name, "on this release a mapping change would make its shards fail for a moment")
        return
    try:
        put_mapping(client, index.name, {"_meta": meta})
    except AuthorizationException:
        _log.warning(warning, index.name, "the cluster forbids changing the mapping (indices:admin/mapping/put)")
    except TransportError as error:  # the record is not worth an ingest that is otherwise complete
        _log.warning(warning, index.name, error_reason(error))


def count_products(client: OpenSearch, index: str, query: Mapping[str, Any]) -> int:
    """Number of products that match a query."""
    return int(client.count(index=index, body={"query": query})["count"])


def get_products(
    client: OpenSearch, index: str, documents: Sequence[ProductDocument]
) -> dict[tuple[str, str | None], IndexHit]:
    """Present state of products by key, refreshed or not; products that do not exist are omitted."""
    if not documents:
        return {}
    keys = list(dict.fromkeys(document.key for document in documents))
    wanted = [{"_id": name} if routing is None else {"_id": name, "routing": routing} for name, routing in keys]
    response = _call_with_retries(
        client.mget, index=index, body={"docs": wanted}, request_timeout=REQUEST_TIMEOUT_SECONDS
    )
    return {key: hit for key, hit in zip(keys, response["docs"], strict=True) if hit.get("found")}


def refresh_index(client: OpenSearch, index: str) -> None:
    """Make searches see all writes; on a large index this takes longer than the client's usual timeout."""
    client.indices.refresh(index=index, request_timeout=REQUEST_TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class ReadScope:
    """Which products of an index to read: those of a query, of one slice (number, total), or of some shards."""

    query: Mapping[str, Any] = field(default_factory=lambda: MATCH_ALL)
    slice: tuple[int, int] | None = None
    preference: str | None = None


def read_product_pages(
    client: OpenSearch,
    index: str,
    text_fields: Sequence[str],
    model_fields: ModelFields,
    scope: ReadScope = ReadScope(),
) -> Iterator[list[IndexHit]]:
    """Read products of an index, without their values, a page at a time; a lost shard is an error, never a gap."""
    yield from read_pages(client, index, build_read_body(text_fields, model_fields, scope.query), scope)


def read_pages(
    client: OpenSearch, index: str, body: dict[str, Any], scope: ReadScope = ReadScope()
) -> Generator[list[IndexHit], None, None]:
    """Read the hits of a search body a page at a time, as of now; of `scope`, only slice and preference are used."""
    if scope.slice:
        body = body | {"slice": dict(zip(("id", "max"), scope.slice, strict=True))}
    read = _read_by_point_in_time if read_release(client).has(SHARD_DOC_SORT) else _read_by_scroll
    yield from read(client, index, body, {"preference": scope.preference} if scope.preference else {})


def _read_by_point_in_time(
    client: OpenSearch, index: str, body: dict[str, Any], preference: dict[str, str]
) -> Iterator[list[IndexHit]]:
    """Each page starts after the last hit of the page before, so a failed request can be repeated without a gap."""
    view_options = {"keep_alive": VIEW_KEEP_ALIVE, "allow_partial_pit_creation": "false", **preference}
    view = client.create_pit(index=index, params=view_options)["pit_id"]
    body = body | {"size": PRODUCTS_PER_PAGE, "sort": [{"_shard_doc": "asc"}], "track_total_hits": False}
    try:
        while True:
            response = _call_with_retries(
                client.search,
                body=body | {"pit": {"id": view, "keep_alive": VIEW_KEEP_ALIVE}},
                params={"allow_partial_search_results": "false"},
                request_timeout=REQUEST_TIMEOUT_SECONDS,
            )
            hits, view = response["hits"]["hits"], response.get("pit_id", view)
            if not hits:
                return
            yield hits
            body["search_after"] = hits[-1]["sort"]
    except TransportError as error:
        if any(message in str(error.info) for message in LOST_VIEW_MESSAGES):
            raise ClusterError(
                "A node left the cluster, and the view of the index that was being read is lost. "
                "Run the command again: products already written are skipped."
            ) from error
        raise
    finally:
        client.delete_pit(body={"pit_id": [view]}, params={"ignore": 404})


def _read_by_scroll(
    client: OpenSearch, index: str, body: dict[str, Any], preference: dict[str, str]
) -> Iterator[list[IndexHit]]:
    """For releases before 3.3, which cannot sort a point in time by `_shard_doc`."""
    options: dict[str, Any] = {"scroll": VIEW_KEEP_ALIVE, "allow_partial_search_results": False, **preference}
    hits = scan(client, body, index=index, size=PRODUCTS_PER_PAGE, request_timeout=REQUEST_TIMEOUT_SECONDS, **options)
    with closing(hits):
        while page := list(islice(hits, PRODUCTS_PER_PAGE)):
            yield page


def throttle(actions: Iterable[BulkAction], rate: float | None) -> Iterator[BulkAction]:
    """The same actions, at most `rate` per second."""
    started = time.monotonic()
    for number, action in enumerate(actions):
        if rate:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        yield action


def chunk_size_for_rate(rate: float | None) -> int:
    """Actions per request that make about one request per second at this rate."""
    return PRODUCTS_PER_PAGE if rate is None else max(1, min(PRODUCTS_PER_PAGE, round(rate)))


def write_at_rate(
    client: OpenSearch,
    actions: Iterable[BulkAction],
    tally: IngestTally,
    retry_statuses: frozenset[BulkItemStatus] = frozenset(),
    *,
    rate: float | None,
) -> None:
    """Write actions as `write_actions` does, at most `rate` per second; without a limit if it is None."""
    write_actions(client, throttle(actions, rate), tally, retry_statuses, chunk_size=chunk_size_for_rate(rate))


def write_actions(
    client: OpenSearch,
    actions: Iterable[BulkAction],
    tally: IngestTally,
    retry_statuses: frozenset[BulkItemStatus] = frozenset(),
    *,
    chunk_size: int = PRODUCTS_PER_PAGE,
) -> None:
    """Send actions in bulk and count their results; the ids of those that end in a retry status are kept.

    Actions that a busy cluster refuses are sent again after growing waits. A request that is rejected as a whole is
    sent again in halves, until the product that invalidates it is alone.

    Raises:
        TransportError: The cluster refuses or does not answer a whole request.
    """
    remaining = iter(actions)
    while batch := list(islice(remaining, chunk_size)):
        rejected = _write_batch(client, batch, tally, retry_statuses)
        if rejected:
            write_actions(client, rejected, tally, retry_statuses, chunk_size=max(1, len(rejected) // 2))


def _write_batch(
    client: OpenSearch, batch: list[BulkAction], tally: IngestTally, retry_statuses: frozenset[BulkItemStatus]
) -> list[BulkAction]:
    """Write a batch; returns the actions whose whole request was rejected."""
    rejected: list[BulkAction] = []
    for action, item in _send_until_accepted(client, batch):
        if "error" not in item:
            tally.count_written(item["_id"])
        elif len(batch) > 1 and "exception" in item and item["status"] in _REJECTED_REQUEST_STATUSES:
            rejected.append(action)
        else:
            _count_refusal(item, tally, retry_statuses)
    return rejected


# `streaming_bulk` retries too, but without jitter and only for status 429.
def _send_until_accepted(client: OpenSearch, batch: list[BulkAction]) -> list[tuple[BulkAction, BulkItem]]:
    """Each action with its final result; only actions that the cluster was too busy for are sent again."""
    done: list[tuple[BulkAction, BulkItem]] = []
    waiting = batch

    def send_waiting() -> list[tuple[BulkAction, BulkItem]]:
        nonlocal waiting
        results = list(zip(waiting, _send_bulk(client, waiting), strict=True))
        refused = [result for result in results if result[1]["status"] in BUSY_STATUSES]
        done.extend(result for result in results if result[1]["status"] not in BUSY_STATUSES)
        waiting = [action for action, _ in refused]
        return refused

    still_refused = _retrying(retry_if_result(bool))(send_waiting)
    return done + still_refused


def _send_bulk(client: OpenSearch, actions: Iterable[BulkAction]) -> Iterator[BulkItem]:
    """Send actions once; the result of each, in order.

    The index is in the URL, because a cluster may refuse one in an action (`rest.action.multi.allow_explicit_index`).
    """
    for index, group in groupby(actions, itemgetter("_index")):
        nameless = [{key: value for key, value in action.items() if key != "_index"} for action in group]
        results = streaming_bulk(
            client, nameless, chunk_size=len(nameless), max_chunk_bytes=BULK_CHUNK_BYTES, raise_on_error=False,
            raise_on_exception=False, index=index, request_timeout=REQUEST_TIMEOUT_SECONDS,
        )  # fmt: skip
        for _, result in results:
            yield from result.values()


def _count_refusal(item: BulkItem, tally: IngestTally, retry_statuses: frozenset[BulkItemStatus]) -> None:
    if "exception" in item and item["status"] in _FATAL_STATUSES:
        raise item["exception"]
    if item["status"] in retry_statuses:
        tally.retry_ids.append(item["_id"])
    else:
        tally.count_failed(item["_id"], _refusal_reason(item))


def _refusal_reason(item: BulkItem) -> str:
    error = item.get("error")
    if not isinstance(error, dict):
        return str(error)
    cause = error.get("caused_by", {}).get("reason")
    return str(error.get("reason", error)) + (f" ({cause})" if cause else "")


def _call_with_retries(call: Any, **arguments: Any) -> Any:  # noqa: ANN401 (a method of the client, and its response)
    """Response to a request that can safely be repeated; repeated while the cluster is busy."""
    return _retrying(retry_if_exception(_is_busy))(call, **arguments)


def _retrying(condition: retry_base) -> Retrying:
    """Attempts after growing waits while the condition holds; returns the last result or raises the last error."""
    return Retrying(
        retry=condition,
        wait=_backoff,
        stop=stop_after_attempt(MAX_ATTEMPTS),
        retry_error_callback=_last_result,
    )


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, TransportError) and error.status_code in BUSY_STATUSES


def _last_result(state: RetryCallState) -> Any:  # noqa: ANN401 (the result of any call)
    return state.outcome.result() if state.outcome else []
