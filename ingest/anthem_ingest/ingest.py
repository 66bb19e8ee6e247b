"""Adds a model's values to the products of an index, or loads products with them: the Python API of `anthem ingest`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import (
    DEFAULT_TEXT_FIELDS,
    MATCH_ALL,
    ModelFields,
    build_ingest_record,
    list_fields,
    with_ingest_meta,
)
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES
from anthem_ingest import index_io
from anthem_ingest.actions import (
    ProductDocument,
    build_product_source,
    check_beir_fields,
    has_all_values,
    has_any_value,
)
from anthem_ingest.conflicts import without_model_object
from anthem_ingest.encode import LoadTarget, ValueBuilder, choose_signals, plan_loads, plan_updates
from anthem_ingest.mapping import (
    BYTES_OF_TRIGRAMS,
    BYTES_PER_COORDINATE,
    IndexDescription,
    build_missing_mapping,
    build_new_index_body,
    check_index_name,
    check_index_writable,
    check_mapping_changes,
    check_source,
    check_source_enabled,
    check_takes_vectors,
    parse_single_index,
)
from anthem_ingest.report import DeadLetters, IndexSurvey, IngestReport, IngestTally
from anthem_ingest.routing import check_routing
from anthem_ingest.text_fields import check_products_have_text, check_text_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
    """

    model_fields: ModelFields = DEFAULT_MODEL_FIELDS
    signals: tuple[ModelSignal, ...] | None = None
    rate: float | None = None
    dead_letters: DeadLetters | None = None
    accept_outages: bool = False


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
    _open_for_update(client, index, bundle, text_fields, options)
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
    description = _open_for_update(client, index, bundle, text_fields, options)
    _extend_mapping(client, description, bundle, text_fields, options)


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
    update_values(client, index, builder, tally, advance=advance, rate=options.rate)
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

    A product replaces the one with the same id and routing; it is skipped if the two are equal.

    Raises:
        ClusterError: The index is blocked, too old or has conflicting fields, the routing of a product is not known,
            or the cluster refuses.
    """
    text_fields = list_fields(text_fields)
    builder = make_builder(encoder, text_fields, options)
    tally = IngestTally(dead_letters=options.dead_letters)
    description = _open_for_writing(client, index, builder.signals, options)
    documents = without_model_object(documents, options.model_fields.name, index)
    documents = _check_first_page(check_routing(client, index, description, documents))
    if description:
        _extend_mapping(client, description, encoder.bundle, text_fields, options)
    else:
        _create_index(client, index, encoder.bundle, text_fields, options)
    target = LoadTarget(index, partial(index_io.get_products, client, index))
    actions = plan_loads(documents, builder, tally, target, advance)
    index_io.write_at_rate(client, actions, tally, rate=options.rate)
    index_io.refresh_index(client, index)
    return tally.report()


def _check_first_page(documents: Iterator[ProductDocument]) -> Iterator[ProductDocument]:
    """The same documents, with the first one read at once, so that its page is checked before anything is written."""
    first = next(documents, None)
    return chain([] if first is None else [first], documents)


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


def _open_for_update(
    client: OpenSearch, index: str, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> IndexDescription:
    """The index, checked for updates of its products."""
    signals = choose_signals(bundle, options.signals)
    description = _open_for_writing(client, index, signals, options)
    if description is None:
        raise ClusterError(
            f"Index '{index}' not found. Name one that exists (GET _cat/indices), or load products from a file: "
            f"anthem ingest {index} --corpus FILE"
        )
    check_source(description)
    check_text_fields(description, text_fields)
    build_missing_mapping(description, options.model_fields, bundle.dimension, signals)
    check_products_have_text(client, index, description.mappings, text_fields, options.model_fields)
    return description


def _open_for_writing(
    client: OpenSearch, index: str, signals: Sequence[ModelSignal], options: IngestOptions
) -> IndexDescription | None:
    """The index, checked for writing the values of these signals; None if it does not exist."""
    check_index_name(index)
    release = index_io.read_release(client)
    response = index_io.describe_index(client, index)
    if response is None:
        return None
    description = parse_single_index(response, index)
    check_index_writable(description)
    check_source_enabled(description)
    if "containment" in signals:
        check_takes_vectors(description)
        if not options.accept_outages:
            check_mapping_changes(description, release)
    return description


def _extend_mapping(
    client: OpenSearch, index: IndexDescription, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> None:
    """Add missing fields to a mapping, and record in its `_meta` what the values are computed from."""
    meta = record_ingest(index.meta, bundle, text_fields, options)
    missing = build_missing_mapping(
        index, options.model_fields, bundle.dimension, choose_signals(bundle, options.signals)
    )
    if missing:
        index_io.put_mapping(client, index.name, missing | {"_meta": meta})
    else:
        index_io.replace_meta(client, index, meta, accept_outages=options.accept_outages)


def _create_index(
    client: OpenSearch, index: str, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> None:
    body = build_new_index_body(
        options.model_fields,
        bundle.dimension,
        choose_signals(bundle, options.signals),
        knn=not index_io.read_release(client).has(SAFE_MAPPING_CHANGES),
        meta=record_ingest({}, bundle, text_fields, options),
    )
    client.indices.create(index=index, body=body)


def record_ingest(
    meta: Mapping[str, Any], bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> dict[str, Any]:
    """A mapping's `_meta` with the record of an ingest added."""
    signals = choose_signals(bundle, options.signals)
    record = build_ingest_record(bundle.model_id, text_fields, signals, bundle.vocabulary.rules())
    return with_ingest_meta(meta, options.model_fields.name, record)
