"""What of a query is not the shopper's words: the clauses that a product found by other means has to pass as well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Clause: TypeAlias = dict[str, Any]

ALL: Clause = {"match_all": {}}

_OF_A_FIELD = ("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix")
_OF_FIELDS = ("multi_match", "combined_fields", "query_string", "simple_query_string")
_AROUND = {"function_score": "query", "script_score": "query", "boosting": "positive", "constant_score": "filter"}
_LANGUAGES = ("query_string", "simple_query_string")
_OPERATOR = re.compile(r"""[-+:|!(){}\[\]^"~*?\\/<>=&]|\b(?:AND|OR|NOT|TO)\b""")
_OF_BOOL = frozenset(("must", "should", "filter", "must_not", "minimum_should_match", "boost", "_name"))
_NAMES = ("inner_hits", "_name")  # OpenSearch refuses the same inner hits twice


def restrictions(query: Clause, text: str | None) -> list[Clause] | None:
    """Clauses a product must pass to be found by `query` for other words than `text`; None where `text` is not in it.

    A clause that scores and is not a search for the text itself counts as a filter: a shop may put one into `must`.
    None also where scores or a key that is not known decide what is found.
    """
    scoring = list(_scoring(query))
    if scoring and not any(_is_free(clause, text) for clause in scoring):
        return None
    if any(_is_opaque(clause) for clause in _clauses(query)):
        return None
    return _restrictions(query, text)


def _restrictions(query: Clause, text: str | None) -> list[Clause]:
    if _is_free(query, text):
        return []
    kind, inside = _parts(query)
    if kind in _AROUND:
        return _restrictions(inside.get(_AROUND[kind], ALL), text)
    if kind == "dis_max":
        return _some(_many(inside.get("queries")), 1, text)
    return _of_bool(inside, text) if kind == "bool" else [_bare(query)]


def _of_bool(inside: Mapping[str, Any], text: str | None) -> list[Clause]:
    found = [clause for one in _many(inside.get("must")) for clause in _restrictions(one, text)]
    found += [_bare(clause) for clause in _many(inside.get("filter"))]
    if excluded := _many(inside.get("must_not")):
        found.append({"bool": {"must_not": [_bare(clause) for clause in excluded]}})
    optional = bool(_many(inside.get("must")) or _many(inside.get("filter")))
    least = inside.get("minimum_should_match", 0 if optional else 1)
    should = _many(inside.get("should"))
    return found + (_some(should, least, text) if should and str(least) != "0" else [])


def _some(clauses: Sequence[Clause], least: object, text: str | None) -> list[Clause]:
    """That so many of the clauses are passed; nothing where one is enough and one is free."""
    each = [_restrictions(clause, text) for clause in clauses]
    if str(least) == "1" and not all(each):
        return []
    passed = [{"bool": {"filter": one}} if one else ALL for one in each]
    return [{"bool": {"should": passed, "minimum_should_match": least}}]


def _scoring(query: Clause) -> Iterator[Clause]:
    """Clauses at the bottom of a query that give it its score."""
    return (clause for clause in _clauses(query) if _parts(clause)[0] not in (*_AROUND, "dis_max", "bool"))


def _clauses(query: Clause) -> Iterator[Clause]:
    """A query and all clauses in it that take part in its score, at any depth."""
    yield query
    kind, inside = _parts(query)
    if kind in _AROUND:
        yield from _clauses(inside.get(_AROUND[kind], ALL))
    for key in {"dis_max": ("queries",), "bool": ("must", "should")}.get(kind, ()):
        for clause in _many(inside.get(key)):
            yield from _clauses(clause)


def _is_opaque(query: Clause) -> bool:
    """Whether a clause restricts in a way that cannot be taken apart: by its score, or by a key of another spelling."""
    kind, inside = _parts(query)
    return (kind in _AROUND and "min_score" in inside) or (kind == "bool" and bool(inside.keys() - _OF_BOOL))


def _is_free(query: Clause, text: str | None) -> bool:
    """Whether a clause restricts to nothing but the words searched for."""
    kind, inside = _parts(query)
    if kind == "match_all":
        return True
    asked: object = None
    if kind in _OF_FIELDS:
        asked = inside.get("query")
    elif kind in _OF_A_FIELD and len(inside) == 1:
        (asked,) = inside.values()
        asked = asked.get("query") if isinstance(asked, dict) else asked
    if not isinstance(asked, str) or text is None or (kind in _LANGUAGES and _OPERATOR.search(asked)):
        return False
    return asked.split() == text.split()


def _parts(query: Clause) -> tuple[str, Mapping[str, Any]]:
    """Kind of a clause and what is in it; what is no clause has neither, and OpenSearch is to say so."""
    if not isinstance(query, dict) or len(query) != 1:
        return "", {}
    ((kind, inside),) = query.items()
    return (kind, inside) if isinstance(inside, dict) else ("", {})


def _many(value: Any) -> list[Any]:  # noqa: ANN401 (a clause, several, or none)
    return value if isinstance(value, list) else [] if value is None else [value]


def _bare(node: Any) -> Any:  # noqa: ANN401 (any part of a clause)
    """A clause without what may stand in a search only once."""
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key not in _NAMES}
    return [_bare(one) for one in node] if isinstance(node, list) else node
