"""Rows that are partial products: the fields of a row replace those of the product, all its other fields stay."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Leaf: TypeAlias = tuple[tuple[str, ...], Any]


def merge_fields(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Source of a product after some of its fields were changed; neither argument is modified.

    An object is changed field by field, everything else, lists included, is replaced as a whole; a null changes
    nothing. OpenSearch treats `{"a": {"b": 1}}` and `{"a.b": 1}` as the same field, so a change replaces whichever of
    the two the product has.
    """
    merged = deepcopy(dict(present))
    for keys, value in _iterate_leaves(changes):
        found = _find(merged, ".".join(keys).split("."))
        holder, key = found or (_make_holder(merged, keys[:-1]), keys[-1])
        holder[key] = deepcopy(value)
    return merged


def _iterate_leaves(node: Mapping[str, Any], keys: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """The values that are no objects, with the keys that lead to each; a null or an empty object changes nothing."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _iterate_leaves(value, (*keys, key))
        elif value is not None:
            yield (*keys, key), value


def _find(node: dict[str, Any], path: Sequence[str]) -> tuple[dict[str, Any], str] | None:
    """Where a source has a value at a path: the object and its key, which may contain several parts of the path."""
    for end in range(1, len(path) + 1):
        key = ".".join(path[:end])
        if key not in node:
            continue
        if end == len(path):
            return node, key
        found = _find(node[key], path[end:]) if isinstance(node[key], dict) else None
        if found:
            return found
    return None


def _make_holder(node: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The object that these keys lead to; what is no object on the way becomes one."""
    for key in keys:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    return node
