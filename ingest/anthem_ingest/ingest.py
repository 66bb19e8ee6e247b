"""Points for the products of an index, or products and points together: the Python side of `anthem ingest`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from anthem_core.cluster import explained
from anthem_core.errors import ClusterError
from anthem_core.fields import Fields
from anthem_core.versions import MAPPING_CHANGES
from anthem_ingest import send
from anthem_ingest.actions import ALL, Document, check_parts, source_of
from anthem_ingest.encode import Recipe, Target, loads, updates
from anthem_ingest.mapping import (
    BYTES_PER_COORDINATE,
    Index,
    check_fields,
    check_mapping_changes,
    check_name,
    check_source,
    check_writable,
    missing_mapping,
    new_index,
    only_index,
)  # fmt: skip
from anthem_ingest.report import DeadLetters, IngestReport, Survey, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.beir import Product
    from anthem_core.bundle import Bundle
    from anthem_core.encoder import Encoder
    from anthem_ingest.actions import Hit

NAMES = Fields()
IDS = 10_000  # in one query; OpenSearch takes 65 536 terms


@dataclass(frozen=True)
class Options:
    """How an ingest goes about it: names of the fields, products a second at most, where failures are written."""

    names: Fields = NAMES
    rate: float | None = None
    dead: DeadLetters | None = None


DEFAULT = Options()


def unwatched(_: int) -> None:
    """Progress that nobody watches."""


@explained()
def survey(
    client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str] = ("title",), names: Fields = NAMES
) -> Survey:
    """Check that an index can take the points of a bundle, and count what there is to do; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    _to_update(client, index, bundle, fields, names)
    with_point = {"exists": {"field": names.vector}}
    stale = {"bool": {"filter": [with_point], "must_not": [{"term": {names.model: bundle.model}}]}}
    products, pointed, other = (send.count(client, index, query) for query in (ALL, with_point, stale))
    return Survey(index, products, other, products - pointed, bytes_each(bundle))


def bytes_each(bundle: Bundle) -> int:
    """Size of one point in an index, about `13·(D+1)` bytes."""
    return BYTES_PER_COORDINATE * (bundle.dimension + 1)


@explained()
def prepare(client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str], names: Fields = NAMES) -> None:
    """Check that an index can take the points of a bundle, and add the fields that it lacks.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    send.add_mapping(client, _to_update(client, index, bundle, fields, names), names, bundle.dimension)


@explained()
def ingest_index(
    client: OpenSearch,
    index: str,
    encoder: Encoder,
    *,
    fields: Sequence[str] = ("title",),
    advance: Callable[[int], object] = unwatched,
    options: Options = DEFAULT,
) -> IngestReport:
    """Give every product of an index its point, made from the text of `fields`; a current one is left alone.

    Each update names the state of the product that was read, so one that changed meanwhile is never overwritten:
    it is read and encoded once more. `advance` is told of every page how many products it had.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    recipe, tally = Recipe(encoder, tuple(fields), options.names), Tally(dead=options.dead)
    prepare(client, index, encoder.bundle, fields, options.names)
    update(client, index, recipe, tally, advance=advance, rate=options.rate)
    return tally.report()


def update(
    client: OpenSearch,
    index: str,
    recipe: Recipe,
    tally: Tally,
    *,
    advance: Callable[[int], object] = unwatched,
    rate: float | None = None,
    pages: Iterable[list[Hit]] | None = None,
) -> None:
    """Write what is due of the products of an index, or of some pages of it; what changed meanwhile once more."""
    pages = send.pages(client, index, recipe.fields, recipe.names) if pages is None else pages
    actions = send.paced(updates(pages, recipe, tally, advance), rate)
    send.write(client, actions, tally, send.CHANGED, chunk=send.chunk_at(rate))
    _once_more(client, index, recipe, tally)
    send.refresh(client, index)


def load_products(
    client: OpenSearch, index: str, products: Iterable[Product], encoder: Encoder, *, fields: Sequence[str] = ("title",)
) -> IngestReport:
    """Write products of a BEIR corpus and their points into an index, as `load_documents` does.

    Raises:
        ClusterError: The index is blocked, too old or has other such fields, or the cluster refuses.
        DataError: A field is none that a product of a corpus has.
    """
    check_parts(fields)
    documents = (Document(product.id, source_of(product)) for product in products)
    return load_documents(client, index, documents, encoder, fields=fields)


@explained()
def load_documents(
    client: OpenSearch,
    index: str,
    documents: Iterable[Document],
    encoder: Encoder,
    *,
    fields: Sequence[str] = ("title",),
    advance: Callable[[int], object] = unwatched,
    options: Options = DEFAULT,
) -> IngestReport:
    """Write products and their points into an index, which is created where there is none.

    One of the same id is replaced, and left alone where it is the same already.

    Raises:
        ClusterError: The index is blocked, too old or has other such fields, or the cluster refuses.
    """
    recipe, tally = Recipe(encoder, tuple(fields), options.names), Tally(dead=options.dead)
    found = _to_write(client, index) or _created(client, index, encoder.bundle, options.names)
    send.add_mapping(client, found, options.names, encoder.bundle.dimension)
    target = Target(index, partial(send.stored, client, index))
    actions = send.paced(loads(documents, recipe, tally, target, advance), options.rate)
    send.write(client, actions, tally, frozenset(), chunk=send.chunk_at(options.rate))
    send.refresh(client, index)
    return tally.report()


def _once_more(client: OpenSearch, index: str, recipe: Recipe, tally: Tally) -> None:
    """Read and write again what changed or was refused meanwhile; what is gone by now is forgotten."""
    ids, tally.again, tally.without = tally.again, [], set()
    if not ids:
        return
    send.refresh(client, index)  # a page shows a change only after a refresh
    pages = _pages_of(client, index, recipe, ids)
    send.write(client, updates(pages, recipe, tally, unwatched), tally, send.CHANGED)


def _pages_of(client: OpenSearch, index: str, recipe: Recipe, ids: Sequence[str]) -> Iterator[list[Hit]]:
    for start in range(0, len(ids), IDS):
        query = {"ids": {"values": ids[start : start + IDS]}}
        yield from send.pages(client, index, recipe.fields, recipe.names, send.Part(query))


def _to_update(client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str], names: Fields) -> Index:
    """Return the index, checked for updates in place."""
    found = _to_write(client, index)
    if found is None:
        raise ClusterError(
            f"No index '{index}'. Name one that exists (GET _cat/indices), or load products from a file: "
            f"anthem ingest {index} --corpus FILE"
        )
    check_source(found)
    check_fields(found, fields)
    missing_mapping(found, names, bundle.dimension)
    return found


def _to_write(client: OpenSearch, index: str) -> Index | None:
    """Return the index, checked for writing, None where there is none."""
    check_name(index)
    release = send.release(client)
    answer = send.describe(client, index)
    if answer is None:
        return None
    found = only_index(answer, index)
    check_writable(found)
    if not os.environ.get("ANTHEM_ACCEPT_OUTAGES"):
        check_mapping_changes(found, release)
    return found


def _created(client: OpenSearch, index: str, bundle: Bundle, names: Fields) -> Index:
    knn = not send.release(client).has(MAPPING_CHANGES)
    client.indices.create(index=index, body=new_index(names, bundle.dimension, knn=knn))
    return only_index(client.indices.get(index=index), index)
