"""The one place that talks to the cluster: describes, maps, reads pages, writes in bulk."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import NotFoundError
from opensearchpy.helpers import scan, streaming_bulk

from anthem_ingest.actions import ALL, PAGE, Action, Hit, read_body
from anthem_ingest.mapping import Index, missing_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.fields import Fields
    from anthem_ingest.report import Tally

KEEP = "10m"  # how long the cluster keeps its view of the index after each page
CHUNK_BYTES = 8_000_000  # hosted clusters refuse requests of 10 MB
SECONDS = 120  # for one bulk request
RETRIES = 6  # of what was refused with 429, after 1, 2, 4, 8, 16 and 32 seconds

CHANGED: frozenset[int | str] = frozenset({409, 404})  # or gone
BUSY: frozenset[int | str] = frozenset({429, 503, "TIMEOUT"})
# Of a whole request: one product spoils it, or all together are too large.
_SPOILT = frozenset({400, 413})
_HOPELESS = frozenset({401, 403, "N/A"})  # of a whole request: the next will fare no better


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
        client.indices.put_mapping(index=index.name, body=body)


def count(client: OpenSearch, index: str, query: Mapping[str, Any]) -> int:
    """Number of products that match."""
    return int(client.count(index=index, body={"query": query})["count"])


def pages(
    client: OpenSearch, index: str, fields: Sequence[str], names: Fields, query: Mapping[str, Any] = ALL
) -> Iterator[list[Hit]]:
    """Read products of an index as it is now, a page at a time; a lost shard is an error, never a gap.

    By scroll: to page through a point in time OpenSearch needs `_shard_doc`, which came with 3.3 only.
    """
    body = read_body(fields, names, query)
    with closing(scan(client, body, index=index, size=PAGE, scroll=KEEP, allow_partial_search_results=False)) as hits:
        while page := list(islice(hits, PAGE)):
            yield page


def write(
    client: OpenSearch, actions: Iterable[Action], tally: Tally, again: frozenset[int | str], *, chunk: int = PAGE
) -> None:
    """Send actions in bulk and count what came of them; those that end in a status of `again` are kept for later.

    A request that is refused as a whole is sent again in halves, until what spoils it stands alone.

    Raises:
        TransportError: The cluster refuses or does not answer a whole request.
    """
    results = streaming_bulk(
        client, actions, chunk_size=chunk, max_chunk_bytes=CHUNK_BYTES, raise_on_error=False, raise_on_exception=False,
        max_retries=RETRIES, initial_backoff=1, request_timeout=SECONDS,
    )  # fmt: skip
    spoilt: list[Action] = []
    for ok, result in results:
        ((kind, item),) = result.items()
        if ok:
            tally.succeed(item["_id"])
        elif chunk > 1 and "exception" in item and item["status"] in _SPOILT:
            spoilt.append(_action(kind, item))
        else:
            _refused(item, tally, again)
        if len(spoilt) >= chunk:  # a request's worth: memory must not grow with the index
            write(client, spoilt, tally, again, chunk=chunk // 2)
            spoilt = []
    if spoilt:
        write(client, spoilt, tally, again, chunk=max(1, min(chunk, len(spoilt)) // 2))


def _action(kind: str, item: Mapping[str, Any]) -> Action:
    """The action that a refused item was."""
    rest = {key: value for key, value in item.items() if key not in ("error", "status", "exception", "data")}
    return {"_op_type": kind, "_source": item["data"], **rest}


def _refused(item: Mapping[str, Any], tally: Tally, again: frozenset[int | str]) -> None:
    if "exception" in item and item["status"] in _HOPELESS:
        raise item["exception"]
    if item["status"] in again:
        tally.again.append(item["_id"])
    else:
        tally.fail(item["_id"], _reason(item))


def _reason(item: Mapping[str, Any]) -> str:
    error = item.get("error")
    return str(error.get("reason", error) if isinstance(error, dict) else error)


def refresh(client: OpenSearch, index: str) -> None:
    """Let searches see what was written; on a large index this takes longer than a search may."""
    client.indices.refresh(index=index, request_timeout=SECONDS)
