"""Hides ANTHEM's values in the `fields` of hits, where a wildcard such as `*` returns them: no pattern excludes there.

The values leave the cluster, but not the client. `/rewrite` sees no response, so it cannot hide them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import MODEL_OBJECT_KEYS
from anthem_plugin.rewriter.source_filtering import SearchedFields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.opensearch.schema import ModelFields

_LIST_KEYS = ("fields", "docvalue_fields", "stored_fields")


def strip_returned_fields(response: Mapping[str, Any], body: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    """A response without the model's values in the `fields` of its hits, inner hits and `top_hits`.

    A pattern that names the model's object, such as `anthem.model` or `anthem*`, returns what it covers.
    """
    patterns = [*_listed_patterns(body)]
    if not any("*" in pattern for pattern in patterns):
        return dict(response)
    named = [pattern for pattern in patterns if pattern.startswith(fields.name)]
    return {key: _strip(value, named, fields) for key, value in response.items()}


def _strip(node: Any, named: Sequence[str], fields: ModelFields) -> Any:  # noqa: ANN401 (any part of a response)
    if isinstance(node, list):
        return [_strip(item, named, fields) for item in node]
    if not isinstance(node, dict):
        return node
    stripped = {key: value if key == "_source" else _strip(value, named, fields) for key, value in node.items()}
    index, returned = node.get("_index"), node.get("fields")
    if index is None or not isinstance(returned, dict):
        return stripped
    kept = {path: value for path, value in returned.items() if not _is_hidden(path, index, named, fields)}
    return stripped | {"fields": kept} if kept else {key: stripped[key] for key in stripped if key != "fields"}


def _is_hidden(path: str, index: str, named: Sequence[str], fields: ModelFields) -> bool:
    name, _, value = path.partition(".")
    if value not in MODEL_OBJECT_KEYS or any(fnmatchcase(path, pattern) for pattern in named):
        return False
    known = fields.objects.get(index) if isinstance(fields, SearchedFields) else None
    return name == fields.name if known is None else name in known


def _listed_patterns(node: object) -> Iterator[str]:
    """Every field and pattern that a body lists, at any depth; it may be nested deeper than the stack."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            for key in _LIST_KEYS:
                yield from _to_patterns(found.get(key))
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _to_patterns(listed: object) -> Iterator[str]:
    for item in listed if isinstance(listed, list | tuple) else [listed]:
        pattern = item.get("field") if isinstance(item, Mapping) else item
        if isinstance(pattern, str):
            yield pattern
