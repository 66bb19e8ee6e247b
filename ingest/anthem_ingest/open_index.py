"""Opens an index for an ingest: reads what it is, or will be, and checks that it can take products and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_ingest import index_io
from anthem_ingest.encode import choose_signals
from anthem_ingest.index_templates import explain_template, read_planned_index
from anthem_ingest.mapping import (
    IndexDescription,
    build_missing_mapping,
    check_index_name,
    check_index_writable,
    check_mapping_changes,
    check_source,
    check_source_enabled,
    check_takes_vectors,
    parse_single_index,
)
from anthem_ingest.new_index import PlannedIndex
from anthem_ingest.routing import check_given_routing, routing_reason
from anthem_ingest.stored_objects import check_stored_objects
from anthem_ingest.strict_fields import check_accepts_fields
from anthem_ingest.text_fields import check_first_field, check_products_have_text, check_text_fields, list_text_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.ingest import IngestOptions


def open_for_load(
    client: OpenSearch,
    index: str,
    signals: Sequence[ModelSignal],
    text_fields: Sequence[str],
    options: IngestOptions,
) -> IndexDescription:
    """The index, or the one that is to be created, checked for products of a file."""
    description = _describe_index(client, index) or read_planned_index(client, index, signals)
    with explain_template(description):
        _check_takes_values(client, description, signals, options)
        check_first_field(description, text_fields)
    if isinstance(description, PlannedIndex):
        return description
    if options.partial:
        check_source(description)
    check_stored_objects(client, description, options.model_fields)
    return description


def check_created(
    client: OpenSearch,
    documents: Sequence[ProductDocument],
    bundle: Bundle,
    text_fields: Sequence[str],
    options: IngestOptions,
    index: IndexDescription,
) -> None:
    """Check a new index as one that existed before: templates may differ from what the cluster told of them."""
    signals = choose_signals(bundle, options.signals)
    _check_takes_values(client, index, signals, options)
    check_first_field(index, text_fields)
    build_missing_mapping(index, options.model_fields, bundle.dimension, signals)
    check_accepts_fields(index, documents)
    list(check_given_routing(index.name, documents, routing_reason(index)))


def open_for_update(
    client: OpenSearch, index: str, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> IndexDescription:
    """The index, checked for updates of its products."""
    signals = choose_signals(bundle, options.signals)
    description = _describe_index(client, index)
    if description is None:
        raise ClusterError(
            f"Index '{index}' not found. Name one that exists (GET /_cat/indices), or load products from a file: "
            f"anthem ingest {index} --corpus FILE"
        )
    _check_takes_values(client, description, signals, options)
    check_source(description)
    if not _is_blank(client, description):
        check_text_fields(description, text_fields)
    build_missing_mapping(description, options.model_fields, bundle.dimension, signals)
    check_stored_objects(client, description, options.model_fields)
    check_products_have_text(client, index, description.mappings, text_fields, options.model_fields)
    return description


def _is_blank(client: OpenSearch, index: IndexDescription) -> bool:
    """Whether an index has neither text fields nor products, as after a rollover: its first products bring them."""
    is_closed = str(index.mappings.get("dynamic")).lower() in ("false", "strict")
    if is_closed or list_text_fields(index.mappings):
        return False
    return not index_io.count_products(client, index.name, MATCH_ALL)


def _describe_index(client: OpenSearch, index: str) -> IndexDescription | None:
    """The index; None if it does not exist."""
    check_index_name(index)
    response = index_io.describe_index(client, index)
    return parse_single_index(response, index) if response is not None else None


def _check_takes_values(
    client: OpenSearch, index: IndexDescription, signals: Sequence[ModelSignal], options: IngestOptions
) -> None:
    """Check that products with the values of these signals can be written to an index."""
    check_index_writable(index)
    check_source_enabled(index)
    if "containment" in signals:
        check_takes_vectors(index)
        if not options.accept_outages:
            check_mapping_changes(index, index_io.read_release(client))
