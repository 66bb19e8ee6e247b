"""Gives an index the fields of a model, and records in the mapping's `_meta` what its values are computed from."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import RequestError, TransportError

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import error_reason
from anthem_core.opensearch.schema import MATCH_ALL, build_ingest_record, recorded_objects, with_ingest_meta
from anthem_ingest import index_io
from anthem_ingest.actions import find_beir_fields
from anthem_ingest.encode import choose_signals
from anthem_ingest.field_limit import check_room_for_products, explain_field_limit
from anthem_ingest.index_templates import explain_template
from anthem_ingest.load_target import data_stream_error
from anthem_ingest.mapping import IndexDescription, build_missing_mapping, parse_single_index
from anthem_ingest.new_index import PlannedIndex, build_defaults, build_new_index_body
from anthem_ingest.pending import pending_mark
from anthem_ingest.text_fields import SEARCH_GAP_REMEDY, describe_search_gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.bundle import Bundle
    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.ingest import IngestOptions

_log = logging.getLogger(__name__)


def extend_mapping(
    client: OpenSearch, index: IndexDescription, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> None:
    """Add missing fields to a mapping, and record in its `_meta` what the values are computed from."""
    _warn_of_search_gap(index, text_fields[0])
    meta = record_ingest(index.meta, bundle, text_fields, options)
    missing = build_missing_mapping(
        index, options.model_fields, bundle.dimension, choose_signals(bundle, options.signals)
    )
    if missing:
        with explain_field_limit(index):
            index_io.put_mapping(client, index.name, missing | {"_meta": meta})
    else:
        index_io.replace_meta(client, index, meta, accept_outages=options.accept_outages)


def _warn_of_search_gap(index: IndexDescription, field: str) -> None:
    gap = describe_search_gap(index.mappings, field)
    if gap:
        _log.warning("Index '%s': %s is %s. To find products, %s.", index.name, field, gap, SEARCH_GAP_REMEDY)


def keep_record(
    client: OpenSearch, index: str, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> None:
    """Record an ingest once more after it, if another one that began at the same moment has overwritten its record."""
    response = index_io.describe_index(client, index)
    description = parse_single_index(response, index) if response else IndexDescription(index, {}, {})
    records = recorded_objects(description.mappings)
    if records and options.model_fields.name not in records:
        meta = record_ingest(description.meta, bundle, text_fields, options)
        index_io.replace_meta(client, description, meta, accept_outages=options.accept_outages)


def create_index(
    client: OpenSearch,
    planned: PlannedIndex,
    bundle: Bundle,
    text_fields: Sequence[str],
    options: IngestOptions,
    documents: Sequence[ProductDocument],
    check: Callable[[IndexDescription], object],
) -> None:
    """Create an index for the products of a file, of which these are the first; one that fails the check is deleted.

    Raises:
        ClusterError: The index cannot hold the values or products.
    """
    beir_fields = find_beir_fields(documents)
    with explain_template(planned), _explain_creation(planned):
        body = build_new_index_body(
            planned,
            options.model_fields,
            bundle.dimension,
            choose_signals(bundle, options.signals),
            meta=record_ingest(planned.meta, bundle, text_fields, options),
            text_fields=beir_fields,
        )
        properties = planned.mappings.get("properties", {}) | body["mappings"]["properties"]
        if str(planned.mappings.get("dynamic", "true")).lower() == "true":
            check_room_for_products(planned, properties, documents)
        client.indices.create(index=planned.name, body=body)
    with _delete_unfit(client, planned.name):
        created = parse_single_index(index_io.describe_index(client, planned.name) or {}, planned.name)
        check(created)
        _warn_of_search_gap(created, text_fields[0])
        if not planned.is_known and (defaults := build_defaults(created, beir_fields)):
            index_io.put_mapping(client, created.name, defaults)


def finish_new_index(client: OpenSearch, index: str, first_field: str, *, has_products: bool) -> bool:
    """Warn if searches find no words in the products of a new index, and delete it if it got none; whether it is kept.

    Only the products show how a dynamic template maps their texts.
    """
    if has_products or index_io.count_products(client, index, MATCH_ALL):  # of another program
        _warn_of_search_gap(parse_single_index(index_io.describe_index(client, index) or {}, index), first_field)
        return True
    with suppress(TransportError):  # without the permission, an empty index stays
        client.indices.delete(index=index)
        _log.warning("Index '%s' was created for this load, got no product, and was deleted again.", index)
    return False


@contextmanager
def _explain_creation(planned: PlannedIndex) -> Iterator[None]:
    """Say what to do if a template for data streams or with a limit of fields prevents the index."""
    try:
        with explain_field_limit(planned):
            yield
    except RequestError as error:
        if "creates data streams only" in str(error.info):
            raise data_stream_error(planned.name) from error
        raise


@contextmanager
def _delete_unfit(client: OpenSearch, index: str) -> Iterator[None]:
    """Delete an index that was just created if it cannot be used, unless another program has written to it."""
    try:
        yield
    except ClusterError as error:
        outcome = f"Index '{index}' was just created, and was deleted again while it was empty"
        try:
            index_io.refresh_index(client, index)
            if index_io.count_products(client, index, MATCH_ALL):
                outcome = f"Index '{index}' was just created; another program has written products to it, so it is kept"
            else:
                client.indices.delete(index=index)
        except TransportError as failure:
            outcome = f"Index '{index}' was just created, is empty and could not be deleted ({error_reason(failure)})"
        raise ClusterError(f"{outcome}: an index template makes it unfit. {error}") from error


def record_ingest(
    meta: Mapping[str, Any], bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> dict[str, Any]:
    """A mapping's `_meta` with the record of an ingest added."""
    signals = choose_signals(bundle, options.signals)
    record = build_ingest_record(bundle.model_id, text_fields, signals, bundle.vocabulary.rules())
    record |= pending_mark(meta, options.model_fields.name, bundle.model_id)
    return with_ingest_meta(meta, options.model_fields.name, record)
