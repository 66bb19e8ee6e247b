"""A caller's body as its JSON: opensearch-py sends a tuple as an array, and what reads a body knows lists alone."""

from __future__ import annotations

from typing import Any


def tuples_as_lists(body: Any) -> Any:  # noqa: ANN401 (whatever a caller passes)
    """The same JSON with a list for each tuple; the body itself if it has no tuple, or is too deep for a copy."""
    if not _has_tuple(body):
        return body
    try:
        return _copy(body)
    except RecursionError:
        return body


def _has_tuple(body: object) -> bool:
    waiting, seen = [body], set()
    while waiting:  # not recursive: a body may be nested deeper than Python's stack, or contain itself
        node = waiting.pop()
        if isinstance(node, tuple):
            return True
        if isinstance(node, dict | list) and id(node) not in seen:
            seen.add(id(node))
            waiting += node.values() if isinstance(node, dict) else node
    return False


def _copy(node: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(item) for item in node] if isinstance(node, list | tuple) else node
