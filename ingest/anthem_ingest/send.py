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

from anthem_core.cluster import info
from anthem_core.errors import ClusterError
from anthem_core.versions import MAPPING_CHANGES, SHARD_DOC, Release, release_of
from anthem_ingest.actions import ALL, PAGE, Action, Hit, read_body
from anthem_ingest.mapping import Index, missing_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch
    from tenacity import RetryCallState

    from anthem_core.fields import Fields
    from anthem_ingest.report import Tally

Status: TypeAlias = int | str
Item: TypeAlias = dict[str, Any]  # what a bulk request answers of one action

KEEP = "10m"  # how long the cluster keeps its view of the index after each page
CHUNK_BYTES = 8_000_000  # hosted clusters refuse requests of 10 MB
SECONDS = 120  # for one request
ATTEMPTS = 9  # at what a busy cluster refuses: about three minutes
LOST = ("No search context found", "no node found for id", "Node not connected")  # the view went with its node
LONGEST_WAIT = 60.0  # seconds between two of them

CHANGED: frozenset[Status] = frozenset({409, 404})  # or gone
BUSY: frozenset[Status] = frozenset({429, 502, 503, 504, "TIMEOUT", "N/A"})
# Of a whole request: one product spoils it, or all together are too large.
_SPOILT = frozenset({400, 413})
_HOPELESS = frozenset({401, 403, "N/A"})  # of a whole request: the next will fare no better

# Random within a range that doubles: writers that were refused together do not come back together.
_wait = wait_random_exponential(multiplier=1, max=LONGEST_WAIT)


_releases: WeakKeyDictionary[OpenSearch, Release] = WeakKeyDictionary()  # what each cluster said, asked once


def release(client: OpenSearch) -> Release:
    """Release of the cluster.

    Raises:
        ClusterError: It is no OpenSearch, or one that is too old.
    """
    if client not in _releases:
        _releases[client] = release_of(info(client))
    return _releases[client]


def describe(client: OpenSearch, index: str) -> dict[str, Any] | None:
    """Return what the cluster says about an index or alias, None where there is none of this name."""
    try:
        answer: dict[str, Any] = client.indices.get(index=index)
    except NotFoundError:
        return None
    return answer


def add_mapping(client: OpenSearch, index: Index, names: Fields, dimension: int) -> None:
    """Add the fields that the index lacks, if any."""
    body = missing_mapping(index, names, dimension)
    if body:
        put_mapping(client, index.name, body)


def put_mapping(client: OpenSearch, index: str, body: Mapping[str, Any]) -> None:
    """Change a mapping, and wait until all shards answer again where that takes them out for a moment."""
    client.indices.put_mapping(index=index, body=body)
    if not release(client).has(MAPPING_CHANGES):
        missing = retry_if_exception(_is_busy) | retry_if_result(lambda answer: answer["_shards"]["failed"] > 0)
        attempts = Retrying(
            retry=missing, wait=_wait, stop=stop_after_attempt(ATTEMPTS), retry_error_callback=_last_result
        )
        attempts(client.count, index=index)


def count(client: OpenSearch, index: str, query: Mapping[str, Any]) -> int:
    """Number of products that match."""
    return int(client.count(index=index, body={"query": query})["count"])


def stored(client: OpenSearch, index: str, ids: Sequence[str]) -> dict[str, Hit]:
    """Products of an index as they are now, refreshed or not, by id; those that are not there are left out."""
    if not ids:
        return {}
    found = _patiently(client.mget, index=index, body={"ids": list(dict.fromkeys(ids))}, request_timeout=SECONDS)
    return {hit["_id"]: hit for hit in found["docs"] if hit.get("found")}


@dataclass(frozen=True, slots=True)
class Part:
    """Products of an index to read: those of a query, of one of several slices, or of some shards; or all."""

    query: Mapping[str, Any] = field(default_factory=lambda: ALL)
    slice: tuple[int, int] | None = None
    preference: str | None = None


def pages(
    client: OpenSearch, index: str, fields: Sequence[str], names: Fields, part: Part = Part()
) -> Iterator[list[Hit]]:
    """Read products of an index as it is now, a page at a time; a lost shard is an error, never a gap."""
    yield from read(client, index, read_body(fields, names, part.query), part)


def read(client: OpenSearch, index: str, body: dict[str, Any], part: Part = Part()) -> Iterator[list[Hit]]:
    """Hits of a body, page by page, from one view of the index; of `part`, the slice and the preference count."""
    if part.slice:
        body = body | {"slice": dict(zip(("id", "max"), part.slice, strict=True))}
    walk = _by_point_in_time if release(client).has(SHARD_DOC) else _by_scroll
    yield from walk(client, index, body, {"preference": part.preference} if part.preference else {})


def _by_point_in_time(
    client: OpenSearch, index: str, body: dict[str, Any], preference: dict[str, str]
) -> Iterator[list[Hit]]:
    """Each page is asked for by the last of the one before: one that failed is asked for again and none is missed."""
    options = {"keep_alive": KEEP, "allow_partial_pit_creation": "false", **preference}
    view = client.create_pit(index=index, params=options)["pit_id"]
    body = body | {"size": PAGE, "sort": [{"_shard_doc": "asc"}], "track_total_hits": False}
    try:
        while True:
            answer = _patiently(
                client.search, body=body | {"pit": {"id": view, "keep_alive": KEEP}}, request_timeout=SECONDS,
                params={"allow_partial_search_results": "false"},
            )  # fmt: skip
            hits, view = answer["hits"]["hits"], answer.get("pit_id", view)
            if not hits:
                return
            yield hits
            body["search_after"] = hits[-1]["sort"]
    except TransportError as error:
        if any(sign in str(error.info) for sign in LOST):
            raise ClusterError(
                "A node of the cluster went away, and with it the view of the index that was read. "
                "Run ingest again: what is written is skipped."
            ) from error
        raise
    finally:
        client.delete_pit(body={"pit_id": [view]}, params={"ignore": 404})


def _by_scroll(client: OpenSearch, index: str, body: dict[str, Any], preference: dict[str, str]) -> Iterator[list[Hit]]:
    """For clusters before 3.3, where a point in time has no order of its own."""
    options: dict[str, Any] = {"size": PAGE, "scroll": KEEP, "allow_partial_search_results": False, **preference}
    with closing(scan(client, body, index=index, request_timeout=SECONDS, **options)) as hits:
        while page := list(islice(hits, PAGE)):
            yield page


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, TransportError) and error.status_code in BUSY


def _patiently(call: Any, **options: Any) -> Any:  # noqa: ANN401 (a method of the client, and its answer)
    """Answer of a request that may be sent more than once, also to a cluster that is busy at first."""
    attempts = Retrying(retry=retry_if_exception(_is_busy), wait=_wait, stop=stop_after_attempt(ATTEMPTS), reraise=True)
    return attempts(call, **options)


def paced(actions: Iterable[Action], rate: float | None) -> Iterator[Action]:
    """The same actions, at most `rate` a second."""
    started = time.monotonic()
    for number, action in enumerate(actions):
        if rate:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        yield action


def chunk_at(rate: float | None) -> int:
    """Actions in one request, so that at a rate there is about one request a second."""
    return PAGE if rate is None else max(1, min(PAGE, round(rate)))


def write(
    client: OpenSearch, actions: Iterable[Action], tally: Tally, again: frozenset[Status], *, chunk: int = PAGE
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
            write(client, spoilt, tally, again, chunk=max(1, len(spoilt) // 2))


def _write_batch(client: OpenSearch, batch: list[Action], tally: Tally, again: frozenset[Status]) -> list[Action]:
    """Write what can be written of a batch; return what was refused with its whole request."""
    spoilt: list[Action] = []
    for action, item in _settled(client, batch):
        if "error" not in item:
            tally.succeed(item["_id"])
        elif len(batch) > 1 and "exception" in item and item["status"] in _SPOILT:
            spoilt.append(action)
        else:
            _refused(item, tally, again)
    return spoilt


def _settled(client: OpenSearch, batch: list[Action]) -> list[tuple[Action, Item]]:
    """Actions with what became of each in the end; only those refused as too much are sent again."""
    settled: list[tuple[Action, Item]] = []
    left = batch

    def send() -> list[tuple[Action, Item]]:
        nonlocal left
        pairs = list(zip(left, _sent(client, left), strict=True))
        busy = [pair for pair in pairs if pair[1]["status"] in BUSY]
        settled.extend(pair for pair in pairs if pair[1]["status"] not in BUSY)
        left = [action for action, _ in busy]
        return busy

    attempts = Retrying(
        retry=retry_if_result(bool), wait=_wait, stop=stop_after_attempt(ATTEMPTS), retry_error_callback=_last_result
    )
    still_busy = attempts(send)
    return settled + still_busy


def _last_result(state: RetryCallState) -> Any:  # noqa: ANN401 (whatever was tried)
    return state.outcome.result() if state.outcome else []


def _sent(client: OpenSearch, actions: Sequence[Action]) -> Iterator[Item]:
    """Send actions once; what became of each, in their order."""
    results = streaming_bulk(
        client, actions, chunk_size=len(actions), max_chunk_bytes=CHUNK_BYTES, raise_on_error=False,
        raise_on_exception=False, request_timeout=SECONDS,
    )  # fmt: skip
    for _, result in results:
        (item,) = result.values()
        yield item


def _refused(item: Item, tally: Tally, again: frozenset[Status]) -> None:
    if "exception" in item and item["status"] in _HOPELESS:
        raise item["exception"]
    if item["status"] in again:
        tally.again.append(item["_id"])
    else:
        tally.fail(item["_id"], _reason(item))


def _reason(item: Item) -> str:
    error = item.get("error")
    if not isinstance(error, dict):
        return str(error)
    cause = error.get("caused_by", {}).get("reason")
    return str(error.get("reason", error)) + (f" ({cause})" if cause else "")


def refresh(client: OpenSearch, index: str) -> None:
    """Let searches see what was written; on a large index this takes longer than a search may."""
    client.indices.refresh(index=index, request_timeout=SECONDS)
