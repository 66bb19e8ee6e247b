"""TODO: one line on what this module does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NO_QUERY_TEXT_REASON = "no query text was given, and none stands where the body was searched for it"
NO_WORDS_REASON = "the query has no letters or digits"


def find_query_text(body: Mapping[str, Any], path: str | None = None) -> str | None:
    """Text a body searches for: at `path` (`query.match.title.query`), else of a plain `match` or `multi_match`."""
    found = value_at_path(body, path) if path else _plain_query_text(body.get("query"))
    return found if isinstance(found, str) else None


def _plain_query_text(query: object) -> object:
    match query:
        case {"multi_match": {"query": text}}:
            return text
        case {"match": dict(fields)} if len(fields) == 1:
            (asked,) = fields.values()
            return asked.get("query") if isinstance(asked, dict) else asked
    return None


def value_at_path(node: object, path: str) -> object:
    """Value at a dotted path, or None; a key may hold dots itself (`match.title.en`), a number picks from a list."""
    return _value_at(node, path.split("."))


def _value_at(node: object, parts: Sequence[str]) -> object:
    if not parts:
        return node
    if isinstance(node, list):
        number = int(parts[0]) if parts[0].isdecimal() else len(node)
        return _value_at(node[number], parts[1:]) if number < len(node) else None
    if not isinstance(node, dict):
        return None
    keys = (cut for cut in range(len(parts), 0, -1) if ".".join(parts[:cut]) in node)
    found = (_value_at(node[".".join(parts[:cut])], parts[cut:]) for cut in keys)
    return next((value for value in found if value is not None), None)
