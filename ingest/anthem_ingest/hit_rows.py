"""Reads rows that OpenSearch wrote: the routing of a hit, and why an entry of a response is no product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_ingest.json_rows import BULK_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_SHOWN_KEYS = 3

# Names of a hit's metadata, as dumps and exported tables have them next to the fields of the document.
_ROW_METADATA = frozenset({"_id", "_routing"})
_HIT_METADATA = _ROW_METADATA | {
    "_index", "_type", "_score", "_version", "_seq_no", "_primary_term", "_ignored", "_parent",
}  # fmt: skip
# What a search response or a dump may have next to `_source`.
_HIT_KEYS = _HIT_METADATA | {
    "_source", "_explanation", "_nested", "_node", "_rank", "_shard", "fields", "found", "highlight",
    "ignored_field_values", "inner_hits", "matched_queries", "routing", "sort",
}  # fmt: skip
# What responses of `_bulk`, `_update`, `_mget`, `_explain` and `_termvectors` have next to the id of a product.
_RESPONSE_KEYS = _HIT_KEYS | {
    "_shards", "created", "error", "explanation", "forced_refresh", "get", "matched", "result", "status",
    "term_vectors", "took",
}  # fmt: skip
_RESULT_KEYS = frozenset({"status", "result", "error"})  # of an item of a response to `_bulk`
_LIST_NAMES = frozenset({"products", "items", "data", "docs"})  # under which all products come at once


def metadata_names(record: Mapping[Any, Any]) -> Collection[str]:
    """Keys of a record that are metadata, not product fields; a hit without `_source` has more of them."""
    return _HIT_METADATA if "_index" in record and "_source" not in record else _ROW_METADATA


def no_product_reason(record: Mapping[Any, Any]) -> str | None:
    """Why a record is not one product: it is a response of OpenSearch, or has many products; None if it may be one."""
    if "took" in record and isinstance(record.get("hits"), dict):
        return "a search response; write one hit on each line: jq -c '.hits.hits[]' FILE"
    name, value = next(iter(record.items())) if len(record) == 1 else (None, None)
    if name in _LIST_NAMES and isinstance(value, list):
        return f"one object with the list {name}; write one product on each line: jq -c '.{name}[]' FILE"
    if name in BULK_ACTIONS and isinstance(value, dict) and not _RESULT_KEYS.isdisjoint(value):
        return f"the result of the action {name}, from a response to _bulk; expected a product"
    return _foreign_keys_reason(record) if "_source" in record else _response_reason(record)


def _foreign_keys_reason(hit: Mapping[Any, Any]) -> str | None:
    beside = [key for key in hit if key not in _HIT_KEYS]
    return f"fields beside _source ({_shown(beside)}); expected a hit or a product, not both" if beside else None


def _response_reason(record: Mapping[Any, Any]) -> str | None:
    """Why a record without `_source` is no product: all its keys occur in responses, and one occurs in no product."""
    keys = {str(key) for key in record} - _ROW_METADATA
    is_marked = isinstance(record.get("found"), bool) or any(key.startswith("_") for key in keys)
    if not is_marked or not keys <= _RESPONSE_KEYS:
        return None
    if record.get("found") is False:
        return "a response about a product that was not found (found: false); expected a product or a hit with _source"
    return f"a hit or a response without _source, only {_shown(keys)}; expected a product or a hit with _source"


def list_routings(record: Mapping[Any, Any]) -> list[object]:
    """The different routings that a record names, as a rule one or none.

    A hit may have its routing in `_routing`, `routing` or `fields`. In old indices, a child without one was routed by
    its `_parent`.
    """
    is_hit = "_source" in record
    named = [record.get("_routing"), *([record.get("routing"), *_stored_values(record, "_routing")] if is_hit else [])]
    parents = [record.get("_parent"), *_stored_values(record, "_parent")] if is_hit or "_index" in record else []
    return _distinct(named) or _distinct(parents)


def misplaced_reason(record: Mapping[Any, Any], routing: object) -> str | None:
    """Why the id or the routing in a hit's `_source` cannot be dropped: it is not that of the hit; None if it can."""
    source = record.get("_source")
    if not isinstance(source, dict):
        return None
    for name, value in (("_id", record.get("_id")), ("_routing", routing)):
        if _distinct([source.get(name)]) and str(source[name]) != str(value):
            return f"a field {name} in _source, a name that OpenSearch reserves; move it beside _source, or remove it"
    return None


def _stored_values(hit: Mapping[Any, Any], name: str) -> list[object]:
    fields = hit.get("fields")
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, list) else [value]


def _distinct(values: Collection[object]) -> list[object]:
    """The values without empty ones and repetitions; a number and its digits are the same routing."""
    return list({str(value): value for value in values if value not in (None, "")}.values())


def _shown(keys: Collection[object]) -> str:
    return ", ".join(sorted(map(str, keys))[:MAX_SHOWN_KEYS])
