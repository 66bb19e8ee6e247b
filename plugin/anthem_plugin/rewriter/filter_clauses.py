"""What of a query is not the shopper's words: the clauses that a product found by other means has to pass as well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Clause: TypeAlias = dict[str, Any]

MATCH_ALL: Clause = {"match_all": {}}

_SINGLE_FIELD_QUERIES = ("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix")
_MULTI_FIELD_QUERIES = ("multi_match", "combined_fields", "query_string", "simple_query_string")
_WRAPPED_QUERY_KEYS = {
    "function_score": "query",
    "script_score": "query",
    "boosting": "positive",
    "constant_score": "filter",
}
_QUERY_LANGUAGES = ("query_string", "simple_query_string")
_LANGUAGE_OPERATOR = re.compile(r"""[-+:|!(){}\[\]^"~*?\\/<>=&]|\b(?:AND|OR|NOT|TO)\b""")
_BOOL_KEYS = frozenset(("must", "should", "filter", "must_not", "minimum_should_match", "boost", "_name"))
_UNIQUE_KEYS = ("inner_hits", "_name")  # OpenSearch refuses the same inner hits twice


def extract_filter_clauses(query: Clause, text: str | None) -> list[Clause] | None:
    """Clauses a product must pass to be found by `query` for other words than `text`; None where `text` is not in it.

    A clause that scores and is not a search for the text itself counts as a filter: a shop may put one into `must`.
    None also where scores or a key that is not known decide what is found.
    """
    scoring = list(_scoring_leaves(query))
    if scoring and not any(_searches_text_only(clause, text) for clause in scoring):
        return None
    if any(_is_opaque(clause) for clause in _walk_scoring_clauses(query)):
        return None
    return _required_clauses(query, text)


def _required_clauses(query: Clause, text: str | None) -> list[Clause]:
    if _searches_text_only(query, text):
        return []
    kind, inside = _split_clause(query)
    if kind in _WRAPPED_QUERY_KEYS:
        return _required_clauses(inside.get(_WRAPPED_QUERY_KEYS[kind], MATCH_ALL), text)
    if kind == "dis_max":
        return _minimum_match_clause(_as_list(inside.get("queries")), 1, text)
    return _required_by_bool(inside, text) if kind == "bool" else [_without_unique_keys(query)]


def _required_by_bool(inside: Mapping[str, Any], text: str | None) -> list[Clause]:
    found = [clause for one in _as_list(inside.get("must")) for clause in _required_clauses(one, text)]
    found += [_without_unique_keys(clause) for clause in _as_list(inside.get("filter"))]
    if excluded := _as_list(inside.get("must_not")):
        found.append({"bool": {"must_not": [_without_unique_keys(clause) for clause in excluded]}})
    optional = bool(_as_list(inside.get("must")) or _as_list(inside.get("filter")))
    least = inside.get("minimum_should_match", 0 if optional else 1)
    should = _as_list(inside.get("should"))
    return found + (_minimum_match_clause(should, least, text) if should and str(least) != "0" else [])


def _minimum_match_clause(clauses: Sequence[Clause], least: object, text: str | None) -> list[Clause]:
    """That so many of the clauses are passed; nothing where one is enough and one is free."""
    each = [_required_clauses(clause, text) for clause in clauses]
    if str(least) == "1" and not all(each):
        return []
    passed = [{"bool": {"filter": one}} if one else MATCH_ALL for one in each]
    return [{"bool": {"should": passed, "minimum_should_match": least}}]


def _scoring_leaves(query: Clause) -> Iterator[Clause]:
    """Clauses at the bottom of a query that give it its score."""
    return (
        clause
        for clause in _walk_scoring_clauses(query)
        if _split_clause(clause)[0] not in (*_WRAPPED_QUERY_KEYS, "dis_max", "bool")
    )


def _walk_scoring_clauses(query: Clause) -> Iterator[Clause]:
    """A query and all clauses in it that take part in its score, at any depth."""
    yield query
    kind, inside = _split_clause(query)
    if kind in _WRAPPED_QUERY_KEYS:
        yield from _walk_scoring_clauses(inside.get(_WRAPPED_QUERY_KEYS[kind], MATCH_ALL))
    for key in {"dis_max": ("queries",), "bool": ("must", "should")}.get(kind, ()):
        for clause in _as_list(inside.get(key)):
            yield from _walk_scoring_clauses(clause)


def _is_opaque(query: Clause) -> bool:
    """Whether a clause restricts in a way that cannot be taken apart: by its score, or by a key of another spelling."""
    kind, inside = _split_clause(query)
    return (kind in _WRAPPED_QUERY_KEYS and "min_score" in inside) or (
        kind == "bool" and bool(inside.keys() - _BOOL_KEYS)
    )


def _searches_text_only(query: Clause, text: str | None) -> bool:
    """Whether a clause restricts to nothing but the words searched for."""
    kind, inside = _split_clause(query)
    if kind == "match_all":
        return True
    asked: object = None
    if kind in _MULTI_FIELD_QUERIES:
        asked = inside.get("query")
    elif kind in _SINGLE_FIELD_QUERIES and len(inside) == 1:
        (asked,) = inside.values()
        asked = asked.get("query") if isinstance(asked, dict) else asked
    if not isinstance(asked, str) or text is None or (kind in _QUERY_LANGUAGES and _LANGUAGE_OPERATOR.search(asked)):
        return False
    return asked.split() == text.split()


def _split_clause(query: Clause) -> tuple[str, Mapping[str, Any]]:
    """Kind of a clause and what is in it; what is no clause has neither, and OpenSearch is to say so."""
    if not isinstance(query, dict) or len(query) != 1:
        return "", {}
    ((kind, inside),) = query.items()
    return (kind, inside) if isinstance(inside, dict) else ("", {})


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 (a clause, several, or none)
    return value if isinstance(value, list) else [] if value is None else [value]


def _without_unique_keys(node: Any) -> Any:  # noqa: ANN401 (any part of a clause)
    """A clause without what may stand in a search only once."""
    if isinstance(node, dict):
        return {key: _without_unique_keys(value) for key, value in node.items() if key not in _UNIQUE_KEYS}
    return [_without_unique_keys(one) for one in node] if isinstance(node, list) else node
