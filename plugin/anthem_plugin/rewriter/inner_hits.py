"""Hides ANTHEM's values in the products that a search returns beside its hits: inner hits, `top_hits`, suggestions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anthem_plugin.rewriter.source_filtering import hide_values, restore_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anthem_core.opensearch.schema import ModelFields

_AGGREGATION_KEYS = ("aggs", "aggregations")
KEYS_BESIDE_HITS = frozenset((*_AGGREGATION_KEYS, "suggest"))  # which return products even with `size: 0`
_QUERY_KEYS = ("query", "post_filter")
_JOINING_QUERIES = ("has_child", "has_parent")  # their inner hits are whole products; those of `nested` are parts


def hide_inner_values(body: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    """The body with a `_source` setting, as `hide_values` gives it, wherever it returns whole products beside its hits.

    Those are the inner hits of `collapse`, `has_child` and `has_parent`, and `top_hits` aggregations at any depth.
    """
    hidden = dict(body)
    if _returns_inner_hits(body.get("collapse")):
        hidden["collapse"] = _hide_in_inner_hits(_without_empty_list(body["collapse"]), fields)
    for key in _AGGREGATION_KEYS:
        if isinstance(body.get(key), dict):
            hidden[key] = _hide_in_aggregations(body[key], fields)
    for key in _QUERY_KEYS:
        if _has_joining_query(body.get(key)):
            hidden[key] = _hide_in_query(body[key], fields)
    return hidden


def list_top_hits(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every `top_hits` aggregation of a body; they may be nested deeper than the stack."""
    waiting = [body]
    while waiting:
        owner = waiting.pop()
        below = [owner[key] for key in _AGGREGATION_KEYS if isinstance(owner.get(key), dict)]
        for aggregation in (item for named in below for item in named.values() if isinstance(item, dict)):
            if isinstance(aggregation.get("top_hits"), dict):
                yield aggregation["top_hits"]
            waiting.append(aggregation)


def hide_all_values(body: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    """The body with nothing changed but that it returns no values of the model."""
    returns_products = body.get("size") != 0 or "suggest" in body
    return {**hide_inner_values(body, fields), **(hide_values(body, fields) if returns_products else {})}


def restore_suggestions(
    response: Mapping[str, Any], body: Mapping[str, Any], fields: ModelFields, text_fields: Sequence[str]
) -> dict[str, Any]:
    """The suggestions of a response with only the sources that the body requests; empty without suggestions.

    A `completion` suggester returns whole products, by the `_source` setting of the body that was sent.
    """

    def restore(option: Mapping[str, Any]) -> Mapping[str, Any]:
        return restore_source(option, body, fields, text_fields) if "_source" in option else option

    return change_suggestions(response, lambda options: [restore(option) for option in options])


def change_suggestions(
    response: Mapping[str, Any], change: Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """The suggestions of a response with the options of each entry changed; empty without suggestions."""
    suggestions = response.get("suggest")
    if not isinstance(suggestions, Mapping):
        return {}
    changed = {
        name: [{**entry, "options": change(entry.get("options", []))} for entry in entries]
        for name, entries in suggestions.items()
    }
    return {"suggest": changed}


def _hide_in_aggregations(aggregations: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    hidden: dict[str, Any] = {}
    for name, aggregation in aggregations.items():
        hidden[name] = aggregation
        if not isinstance(aggregation, dict):
            continue
        changed = {key: _hide_in_aggregations(aggregation[key], fields)
                   for key in _AGGREGATION_KEYS if isinstance(aggregation.get(key), dict)}  # fmt: skip
        if isinstance(aggregation.get("top_hits"), dict):
            changed["top_hits"] = _hide(aggregation["top_hits"], fields)
        hidden[name] = {**aggregation, **changed}
    return hidden


def _hide_in_query(node: Any, fields: ModelFields) -> Any:  # noqa: ANN401 (any part of a query)
    if isinstance(node, list):
        return [_hide_in_query(item, fields) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _hide_in_query(value, fields) for key, value in node.items()}
    joins = [key for key in _JOINING_QUERIES if _returns_inner_hits(inner.get(key))]
    return inner | {key: _hide_in_inner_hits(inner[key], fields) for key in joins}


def _hide_in_inner_hits(owner: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    inner = owner["inner_hits"]
    hidden = [_hide(item, fields) for item in inner] if isinstance(inner, list) else _hide(inner, fields)
    return {**owner, "inner_hits": hidden}


def _without_empty_list(collapse: Mapping[str, Any]) -> dict[str, Any]:
    """A `collapse` without empty `stored_fields` in inner hits: OpenSearch ignores it there, and returns `_source`."""
    inner = collapse["inner_hits"]
    kept = [_drop_empty_list(item) for item in inner] if isinstance(inner, list) else _drop_empty_list(inner)
    return {**collapse, "inner_hits": kept}


def _drop_empty_list(inner: Any) -> Any:  # noqa: ANN401 (what is no object is left for OpenSearch)
    if not isinstance(inner, dict) or inner.get("stored_fields") != []:
        return inner
    return {key: value for key, value in inner.items() if key != "stored_fields"}


def _hide(returned: Any, fields: ModelFields) -> Any:  # noqa: ANN401 (what is no object is left for OpenSearch)
    return {**returned, **hide_values(returned, fields)} if isinstance(returned, dict) else returned


def _returns_inner_hits(owner: object) -> bool:
    return isinstance(owner, dict) and "inner_hits" in owner


def _has_joining_query(query: object) -> bool:
    """Whether a query has one of the clauses that may return whole products; it may be nested deeper than the stack."""
    waiting = [query]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if any(_returns_inner_hits(node.get(key)) for key in _JOINING_QUERIES):
                return True
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return False
