"""Vectors of several models in one index: each in an object of its own, and field aliases that name the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.cluster import explained
from anthem_core.errors import ClusterError
from anthem_core.fields import CURRENT, Fields, current, own
from anthem_ingest import send
from anthem_ingest.mapping import objects, only_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearchpy import OpenSearch


@explained()
def names_for(client: OpenSearch, index: str, model: str, *, beside: bool = False) -> Fields:
    """Where the vectors of a model are or belong in an index.

    That is its own object where it has one; `anthem`, unless vectors of another model are there and they are to stay.
    """
    mine, there = own(model), _objects(client, index)
    if mine.name in there:
        return mine
    foreign = {
        "bool": {"filter": {"exists": {"field": "anthem.vector"}}, "must_not": {"term": {"anthem.model": model}}}
    }
    taken = beside and "anthem" in there and send.count(client, index, foreign) > 0
    return mine if taken else Fields()


@explained()
def switch(client: OpenSearch, index: str, names: Fields) -> None:
    """Point the field aliases at the vectors under these names, once every product with old ones has new ones.

    Raises:
        ClusterError: Products have vectors of another model and none of this one, or the cluster refuses.
    """
    send.refresh(client, index)
    with_others = [{"exists": {"field": Fields(name).vector}} for name in _objects(client, index) if name != names.name]
    behind = {"bool": {"should": with_others, "minimum_should_match": 1,
                       "must_not": {"exists": {"field": names.vector}}}}  # fmt: skip
    number = send.count(client, index, behind) if with_others else 0
    if number:
        raise ClusterError(
            f"{number} products have a vector of another model and none in {names.name}; nothing was switched. "
            "Run ingest again."
        )
    send.put_mapping(client, index, alias_mapping(names))


def alias_mapping(names: Fields) -> dict[str, Any]:
    """Mapping of the field aliases that make these names the current ones."""
    paths = {"vector": names.vector, "model": names.model}
    properties = {name: {"type": "alias", "path": path} for name, path in paths.items()}
    return {"properties": {CURRENT.name: {"properties": properties}}}


@explained()
def to_prune(client: OpenSearch, index: str, names: Fields) -> tuple[str, ...]:
    """Names of the objects of other models than the current one.

    Raises:
        ClusterError: The current model is another one.
    """
    mappings = _mappings(client, index)
    now = current(mappings)
    if now != names:
        raise ClusterError(
            f"The current vectors of '{index}' are in {now.name}, those of this bundle in {names.name}; pruning would "
            "take what searches use. Name the bundle of the current model, or switch first: anthem ingest --beside"
        )
    return tuple(name for name in objects(mappings) if name != now.name)


def _objects(client: OpenSearch, index: str) -> tuple[str, ...]:
    return objects(_mappings(client, index))


def _mappings(client: OpenSearch, index: str) -> Mapping[str, Any]:
    answer = send.describe(client, index)
    return only_index(answer, index).mappings if answer else {}
