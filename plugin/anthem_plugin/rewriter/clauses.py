"""The clauses of a query: which of them contribute to its score, and the words that each of them searches for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.opensearch.schema import MATCH_ALL
from anthem_plugin.rewriter.query_language import QUERY_LANGUAGES, plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Clause: TypeAlias = dict[str, Any]

WRAPPED_QUERY_KEYS = {
    "function_score": "query", "script_score": "query", "boosting": "positive", "constant_score": "filter"
}  # fmt: skip
_SINGLE_FIELD_QUERIES = ("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix")
_MULTI_FIELD_QUERIES = ("multi_match", "combined_fields", *QUERY_LANGUAGES)
_SCORING_LISTS = {"bool": ("must", "should"), "dis_max": ("queries",), "hybrid": ("queries",)}
_EXACT_FIELD = ".keyword"  # where dynamic mapping puts a string as a whole, beside its words


def walk_scoring_clauses(query: Clause, wrapped: Mapping[str, str] = WRAPPED_QUERY_KEYS) -> Iterator[Clause]:
    """A query and all clauses inside it that contribute to its score, at any depth, in the order of the body.

    `wrapped` has the key of the clause inside each kind of clause that wraps one.
    """
    waiting = [query]
    while waiting:  # not recursive: a body may be nested deeper than Python's stack
        clause = waiting.pop()
        yield clause
        kind, content = split_clause(clause)
        inner = [content.get(wrapped[kind], MATCH_ALL)] if kind in wrapped else []
        inner += [each for key in _SCORING_LISTS.get(kind, ()) for each in as_list(content.get(key))]
        waiting += reversed(inner)


def searched_text(clause: Clause) -> str | None:
    """The text that a clause searches for, as written; None if it does not search for words."""
    kind, content = split_clause(clause)
    searched: object = None
    if kind in _MULTI_FIELD_QUERIES:
        searched = content.get("query")
    elif kind in _SINGLE_FIELD_QUERIES and len(content) == 1:
        (searched,) = content.values()
        searched = searched.get("query") if isinstance(searched, dict) else searched
    return searched if isinstance(searched, str) else None


def searched_words(clause: Clause) -> str | None:
    """The text that a clause searches for without the operators of a query language; None if no words are left."""
    kind, content = split_clause(clause)
    text = searched_text(clause)
    if text is None or kind not in QUERY_LANGUAGES or content.get("escape") is True or content.get("flags") == "NONE":
        return text
    return plain_words(text, kind) or (None if text.strip() else text)


def searches_exactly(clause: Clause) -> bool:
    """Whether a clause compares whole values: all of its fields are `.keyword` fields, as dynamic mapping adds them."""
    kind, content = split_clause(clause)
    if kind in _SINGLE_FIELD_QUERIES:
        fields: Sequence[object] = list(content)
    else:
        fields = as_list(content.get("fields", content.get("default_field")))
    return bool(fields) and all(str(field).partition("^")[0].endswith(_EXACT_FIELD) for field in fields)


def split_clause(query: Clause) -> tuple[str, Mapping[str, Any]]:
    """Kind and content of a clause; both empty for anything else, which is left for OpenSearch to reject."""
    if not isinstance(query, dict) or len(query) != 1:
        return "", {}
    ((kind, content),) = query.items()
    return (kind, content) if isinstance(content, dict) else ("", {})


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 (one clause, a list, or None)
    """Clauses as OpenSearch reads them: a list, one clause alone, or none."""
    return value if isinstance(value, list) else [] if value is None else [value]
