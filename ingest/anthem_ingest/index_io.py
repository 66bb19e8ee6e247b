"""The one place that talks to the cluster: describes, maps, reads pages, writes in bulk."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from opensearchpy.exceptions import NotFoundError, TransportError
from opensearchpy.helpers import scan, streaming_bulk
from tenacity import Retrying, retry_if_exception, retry_if_result, stop_after_attempt, wait_random_exponential

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_info
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES, SHARD_DOC_SORT, Release, parse_release
from anthem_ingest.actions import MATCH_ALL, PRODUCTS_PER_PAGE, BulkAction, IndexHit, build_read_body
from anthem_ingest.mapping import IndexDescription, build_missing_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch
    from tenacity import RetryCallState

    from anthem_core.opensearch.schema import VectorFields
    from anthem_ingest.report import IngestTally

BulkItemStatus: TypeAlias = int | str
BulkItem: TypeAlias = dict[str, Any]  # what a bulk request answers of one action

VIEW_KEEP_ALIVE = "10m"  # how long the cluster keeps its view of the index after each page
BULK_CHUNK_BYTES = 8_000_000  # hosted clusters refuse requests of 10 MB
REQUEST_TIMEOUT_SECONDS = 120  # for one request
MAX_ATTEMPTS = 9  # at what a busy cluster refuses: about three minutes
LOST_VIEW_MESSAGES = (
    "No search context found",
    "no node found for id",
    "Node not connected",
)  # the view went with its node
MAX_WAIT_SECONDS = 60.0  # seconds between two of them

CHANGED_STATUSES: frozenset[BulkItemStatus] = frozenset({409, 404})  # or gone
BUSY_STATUSES: frozenset[BulkItemStatus] = frozenset({429, 502, 503, 504, "TIMEOUT", "N/A"})
# Of a whole request: one product spoils it, or all together are too large.
_REJECTED_REQUEST_STATUSES = frozenset({400, 413})
_FATAL_STATUSES = frozenset({401, 403, "N/A"})  # of a whole request: the next will fare no better

# Random within a range that doubles: writers that were refused together do not come back together.
_backoff = wait_random_exponential(multiplier=1, max=MAX_WAIT_SECONDS)


_releases: WeakKeyDictionary[OpenSearch, Release] = WeakKeyDictionary()  # what each cluster said, asked once


def read_release(client: OpenSearch) -> Release:
    """Release of the cluster.

    Raises:
        ClusterError: It is no OpenSearch, or one that is too old.
    """
    if client not in _releases:
        _releases[client] = parse_release(cluster_info(client))
    return _releases[client]


def describe_index(client: OpenSearch, index: str) -> dict[str, Any] | None:
    """Return what the cluster says about an index or alias, None where there is none of this name."""
    try:
        answer: dict[str, Any] = client.indices.get(index=index)
    except NotFoundError:
        return None
    return answer


def add_missing_mapping(client: OpenSearch, index: IndexDescription, names: VectorFields, dimension: int) -> None:
    """Add the fields that the index lacks, if any."""
    body = build_missing_mapping(index, names, dimension)
    if body:
        put_mapping(client, index.name, body)


def put_mapping(client: OpenSearch, index: str, body: Mapping[str, Any]) -> None:
    """Change a mapping, and wait until all shards answer again where that takes them out for a moment."""
    client.indices.put_mapping(index=index, body=body)
    if not read_release(client).has(SAFE_MAPPING_CHANGES):
        missing = retry_if_exception(_is_busy) | retry_if_result(lambda answer: answer["_shards"]["failed"] > 0)
        attempts = Retrying(
            retry=missing, wait=_backoff, stop=stop_after_attempt(MAX_ATTEMPTS), retry_error_callback=_last_result
        )
        attempts(client.count, index=index)


def count_products(client: OpenSearch, index: str, query: Mapping[str, Any]) -> int:
    """Number of products that match."""
    return int(client.count(index=index, body={"query": query})["count"])


def get_products(client: OpenSearch, index: str, ids: Sequence[str]) -> dict[str, IndexHit]:
    """Products of an index as they are now, refreshed or not, by id; those that are not there are left out."""
    if not ids:
        return {}
    found = _call_with_retries(
        client.mget, index=index, body={"ids": list(dict.fromkeys(ids))}, request_timeout=REQUEST_TIMEOUT_SECONDS
    )
    return {hit["_id"]: hit for hit in found["docs"] if hit.get("found")}


@dataclass(frozen=True, slots=True)
class ReadScope:
    """Products of an index to read: those of a query, of one of several slices, or of some shards; or all."""

    query: Mapping[str, Any] = field(default_factory=lambda: MATCH_ALL)
    slice: tuple[int, int] | None = None
    preference: str | None = None


def read_product_pages(
    client: OpenSearch, index: str, fields: Sequence[str], names: VectorFields, part: ReadScope = ReadScope()
) -> Iterator[list[IndexHit]]:
    """Read products of an index as it is now, a page at a time; a lost shard is an error, never a gap."""
    yield from read_pages(client, index, build_read_body(fields, names, part.query), part)


def read_pages(
    client: OpenSearch, index: str, body: dict[str, Any], part: ReadScope = ReadScope()
) -> Iterator[list[IndexHit]]:
    """Hits of a body, page by page, from one view of the index; of `part`, the slice and the preference count."""
    if part.slice:
        body = body | {"slice": dict(zip(("id", "max"), part.slice, strict=True))}
    walk = _read_by_point_in_time if read_release(client).has(SHARD_DOC_SORT) else _read_by_scroll
    yield from walk(client, index, body, {"preference": part.preference} if part.preference else {})


def _read_by_point_in_time(
    client: OpenSearch, index: str, body: dict[str, Any], preference: dict[str, str]
) -> Iterator[list[IndexHit]]:
    """Each page is asked for by the last of the one before: one that failed is asked for again and none is missed."""
    options = {"keep_alive": VIEW_KEEP_ALIVE, "allow_partial_pit_creation": "false", **preference}
    view = client.create_pit(index=index, params=options)["pit_id"]
    body = body | {"size": PRODUCTS_PER_PAGE, "sort": [{"_shard_doc": "asc"}], "track_total_hits": False}
    try:
        while True:
            answer = _call_with_retries(
                client.search, body=body | {"pit": {"id": view, "keep_alive": VIEW_KEEP_ALIVE}}, request_timeout=REQUEST_TIMEOUT_SECONDS,
                params={"allow_partial_search_results": "false"},
            )  # fmt: skip
            hits, view = answer["hits"]["hits"], answer.get("pit_id", view)
            if not hits:
                return
            yield hits
            body["search_after"] = hits[-1]["sort"]
    except TransportError as error:
        if any(sign in str(error.info) for sign in LOST_VIEW_MESSAGES):
            raise ClusterError(
                "A node of the cluster went away, and with it the view of the index that was read. "
                "Run ingest again: what is written is skipped."
            ) from error
        raise
    finally:
        client.delete_pit(body={"pit_id": [view]}, params={"ignore": 404})


def _read_by_scroll(
    client: OpenSearch, index: str, body: dict[str, Any], preference: dict[str, str]
) -> Iterator[list[IndexHit]]:
    """For clusters before 3.3, where a point in time has no order of its own."""
    options: dict[str, Any] = {
        "size": PRODUCTS_PER_PAGE,
        "scroll": VIEW_KEEP_ALIVE,
        "allow_partial_search_results": False,
        **preference,
    }
    with closing(scan(client, body, index=index, request_timeout=REQUEST_TIMEOUT_SECONDS, **options)) as hits:
        while page := list(islice(hits, PRODUCTS_PER_PAGE)):
            yield page


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, TransportError) and error.status_code in BUSY_STATUSES


def _call_with_retries(call: Any, **options: Any) -> Any:  # noqa: ANN401 (a method of the client, and its answer)
    """Answer of a request that may be sent more than once, also to a cluster that is busy at first."""
    attempts = Retrying(
        retry=retry_if_exception(_is_busy), wait=_backoff, stop=stop_after_attempt(MAX_ATTEMPTS), reraise=True
    )
    return attempts(call, **options)


def throttle(actions: Iterable[BulkAction], rate: float | None) -> Iterator[BulkAction]:
    """The same actions, at most `rate` a second."""
    started = time.monotonic()
    for number, action in enumerate(actions):
        if rate:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        yield action


def chunk_size_for_rate(rate: float | None) -> int:
    """Actions in one request, so that at a rate there is about one request a second."""
    return PRODUCTS_PER_PAGE if rate is None else max(1, min(PRODUCTS_PER_PAGE, round(rate)))


def write_actions(
    client: OpenSearch,
    actions: Iterable[BulkAction],
    tally: IngestTally,
    again: frozenset[BulkItemStatus],
    *,
    chunk: int = PRODUCTS_PER_PAGE,
) -> None:
    """Send actions in bulk and count what came of them; ids of those that end in a status of `again` are kept.

    What a busy cluster refuses is sent again, later and later. A request that is refused as a whole is sent again
    in halves, until what spoils it stands alone.

    Raises:
        TransportError: The cluster refuses or does not answer a whole request.
    """
    rest = iter(actions)
    while batch := list(islice(rest, chunk)):
        spoilt = _write_batch(client, batch, tally, again)
        if spoilt:
            write_actions(client, spoilt, tally, again, chunk=max(1, len(spoilt) // 2))


def _write_batch(
    client: OpenSearch, batch: list[BulkAction], tally: IngestTally, again: frozenset[BulkItemStatus]
) -> list[BulkAction]:
    """Write what can be written of a batch; return what was refused with its whole request."""
    spoilt: list[BulkAction] = []
    for action, item in _send_until_settled(client, batch):
        if "error" not in item:
            tally.succeed(item["_id"])
        elif len(batch) > 1 and "exception" in item and item["status"] in _REJECTED_REQUEST_STATUSES:
            spoilt.append(action)
        else:
            _handle_refusal(item, tally, again)
    return spoilt


def _send_until_settled(client: OpenSearch, batch: list[BulkAction]) -> list[tuple[BulkAction, BulkItem]]:
    """Actions with what became of each in the end; only those refused as too much are sent again."""
    settled: list[tuple[BulkAction, BulkItem]] = []
    left = batch

    def send() -> list[tuple[BulkAction, BulkItem]]:
        nonlocal left
        pairs = list(zip(left, _send_bulk(client, left), strict=True))
        busy = [pair for pair in pairs if pair[1]["status"] in BUSY_STATUSES]
        settled.extend(pair for pair in pairs if pair[1]["status"] not in BUSY_STATUSES)
        left = [action for action, _ in busy]
        return busy

    attempts = Retrying(
        retry=retry_if_result(bool),
        wait=_backoff,
        stop=stop_after_attempt(MAX_ATTEMPTS),
        retry_error_callback=_last_result,
    )
    still_busy = attempts(send)
    return settled + still_busy


def _last_result(state: RetryCallState) -> Any:  # noqa: ANN401 (whatever was tried)
    return state.outcome.result() if state.outcome else []


def _send_bulk(client: OpenSearch, actions: Sequence[BulkAction]) -> Iterator[BulkItem]:
    """Send actions once; what became of each, in their order."""
    results = streaming_bulk(
        client, actions, chunk_size=len(actions), max_chunk_bytes=BULK_CHUNK_BYTES, raise_on_error=False,
        raise_on_exception=False, request_timeout=REQUEST_TIMEOUT_SECONDS,
    )  # fmt: skip
    for _, result in results:
        (item,) = result.values()
        yield item


def _handle_refusal(item: BulkItem, tally: IngestTally, again: frozenset[BulkItemStatus]) -> None:
    if "exception" in item and item["status"] in _FATAL_STATUSES:
        raise item["exception"]
    if item["status"] in again:
        tally.again.append(item["_id"])
    else:
        tally.fail(item["_id"], _item_reason(item))


def _item_reason(item: BulkItem) -> str:
    error = item.get("error")
    if not isinstance(error, dict):
        return str(error)
    cause = error.get("caused_by", {}).get("reason")
    return str(error.get("reason", error)) + (f" ({cause})" if cause else "")


def refresh_index(client: OpenSearch, index: str) -> None:
    """Let searches see what was written; on a large index this takes longer than a search may."""
    client.indices.refresh(index=index, request_timeout=REQUEST_TIMEOUT_SECONDS)
