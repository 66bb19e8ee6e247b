"""Points for the products of an index, or products and points together: the Python side of `anthem ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.cluster import explained
from anthem_core.errors import ClusterError
from anthem_core.fields import Fields
from anthem_ingest import send
from anthem_ingest.actions import ALL, check_parts
from anthem_ingest.encode import Recipe, loads, updates
from anthem_ingest.mapping import (
    BYTES_PER_COORDINATE,
    Index,
    check_cluster,
    check_fields,
    check_name,
    check_source,
    check_writable,
    missing_mapping,
    new_index,
    only_index,
)  # fmt: skip
from anthem_ingest.report import IngestReport, Survey, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.beir import Product
    from anthem_core.bundle import Bundle
    from anthem_core.encoder import Encoder
    from anthem_ingest.actions import Hit

NAMES = Fields()
IDS = 10_000  # in one query; OpenSearch takes 65 536 terms


def _ignore(_: int) -> None:
    """Progress that nobody watches."""


@explained()
def survey(client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str] = ("title",)) -> Survey:
    """Check that an index can take the points of a bundle, and count what there is to do; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    _to_update(client, index, bundle, fields)
    with_point = {"exists": {"field": NAMES.vector}}
    stale = {"bool": {"filter": [with_point], "must_not": [{"term": {NAMES.model: bundle.model}}]}}
    products, pointed, other = (send.count(client, index, query) for query in (ALL, with_point, stale))
    return Survey(index, products, other, products - pointed, bytes_each(bundle))


def bytes_each(bundle: Bundle) -> int:
    """Size of one point in an index, about `13·(D+1)` bytes."""
    return BYTES_PER_COORDINATE * (bundle.dimension + 1)


@explained()
def ingest_index(
    client: OpenSearch,
    index: str,
    encoder: Encoder,
    *,
    fields: Sequence[str] = ("title",),
    advance: Callable[[int], object] = _ignore,
) -> IngestReport:
    """Give every product of an index its point, made from the text of `fields`; a current one is left alone.

    Each update names the state of the product that was read, so one that changed meanwhile is never overwritten:
    it is read and encoded once more. `advance` is told of every page how many products it had.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    recipe, tally = Recipe(encoder, tuple(fields), NAMES), Tally()
    found = _to_update(client, index, encoder.bundle, fields)
    send.add_mapping(client, found, NAMES, encoder.bundle.dimension)
    pages = send.pages(client, index, recipe.fields, NAMES)
    send.write(client, updates(pages, recipe, tally, advance), tally, send.CHANGED | send.BUSY)
    _once_more(client, index, recipe, tally)
    send.refresh(client, index)
    return tally.report()


@explained()
def load_products(
    client: OpenSearch,
    index: str,
    products: Iterable[Product],
    encoder: Encoder,
    *,
    fields: Sequence[str] = ("title",),
    advance: Callable[[int], object] = _ignore,
) -> IngestReport:
    """Write products and their points into an index, which is created where there is none; same ids are replaced.

    Raises:
        ClusterError: The index is blocked, too old or has other such fields, or the cluster refuses.
        DataError: A field is none that a product of a file has.
    """
    check_parts(fields)
    recipe, tally = Recipe(encoder, tuple(fields), NAMES), Tally()
    found = _to_write(client, index) or _created(client, index, encoder.bundle)
    send.add_mapping(client, found, NAMES, encoder.bundle.dimension)
    send.write(client, loads(products, index, recipe, tally, advance), tally, frozenset())
    send.refresh(client, index)
    return tally.report()


def _once_more(client: OpenSearch, index: str, recipe: Recipe, tally: Tally) -> None:
    """Read and write again what changed or was refused meanwhile; what is gone by now is forgotten."""
    ids, tally.again, tally.without = tally.again, [], set()
    if not ids:
        return
    send.refresh(client, index)  # a page shows a change only after a refresh
    pages = _pages_of(client, index, recipe, ids)
    send.write(client, updates(pages, recipe, tally, _ignore), tally, send.CHANGED)


def _pages_of(client: OpenSearch, index: str, recipe: Recipe, ids: Sequence[str]) -> Iterator[list[Hit]]:
    for start in range(0, len(ids), IDS):
        query = {"ids": {"values": ids[start : start + IDS]}}
        yield from send.pages(client, index, recipe.fields, recipe.names, query)


def _to_update(client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str]) -> Index:
    """Return the index, checked for updates in place."""
    found = _to_write(client, index)
    if found is None:
        raise ClusterError(
            f"No index '{index}'. Name one that exists (GET _cat/indices), or load products from a file: "
            f"anthem ingest {index} --corpus FILE"
        )
    check_source(found)
    check_fields(found, fields)
    missing_mapping(found, NAMES, bundle.dimension)
    return found


def _to_write(client: OpenSearch, index: str) -> Index | None:
    """Return the index, checked for writing, None where there is none."""
    check_name(index)
    check_cluster(client.info())
    answer = send.describe(client, index)
    if answer is None:
        return None
    found = only_index(answer, index)
    check_writable(found)
    return found


def _created(client: OpenSearch, index: str, bundle: Bundle) -> Index:
    client.indices.create(index=index, body=new_index(NAMES, bundle.dimension))
    return only_index(client.indices.get(index=index), index)
