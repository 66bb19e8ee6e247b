"""Adds a model's values to the products of an index, or loads products with them: the Python API of `anthem ingest`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import (
    DEFAULT_TEXT_FIELDS,
    MATCH_ALL,
    ModelFields,
    list_fields,
)
from anthem_ingest import index_io
from anthem_ingest.actions import (
    PRODUCTS_PER_PAGE,
    ProductDocument,
    build_product_source,
    check_beir_fields,
    has_all_values,
    has_any_value,
)
from anthem_ingest.conflicts import without_model_object
from anthem_ingest.encode import ValueBuilder, choose_signals, plan_updates
from anthem_ingest.index_templates import explain_template
from anthem_ingest.loads import LoadTarget, plan_loads
from anthem_ingest.mapping import (
    BYTES_OF_TRIGRAMS,
    BYTES_PER_COORDINATE,
)
from anthem_ingest.new_index import PlannedIndex
from anthem_ingest.open_index import check_created, open_for_load, open_for_update
from anthem_ingest.preparation import create_index, extend_mapping, finish_new_index, keep_record
from anthem_ingest.report import DeadLetters, IndexSurvey, IngestReport, IngestTally, keep_counts
from anthem_ingest.routing import check_routing
from anthem_ingest.strict_fields import check_accepts_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.beir import Product
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.actions import IndexHit

DEFAULT_MODEL_FIELDS = ModelFields()
MAX_IDS_PER_QUERY = 10_000  # OpenSearch accepts 65,536 terms


@dataclass(frozen=True)
class IngestOptions:
    """Options of an ingest.

    Attributes:
        model_fields: Where the index holds the values.
        signals: Signals whose values are written; if None, all that the bundle can compute.
        rate: Products written per second, at most; no limit if None.
        dead_letters: File that gets every product that could not be written.
        accept_outages: Change the mapping even on a release where that makes shards fail for a moment.
        partial: Of a product that a load finds in the index, change only the fields that the document has.
    """

    model_fields: ModelFields = DEFAULT_MODEL_FIELDS
    signals: tuple[ModelSignal, ...] | None = None
    rate: float | None = None
    dead_letters: DeadLetters | None = None
    accept_outages: bool = False
    partial: bool = False


DEFAULT_OPTIONS = IngestOptions()


def no_progress(_: int) -> None:
    """Ignore progress."""


@cluster_errors()
def survey_index(
    client: OpenSearch,
    index: str,
    bundle: Bundle,
    *,
    text_fields: str | Sequence[str] = DEFAULT_TEXT_FIELDS,
    options: IngestOptions = DEFAULT_OPTIONS,
) -> IndexSurvey:
    """Check that an index can take the values of a bundle, and count the products without them; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked, too old or has conflicting fields, or the cluster refuses.
    """
    text_fields = list_fields(text_fields)
    open_for_update(client, index, bundle, text_fields, options)
    fields, signals = options.model_fields, choose_signals(bundle, options.signals)
    is_of_other_model = {"must_not": [{"term": {fields.model: bundle.model_id}}]}
    is_stale = {"bool": {"filter": [has_any_value(fields)], **is_of_other_model}}
    products, stale, *with_value = (
        index_io.count_products(client, index, query)
        for query in (MATCH_ALL, is_stale, *(has_all_values(fields, [signal]) for signal in signals))
    )
    missing = {signal: products - number for signal, number in zip(signals, with_value, strict=True)}
    return IndexSurvey(index, products, stale, missing, bytes_per_value(bundle))


def bytes_per_value(bundle: Bundle) -> dict[ModelSignal, int]:
    """Size of each value of a product in an index, by signal: a vector takes about `4·D` bytes."""
    return {"containment": BYTES_PER_COORDINATE * bundle.dimension, "attention": BYTES_OF_TRIGRAMS}


def make_builder(encoder: Encoder, text_fields: Sequence[str], options: IngestOptions) -> ValueBuilder:
    """Builder of the values that an ingest writes.

    Raises:
        BundleError: Attention is requested, and the bundle cannot compute trigrams.
    """
    signals = choose_signals(encoder.bundle, options.signals)
    return ValueBuilder(encoder, signals, tuple(text_fields), options.model_fields)


@cluster_errors()
def prepare_index(
    client: OpenSearch,
    index: str,
    bundle: Bundle,
    *,
    text_fields: str | Sequence[str] = DEFAULT_TEXT_FIELDS,
    options: IngestOptions = DEFAULT_OPTIONS,
) -> None:
    """Check that an index can take the values of a bundle, and add the fields that are missing from its mapping.

    Raises:
        ClusterError: The index is missing, blocked, too old or has conflicting fields, or the cluster refuses.
    """
    text_fields = list_fields(text_fields)
    description = open_for_update(client, index, bundle, text_fields, options)
    extend_mapping(client, description, bundle, text_fields, options)


@cluster_errors()
def ingest_index(
    client: OpenSearch,
    index: str,
    encoder: Encoder,
    *,
    text_fields: str | Sequence[str] = DEFAULT_TEXT_FIELDS,
    advance: Callable[[int], object] = no_progress,
    options: IngestOptions = DEFAULT_OPTIONS,
) -> IngestReport:
    """Add its values to every product of an index, computed from its text fields; current products are skipped.

    Each update is conditional on the state that was read, so a product that changes meanwhile is never overwritten:
    it is read and encoded once more. `advance` is called with the number of products of each page.

    Raises:
        ClusterError: The index is missing, blocked, too old or has conflicting fields, or the cluster refuses.
    """
    text_fields = list_fields(text_fields)
    builder = make_builder(encoder, text_fields, options)
    tally = IngestTally(dead_letters=options.dead_letters)
    prepare_index(client, index, encoder.bundle, text_fields=text_fields, options=options)
    with keep_counts(tally):
        update_values(client, index, builder, tally, advance=advance, rate=options.rate)
    keep_record(client, index, encoder.bundle, text_fields, options)
    return tally.report()


def update_values(
    client: OpenSearch,
    index: str,
    builder: ValueBuilder,
    tally: IngestTally,
    *,
    advance: Callable[[int], object] = no_progress,
    rate: float | None = None,
    pages: Iterable[list[IndexHit]] | None = None,
) -> None:
    """Write the values that are due in an index, or in the given pages of it; changed products get a second try."""
    if pages is None:
        pages = index_io.read_product_pages(client, index, builder.text_fields, builder.model_fields)
    actions = plan_updates(pages, builder, tally, advance)
    index_io.write_at_rate(client, actions, tally, index_io.CHANGED_STATUSES, rate=rate)
    _retry_changed(client, index, builder, tally)
    index_io.refresh_index(client, index)


def load_products(
    client: OpenSearch,
    index: str,
    products: Iterable[Product],
    encoder: Encoder,
    *,
    text_fields: str | Sequence[str] = DEFAULT_TEXT_FIELDS,
) -> IngestReport:
    """Write products of a BEIR corpus and their values into an index, as `load_documents` does.

    Raises:
        ClusterError: The index is blocked, too old or has conflicting fields, or the cluster refuses.
        DataError: A text field is not a BEIR field.
    """
    text_fields = list_fields(text_fields)
    check_beir_fields(text_fields)
    documents = (ProductDocument(product.id, build_product_source(product)) for product in products)
    return load_documents(client, index, documents, encoder, text_fields=text_fields)


@cluster_errors()
def load_documents(
    client: OpenSearch,
    index: str,
    documents: Iterable[ProductDocument],
    encoder: Encoder,
    *,
    text_fields: str | Sequence[str] = DEFAULT_TEXT_FIELDS,
    advance: Callable[[int], object] = no_progress,
    options: IngestOptions = DEFAULT_OPTIONS,
) -> IngestReport:
    """Write products and their values into an index, which is created if it does not exist.

    A product replaces the one with the same id and routing; it is skipped if the two are equal. With the option
    `partial`, only the fields that a document has are replaced.

    Raises:
        ClusterError: The index is blocked, too old or has conflicting fields, the routing of a product is not known,
            or the cluster refuses.
    """
    text_fields = list_fields(text_fields)
    builder = make_builder(encoder, text_fields, options)
    tally = IngestTally(dead_letters=options.dead_letters)
    description = open_for_load(client, index, builder.signals, text_fields, options)
    taken = description.mappings.get("properties", {})
    documents = without_model_object(documents, options.model_fields.name, index, taken)
    documents = check_routing(client, index, description, documents)
    with explain_template(description):
        page = list(islice(documents, PRODUCTS_PER_PAGE))  # checked before anything is written
        check_accepts_fields(description, page)
    if isinstance(description, PlannedIndex):
        check = partial(check_created, client, page, encoder.bundle, text_fields, options)
        create_index(client, description, encoder.bundle, text_fields, options, page, check)
    else:
        extend_mapping(client, description, encoder.bundle, text_fields, options)
    is_partial = options.partial and not isinstance(description, PlannedIndex)
    target = LoadTarget(index, partial(index_io.get_products, client, index), partial=is_partial)
    actions = plan_loads(chain(page, documents), builder, tally, target, advance)
    with keep_counts(tally):
        index_io.write_at_rate(client, actions, tally, rate=options.rate)
    index_io.refresh_index(client, index)
    has_products = bool(tally.written or tally.empty)
    if not isinstance(description, PlannedIndex) or finish_new_index(
        client, index, text_fields[0], has_products=has_products
    ):
        keep_record(client, index, encoder.bundle, text_fields, options)
    return tally.report()


def _retry_changed(client: OpenSearch, index: str, builder: ValueBuilder, tally: IngestTally) -> None:
    """Read and write once more the products that changed meanwhile; those deleted meanwhile are not counted."""
    ids, tally.retry_ids, tally.ids_without_values = tally.retry_ids, [], set()
    if not ids:
        return
    index_io.refresh_index(client, index)  # searches see a change only after a refresh
    pages = _read_by_id(client, index, builder, ids)
    actions = plan_updates(pages, builder, tally, no_progress)
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES)


def _read_by_id(client: OpenSearch, index: str, builder: ValueBuilder, ids: Sequence[str]) -> Iterator[list[IndexHit]]:
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        scope = index_io.ReadScope({"ids": {"values": ids[start : start + MAX_IDS_PER_QUERY]}})
        yield from index_io.read_product_pages(client, index, builder.text_fields, builder.model_fields, scope)
