"""Compares JSON values by type and value: in Python, `False`, `0` and `0.0` are equal, and in JSON `false` is not 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_NESTING = 100  # levels of a record; OpenSearch by default accepts 20 of objects


def value_key(value: Any) -> Hashable:  # noqa: ANN401 (any JSON value)
    """A key that two JSON values share if they have the same type and are equal; `1` and `1.0` are the same number."""
    match value:
        case bool():
            return "boolean", value
        case dict():
            return "object", frozenset((name, value_key(item)) for name, item in value.items())
        case list():
            return "array", tuple(map(value_key, value))
    return value  # type: ignore[no-any-return]


def is_empty_value(value: object) -> bool:
    """Whether a JSON value says nothing: null, an empty text, array or object; 0 and false do say something."""
    return value is None or value in ("", [], {})


def is_nested_too_deep(value: object, allowed: int = MAX_NESTING) -> bool:
    """Whether arrays and objects lie in each other on more levels than allowed."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return allowed == 0 or any(is_nested_too_deep(item, allowed - 1) for item in items)
