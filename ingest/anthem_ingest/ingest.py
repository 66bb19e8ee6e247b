"""Points for the products of an index, or products and points together: the Python side of `anthem ingest`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import VectorFields
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES
from anthem_ingest import index_io
from anthem_ingest.actions import MATCH_ALL, ProductDocument, build_product_source, check_beir_fields
from anthem_ingest.encode import LoadTarget, VectorBuilder, plan_loads, plan_updates
from anthem_ingest.mapping import (  # fmt: skip
    BYTES_PER_COORDINATE,
    IndexDescription,
    build_missing_mapping,
    build_new_index_body,
    check_index_name,
    check_index_writable,
    check_mapping_changes,
    check_source,
    check_text_fields,
    parse_single_index,
)
from anthem_ingest.report import DeadLetters, IndexSurvey, IngestReport, IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.beir import Product
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_ingest.actions import IndexHit

DEFAULT_VECTOR_FIELDS = VectorFields()
MAX_IDS_PER_QUERY = 10_000  # in one query; OpenSearch takes 65 536 terms


@dataclass(frozen=True)
class IngestOptions:
    """How an ingest goes about it: names of the fields, products a second at most, where failures are written."""

    names: VectorFields = DEFAULT_VECTOR_FIELDS
    rate: float | None = None
    dead: DeadLetters | None = None


DEFAULT_OPTIONS = IngestOptions()


def no_progress(_: int) -> None:
    """Progress that nobody watches."""


@cluster_errors()
def survey_index(
    client: OpenSearch,
    index: str,
    bundle: Bundle,
    fields: Sequence[str] = ("title",),
    names: VectorFields = DEFAULT_VECTOR_FIELDS,
) -> IndexSurvey:
    """Check that an index can take the points of a bundle, and count what there is to do; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    _open_for_update(client, index, bundle, fields, names)
    with_point = {"exists": {"field": names.vector}}
    stale = {"bool": {"filter": [with_point], "must_not": [{"term": {names.model: bundle.model}}]}}
    products, pointed, other = (
        index_io.count_products(client, index, query) for query in (MATCH_ALL, with_point, stale)
    )
    return IndexSurvey(index, products, other, products - pointed, bytes_per_vector(bundle))


def bytes_per_vector(bundle: Bundle) -> int:
    """Size of one point in an index, about `13·(D+1)` bytes."""
    return BYTES_PER_COORDINATE * (bundle.dimension + 1)


@cluster_errors()
def prepare_index(
    client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str], names: VectorFields = DEFAULT_VECTOR_FIELDS
) -> None:
    """Check that an index can take the points of a bundle, and add the fields that it lacks.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    index_io.add_missing_mapping(
        client, _open_for_update(client, index, bundle, fields, names), names, bundle.dimension
    )


@cluster_errors()
def ingest_index(
    client: OpenSearch,
    index: str,
    encoder: Encoder,
    *,
    fields: Sequence[str] = ("title",),
    advance: Callable[[int], object] = no_progress,
    options: IngestOptions = DEFAULT_OPTIONS,
) -> IngestReport:
    """Give every product of an index its point, made from the text of `fields`; a current one is left alone.

    Each update names the state of the product that was read, so one that changed meanwhile is never overwritten:
    it is read and encoded once more. `advance` is told of every page how many products it had.

    Raises:
        ClusterError: The index is missing, blocked, too old or has other such fields, or the cluster refuses.
    """
    recipe, tally = VectorBuilder(encoder, tuple(fields), options.names), IngestTally(dead=options.dead)
    prepare_index(client, index, encoder.bundle, fields, options.names)
    update_vectors(client, index, recipe, tally, advance=advance, rate=options.rate)
    return tally.report()


def update_vectors(
    client: OpenSearch,
    index: str,
    recipe: VectorBuilder,
    tally: IngestTally,
    *,
    advance: Callable[[int], object] = no_progress,
    rate: float | None = None,
    pages: Iterable[list[IndexHit]] | None = None,
) -> None:
    """Write what is due of the products of an index, or of some pages of it; what changed meanwhile once more."""
    pages = index_io.read_product_pages(client, index, recipe.fields, recipe.names) if pages is None else pages
    actions = index_io.throttle(plan_updates(pages, recipe, tally, advance), rate)
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES, chunk=index_io.chunk_size_for_rate(rate))
    _retry_changed(client, index, recipe, tally)
    index_io.refresh_index(client, index)


def load_products(
    client: OpenSearch, index: str, products: Iterable[Product], encoder: Encoder, *, fields: Sequence[str] = ("title",)
) -> IngestReport:
    """Write products of a BEIR corpus and their points into an index, as `load_documents` does.

    Raises:
        ClusterError: The index is blocked, too old or has other such fields, or the cluster refuses.
        DataError: A field is none that a product of a corpus has.
    """
    check_beir_fields(fields)
    documents = (ProductDocument(product.id, build_product_source(product)) for product in products)
    return load_documents(client, index, documents, encoder, fields=fields)


@cluster_errors()
def load_documents(
    client: OpenSearch,
    index: str,
    documents: Iterable[ProductDocument],
    encoder: Encoder,
    *,
    fields: Sequence[str] = ("title",),
    advance: Callable[[int], object] = no_progress,
    options: IngestOptions = DEFAULT_OPTIONS,
) -> IngestReport:
    """Write products and their points into an index, which is created where there is none.

    One of the same id is replaced, and left alone where it is the same already.

    Raises:
        ClusterError: The index is blocked, too old or has other such fields, or the cluster refuses.
    """
    recipe, tally = VectorBuilder(encoder, tuple(fields), options.names), IngestTally(dead=options.dead)
    found = _open_for_writing(client, index) or _create_index(client, index, encoder.bundle, options.names)
    index_io.add_missing_mapping(client, found, options.names, encoder.bundle.dimension)
    target = LoadTarget(index, partial(index_io.get_products, client, index))
    actions = index_io.throttle(plan_loads(documents, recipe, tally, target, advance), options.rate)
    index_io.write_actions(client, actions, tally, frozenset(), chunk=index_io.chunk_size_for_rate(options.rate))
    index_io.refresh_index(client, index)
    return tally.report()


def _retry_changed(client: OpenSearch, index: str, recipe: VectorBuilder, tally: IngestTally) -> None:
    """Read and write again what changed or was refused meanwhile; what is gone by now is forgotten."""
    ids, tally.again, tally.without = tally.again, [], set()
    if not ids:
        return
    index_io.refresh_index(client, index)  # a page shows a change only after a refresh
    pages = _read_by_id(client, index, recipe, ids)
    index_io.write_actions(client, plan_updates(pages, recipe, tally, no_progress), tally, index_io.CHANGED_STATUSES)


def _read_by_id(client: OpenSearch, index: str, recipe: VectorBuilder, ids: Sequence[str]) -> Iterator[list[IndexHit]]:
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        query = {"ids": {"values": ids[start : start + MAX_IDS_PER_QUERY]}}
        yield from index_io.read_product_pages(client, index, recipe.fields, recipe.names, index_io.ReadScope(query))


def _open_for_update(
    client: OpenSearch, index: str, bundle: Bundle, fields: Sequence[str], names: VectorFields
) -> IndexDescription:
    """Return the index, checked for updates in place."""
    found = _open_for_writing(client, index)
    if found is None:
        raise ClusterError(
            f"No index '{index}'. Name one that exists (GET _cat/indices), or load products from a file: "
            f"anthem ingest {index} --corpus FILE"
        )
    check_source(found)
    check_text_fields(found, fields)
    build_missing_mapping(found, names, bundle.dimension)
    return found


def _open_for_writing(client: OpenSearch, index: str) -> IndexDescription | None:
    """Return the index, checked for writing, None where there is none."""
    check_index_name(index)
    release = index_io.read_release(client)
    answer = index_io.describe_index(client, index)
    if answer is None:
        return None
    found = parse_single_index(answer, index)
    check_index_writable(found)
    if not os.environ.get("ANTHEM_ACCEPT_OUTAGES"):
        check_mapping_changes(found, release)
    return found


def _create_index(client: OpenSearch, index: str, bundle: Bundle, names: VectorFields) -> IndexDescription:
    knn = not index_io.read_release(client).has(SAFE_MAPPING_CHANGES)
    client.indices.create(index=index, body=build_new_index_body(names, bundle.dimension, knn=knn))
    return parse_single_index(client.indices.get(index=index), index)
