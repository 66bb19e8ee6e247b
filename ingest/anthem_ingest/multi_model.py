"""Vectors of several models in one index: one object per model, and field aliases for the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    DEFAULT_TEXT_FIELDS,
    VectorFields,
    fields_of_model,
    ingested_fields,
    resolve_current_fields,
)
from anthem_ingest import index_io
from anthem_ingest.mapping import parse_single_index, vector_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearchpy import OpenSearch

_FIRST_MODEL_FIELDS = VectorFields()


@cluster_errors()
def choose_vector_fields(client: OpenSearch, index: str, model_id: str, *, beside: bool = False) -> VectorFields:
    """Where an index holds, or will hold, the vectors of a model.

    The model's own object if the index has it, otherwise `anthem`. With `beside`, a model also gets its own object if
    `anthem` holds vectors of another model, which are then kept.
    """
    own_fields = fields_of_model(model_id)
    present = _read_vector_objects(client, index)
    if own_fields.name in present:
        return own_fields
    if not beside or _FIRST_MODEL_FIELDS.name not in present:
        return _FIRST_MODEL_FIELDS
    is_of_other_model = {
        "bool": {
            "filter": {"exists": {"field": _FIRST_MODEL_FIELDS.vector}},
            "must_not": {"term": {_FIRST_MODEL_FIELDS.model: model_id}},
        }
    }
    return own_fields if index_io.count_products(client, index, is_of_other_model) else _FIRST_MODEL_FIELDS


@cluster_errors()
def choose_text_fields(client: OpenSearch, index: str, vector_fields: VectorFields) -> tuple[str, ...]:
    """Text fields to ingest if none is named: those recorded for these vectors, for the current ones, or `title`."""
    mappings = _read_mappings(client, index)
    recorded = (ingested_fields(mappings, fields.name) for fields in (vector_fields, resolve_current_fields(mappings)))
    return next(filter(None, recorded), DEFAULT_TEXT_FIELDS)


@cluster_errors()
def switch_aliases(client: OpenSearch, index: str, vector_fields: VectorFields) -> None:
    """Point the field aliases at these vector fields, once every product with a vector has one there.

    Raises:
        ClusterError: Products have a vector of another model and none of this one, or the cluster refuses.
    """
    index_io.refresh_index(client, index)
    others = [name for name in _read_vector_objects(client, index) if name != vector_fields.name]
    lacks_new_vector = {
        "bool": {
            "should": [{"exists": {"field": VectorFields(name).vector}} for name in others],
            "minimum_should_match": 1,
            "must_not": {"exists": {"field": vector_fields.vector}},
        }
    }
    lacking = index_io.count_products(client, index, lacks_new_vector) if others else 0
    if lacking:
        raise ClusterError(
            f"{lacking} products have a vector of another model but none in {vector_fields.name}, so the aliases were "
            "not moved. Run ingest again."
        )
    index_io.put_mapping(client, index, build_alias_mapping(vector_fields))


def build_alias_mapping(vector_fields: VectorFields) -> dict[str, Any]:
    """Mapping of the field aliases that make these vector fields the current ones."""
    paths = {"vector": vector_fields.vector, "model": vector_fields.model}
    properties = {name: {"type": "alias", "path": path} for name, path in paths.items()}
    return {"properties": {CURRENT_FIELDS.name: {"properties": properties}}}


@cluster_errors()
def list_stale_objects(client: OpenSearch, index: str, vector_fields: VectorFields) -> tuple[str, ...]:
    """Names of the objects that hold vectors of models other than the current one.

    Raises:
        ClusterError: The current vectors are not in `vector_fields`.
    """
    mappings = _read_mappings(client, index)
    current = resolve_current_fields(mappings)
    if current != vector_fields:
        raise ClusterError(
            f"The current vectors of '{index}' are in {current.name}, those of this bundle in {vector_fields.name}: "
            "pruning would remove vectors that searches use. Name the bundle of the current model, or switch to this "
            "one first: anthem ingest --beside"
        )
    return tuple(name for name in vector_objects(mappings) if name != current.name)


def _read_vector_objects(client: OpenSearch, index: str) -> tuple[str, ...]:
    return vector_objects(_read_mappings(client, index))


def _read_mappings(client: OpenSearch, index: str) -> Mapping[str, Any]:
    response = index_io.describe_index(client, index)
    return parse_single_index(response, index).mappings if response else {}
