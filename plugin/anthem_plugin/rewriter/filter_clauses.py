"""Separates the filters of a query from its text: the clauses that a product found by its vector must also match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import MATCH_ALL
from anthem_plugin.rewriter.clauses import (
    WRAPPED_QUERY_KEYS,
    as_list,
    searched_text,
    split_clause,
    walk_scoring_clauses,
)
from anthem_plugin.rewriter.query_language import QUERY_LANGUAGES
from anthem_plugin.rewriter.query_text import is_same_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_plugin.rewriter.clauses import Clause

_LANGUAGE_OPERATOR = re.compile(r"""[-+:|!(){}\[\]^"~*?\\/<>=&]|\b(?:AND|OR|NOT|TO)\b""")
_BOOL_KEYS = frozenset(("must", "should", "filter", "must_not", "minimum_should_match", "boost", "_name"))
_UNIQUE_KEYS = ("inner_hits", "_name")  # a search must not contain the same inner hits twice


def extract_filter_clauses(query: Clause, text: str | None) -> list[Clause] | None:
    """Clauses that a product must match to be found by `query`, apart from the clauses that search for `text`.

    A scoring clause that does not search for the text counts as a filter, because applications also put filters into
    `must`. None if filters and text cannot be separated: no scoring clause searches for the text, a score decides what
    matches, or a `bool` has an unknown key.
    """
    scoring = list(_scoring_leaves(query))
    if scoring and not any(_searches_text_only(clause, text) for clause in scoring):
        return None
    if any(_is_inseparable(clause) for clause in walk_scoring_clauses(query)):
        return None
    return _required_clauses(query, text)


def _required_clauses(query: Clause, text: str | None) -> list[Clause]:
    if _searches_text_only(query, text):
        return []
    kind, content = split_clause(query)
    if kind in WRAPPED_QUERY_KEYS:
        return _required_clauses(content.get(WRAPPED_QUERY_KEYS[kind], MATCH_ALL), text)
    if kind == "dis_max":
        return _minimum_match_clause(as_list(content.get("queries")), 1, text)
    return _required_by_bool(content, text) if kind == "bool" else [_without_unique_keys(query)]


def _required_by_bool(content: Mapping[str, Any], text: str | None) -> list[Clause]:
    must, filters, should = (as_list(content.get(key)) for key in ("must", "filter", "should"))
    required = [clause for query in must for clause in _required_clauses(query, text)]
    required += [_without_unique_keys(clause) for clause in filters]
    if excluded := as_list(content.get("must_not")):
        required.append({"bool": {"must_not": [_without_unique_keys(clause) for clause in excluded]}})
    minimum = content.get("minimum_should_match", 0 if must or filters else 1)
    return required + (_minimum_match_clause(should, minimum, text) if should and str(minimum) != "0" else [])


def _minimum_match_clause(clauses: Sequence[Clause], minimum: object, text: str | None) -> list[Clause]:
    """Clause that requires `minimum` of the clauses to match; empty if one suffices and one of them has no filter."""
    required = [_required_clauses(clause, text) for clause in clauses]
    if str(minimum) == "1" and not all(required):
        return []
    should = [{"bool": {"filter": filters}} if filters else MATCH_ALL for filters in required]
    return [{"bool": {"should": should, "minimum_should_match": minimum}}]


def _scoring_leaves(query: Clause) -> Iterator[Clause]:
    """Innermost clauses of a query that contribute to its score."""
    compound = (*WRAPPED_QUERY_KEYS, "dis_max", "bool")
    return (clause for clause in walk_scoring_clauses(query) if split_clause(clause)[0] not in compound)


def _is_inseparable(query: Clause) -> bool:
    """Whether a clause restricts matches by a minimum score, or by a `bool` key that is not known here."""
    kind, content = split_clause(query)
    return (kind in WRAPPED_QUERY_KEYS and "min_score" in content) or (
        kind == "bool" and bool(content.keys() - _BOOL_KEYS)
    )


def _searches_text_only(query: Clause, text: str | None) -> bool:
    """Whether a clause matches all products, or restricts them by nothing but the query text."""
    kind, content = split_clause(query)
    if kind == "match_all":
        return True
    if kind == "nested":
        return _searches_text_only(content.get("query", {}), text)
    searched = searched_text(query)
    if searched is None or text is None:
        return False
    if kind in QUERY_LANGUAGES and _LANGUAGE_OPERATOR.search(searched):
        return False
    return is_same_text(searched, text)


def _without_unique_keys(node: Any) -> Any:  # noqa: ANN401 (any part of a clause)
    """A copy of a clause without the keys that a search may contain only once."""
    if isinstance(node, dict):
        return {key: _without_unique_keys(value) for key, value in node.items() if key not in _UNIQUE_KEYS}
    return [_without_unique_keys(item) for item in node] if isinstance(node, list) else node
