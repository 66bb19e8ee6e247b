"""Finds the query text in a search body: what the clauses that search for words agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from anthem_plugin.rewriter.clauses import (
    WRAPPED_QUERY_KEYS,
    searched_words,
    searches_exactly,
    walk_scoring_clauses,
)

# Where the query text is: a dotted path, or several, of which the first that leads to a text counts.
QueryPath: TypeAlias = str | Sequence[str]

NO_QUERY_TEXT_REASON = (
    "no query text was given, and none was found in the body: pass the text as `query_text`, "
    "or its path in the body as `query_path`"
)
DIFFERENT_TEXTS_REASON = (
    "the clauses of the body search for different texts ({}): pass the text to rank by as `query_text`, "
    "or its path in the body as `query_path`"
)
NO_TEXT_AT_PATH_REASON = "`query_path` leads to no text in the body ({}): correct it, or pass the text as `query_text`"
NO_WORDS_REASON = "the query has no letters or digits"

_SHOWN_TEXTS = 3
_SHOWN_CHARACTERS = 40
_WRAPPED_TEXT_KEYS = {**WRAPPED_QUERY_KEYS, "nested": "query"}


def find_query_text(body: Mapping[str, object], path: QueryPath | None = None) -> str | None:
    """Text at the first `path` that leads to one (such as `query.match.title.query`); else what the query searches for.

    Without a path, all clauses that search for words must agree on it, apart from case and spaces; those in `filter`
    and `must_not` do not count. None if there is no text, or not one alone.
    """
    if path:
        return _first_with_words(
            [text for each in _as_paths(path) if isinstance(text := value_at_path(body, each), str)]
        )
    texts = _different_texts(body)
    return texts[0] if len(texts) == 1 else None


def missing_text_reason(body: Mapping[str, object], path: QueryPath | None = None) -> str:
    """Why `find_query_text` found none, with the texts that disagree and what to pass."""
    if path:
        return NO_TEXT_AT_PATH_REASON.format(", ".join(_as_paths(path)))
    texts = _different_texts(body)
    if not texts:
        return NO_QUERY_TEXT_REASON
    shown = [repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…") for text in texts]
    more = [] if len(shown) <= _SHOWN_TEXTS else ["…"]
    return DIFFERENT_TEXTS_REASON.format(", ".join([*shown[:_SHOWN_TEXTS], *more]))


def is_same_text(text: str, other: str) -> bool:
    """Whether two texts differ in nothing but case and spaces."""
    return _normalise(text) == _normalise(other)


def value_at_path(node: object, path: str) -> object:
    """Value at a dotted path, or None if the path does not exist.

    A key may itself contain dots (`match.title.en`); a number selects an item of a list.
    """
    return _value_at(node, path.split("."))


def _different_texts(body: Mapping[str, object]) -> list[str]:
    """The texts that the scoring clauses of a body search for, without repetitions.

    What compares whole values, or has no words, counts only where nothing else is searched for.
    """
    query = body.get("query") if isinstance(body, Mapping) else None
    found: tuple[list[str], list[str], list[str]] = [], [], []  # words, whole values, blank texts
    for clause in walk_scoring_clauses(query, _WRAPPED_TEXT_KEYS) if isinstance(query, dict) else ():
        text = searched_words(clause)
        if text is not None:
            found[2 if not text.strip() else searches_exactly(clause)].append(text)
    texts = next(filter(None, found), [])
    return list({_normalise(text): text for text in reversed(texts)}.values())[::-1]


def _as_paths(path: QueryPath) -> Sequence[str]:
    return (path,) if isinstance(path, str) else path


def _first_with_words(texts: Sequence[str]) -> str | None:
    return next((text for text in texts if text.strip()), texts[0] if texts else None)


def _normalise(text: str) -> str:
    return " ".join(text.split()).casefold()


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
