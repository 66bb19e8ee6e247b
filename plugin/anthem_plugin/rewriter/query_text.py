"""Finds the query text in a search body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_QUERY_TEXT_REASON = "no query text was given, and none was found in the body"
NO_WORDS_REASON = "the query has no letters or digits"


def find_query_text(body: Mapping[str, Any], path: str | None = None) -> str | None:
    """Text at `path` (such as `query.match.title.query`), or else the text of a plain `match` or `multi_match`."""
    text = value_at_path(body, path) if path else _plain_query_text(body.get("query"))
    return text if isinstance(text, str) else None


def value_at_path(node: object, path: str) -> object:
    """Value at a dotted path, or None if the path does not exist.

    A key may itself contain dots (`match.title.en`); a number selects an item of a list.
    """
    return _value_at(node, path.split("."))


def _plain_query_text(query: object) -> object:
    match query:
        case {"multi_match": {"query": text}}:
            return text
        case {"match": dict(fields)} if len(fields) == 1:
            (condition,) = fields.values()
            return condition.get("query") if isinstance(condition, dict) else condition
    return None


def _value_at(node: object, parts: Sequence[str]) -> object:
    if not parts:
        return node
    if isinstance(node, list):
        position = int(parts[0]) if parts[0].isdecimal() else len(node)
        return _value_at(node[position], parts[1:]) if position < len(node) else None
    if not isinstance(node, dict):
        return None
    # Try the longest key first, because a key may contain dots.
    cuts = (cut for cut in range(len(parts), 0, -1) if ".".join(parts[:cut]) in node)
    values = (_value_at(node[".".join(parts[:cut])], parts[cut:]) for cut in cuts)
    return next((value for value in values if value is not None), None)
