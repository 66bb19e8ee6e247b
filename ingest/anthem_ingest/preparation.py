"""Gives an index the fields of a model, and records in the mapping's `_meta` what its values are computed from."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import RequestError

from anthem_core.console import count_of
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import build_ingest_record, recorded_objects, with_ingest_meta
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES
from anthem_ingest import index_io
from anthem_ingest.actions import find_beir_fields
from anthem_ingest.encode import choose_signals
from anthem_ingest.mapping import IndexDescription, build_missing_mapping, build_new_index_body, parse_single_index
from anthem_ingest.text_fields import SEARCH_GAP_REMEDY, describe_search_gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.bundle import Bundle
    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.ingest import IngestOptions

_log = logging.getLogger(__name__)

DEFAULT_FIELD_LIMIT = 1000  # OpenSearch's `index.mapping.total_fields.limit`
FIELDS_OF_MODEL = 10  # that are added to the limit: an object of five fields, and as many of a later model


def extend_mapping(
    client: OpenSearch, index: IndexDescription, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> None:
    """Add missing fields to a mapping, and record in its `_meta` what the values are computed from."""
    gap = describe_search_gap(index.mappings, text_fields[0])
    if gap:
        _log.warning("Index '%s': %s is %s. To find products, %s.", index.name, text_fields[0], gap, SEARCH_GAP_REMEDY)
    meta = record_ingest(index.meta, bundle, text_fields, options)
    missing = build_missing_mapping(
        index, options.model_fields, bundle.dimension, choose_signals(bundle, options.signals)
    )
    if missing:
        with _explain_field_limit(index):
            index_io.put_mapping(client, index.name, missing | {"_meta": meta})
    else:
        index_io.replace_meta(client, index, meta, accept_outages=options.accept_outages)


@contextmanager
def _explain_field_limit(index: IndexDescription) -> Iterator[None]:
    """Say how to raise the limit of fields if the model's exceed it."""
    try:
        yield
    except RequestError as error:
        if "Limit of total fields" not in str(error.info):
            raise
        limit = int(index.settings.get("mapping", {}).get("total_fields", {}).get("limit", DEFAULT_FIELD_LIMIT))
        raise ClusterError(
            f"Index '{index.name}' may have {count_of(limit, 'field')}, too few to add those of the model. Raise "
            f'the limit: PUT /{index.name}/_settings {{"index.mapping.total_fields.limit": {limit + FIELDS_OF_MODEL}}}'
        ) from error


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
    index: str,
    bundle: Bundle,
    text_fields: Sequence[str],
    options: IngestOptions,
    documents: Sequence[ProductDocument],
) -> None:
    """Create an index for the products of a file, of which these are the first."""
    body = build_new_index_body(
        options.model_fields,
        bundle.dimension,
        choose_signals(bundle, options.signals),
        knn=not index_io.read_release(client).has(SAFE_MAPPING_CHANGES),
        meta=record_ingest({}, bundle, text_fields, options),
        beir_fields=find_beir_fields(documents),
    )
    client.indices.create(index=index, body=body)


def record_ingest(
    meta: Mapping[str, Any], bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> dict[str, Any]:
    """A mapping's `_meta` with the record of an ingest added."""
    signals = choose_signals(bundle, options.signals)
    record = build_ingest_record(bundle.model_id, text_fields, signals, bundle.vocabulary.rules())
    return with_ingest_meta(meta, options.model_fields.name, record)
