"""Vectors of several models in one index: each in an object of its own, and field aliases that name the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import CURRENT_FIELDS, VectorFields, fields_of_model, resolve_current_fields
from anthem_ingest import index_io
from anthem_ingest.mapping import parse_single_index, vector_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearchpy import OpenSearch


@cluster_errors()
def choose_vector_fields(client: OpenSearch, index: str, model: str, *, beside: bool = False) -> VectorFields:
    """Where the vectors of a model are or belong in an index.

    That is its own object where it has one; `anthem`, unless vectors of another model are there and they are to stay.
    """
    mine, there = fields_of_model(model), _read_vector_objects(client, index)
    if mine.name in there:
        return mine
    foreign = {
        "bool": {"filter": {"exists": {"field": "anthem.vector"}}, "must_not": {"term": {"anthem.model": model}}}
    }
    taken = beside and "anthem" in there and index_io.count_products(client, index, foreign) > 0
    return mine if taken else VectorFields()


@cluster_errors()
def switch_aliases(client: OpenSearch, index: str, names: VectorFields) -> None:
    """Point the field aliases at the vectors under these names, once every product with old ones has new ones.

    Raises:
        ClusterError: Products have vectors of another model and none of this one, or the cluster refuses.
    """
    index_io.refresh_index(client, index)
    with_others = [
        {"exists": {"field": VectorFields(name).vector}}
        for name in _read_vector_objects(client, index)
        if name != names.name
    ]
    behind = {"bool": {"should": with_others, "minimum_should_match": 1,
                       "must_not": {"exists": {"field": names.vector}}}}  # fmt: skip
    number = index_io.count_products(client, index, behind) if with_others else 0
    if number:
        raise ClusterError(
            f"{number} products have a vector of another model and none in {names.name}; nothing was switched. "
            "Run ingest again."
        )
    index_io.put_mapping(client, index, build_alias_mapping(names))


def build_alias_mapping(names: VectorFields) -> dict[str, Any]:
    """Mapping of the field aliases that make these names the current ones."""
    paths = {"vector": names.vector, "model": names.model}
    properties = {name: {"type": "alias", "path": path} for name, path in paths.items()}
    return {"properties": {CURRENT_FIELDS.name: {"properties": properties}}}


@cluster_errors()
def list_stale_objects(client: OpenSearch, index: str, names: VectorFields) -> tuple[str, ...]:
    """Names of the objects of other models than the current one.

    Raises:
        ClusterError: The current model is another one.
    """
    mappings = _read_mappings(client, index)
    now = resolve_current_fields(mappings)
    if now != names:
        raise ClusterError(
            f"The current vectors of '{index}' are in {now.name}, those of this bundle in {names.name}; pruning would "
            "take what searches use. Name the bundle of the current model, or switch first: anthem ingest --beside"
        )
    return tuple(name for name in vector_objects(mappings) if name != now.name)


def _read_vector_objects(client: OpenSearch, index: str) -> tuple[str, ...]:
    return vector_objects(_read_mappings(client, index))


def _read_mappings(client: OpenSearch, index: str) -> Mapping[str, Any]:
    answer = index_io.describe_index(client, index)
    return parse_single_index(answer, index).mappings if answer else {}
