"""Whether a search had vectors to rank by: the hits of the page return their model id, or a small search counts."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_plugin.scoring.params import ScoringParams

_AGGREGATION = "anthem"
_SCOPE_KEYS = ("pit", "slice", "derived", "search_pipeline", "timeout")  # what a body searches, besides its query
# Both are returned in a hit's `fields`, where a value that both ask for appears twice.
_FIELD_LISTS = ("docvalue_fields", "fields")


def request_model_field(body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """Body whose hits return the id of the model that made their vector."""
    if _requests_model_field(body, scoring):
        return dict(body)
    return {**body, "docvalue_fields": [*body.get("docvalue_fields", []), scoring.fields.model]}


def has_model_vector(hit: Mapping[str, Any], scoring: ScoringParams) -> bool:
    """Whether a hit has a vector of this model."""
    return scoring.model_id in hit.get("fields", {}).get(scoring.fields.model, [])


def remove_model_field(hit: Mapping[str, Any], body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """The hit without the model id, unless the caller's own body asks for it."""
    if _requests_model_field(body, scoring):
        return dict(hit)
    fields = {name: value for name, value in hit.get("fields", {}).items() if name != scoring.fields.model}
    return {key: value for key, value in hit.items() if key != "fields"} | ({"fields": fields} if fields else {})


def build_any_vector_body(body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """Body that finds out whether any product that matches has a vector of this model."""
    query = {"bool": {"filter": [body["query"], _has_model(scoring)]}}
    return {**_scope(body), "query": query, "size": 0, "terminate_after": 1, "track_total_hits": True}


def build_vector_count_body(body: Mapping[str, Any], scoring: ScoringParams, limit: int) -> dict[str, Any]:
    """Body that counts the matches, up to `limit + 1` on each shard, and those of them with a vector."""
    aggregations = {_AGGREGATION: {"filter": _has_model(scoring)}}
    counted = {"size": 0, "track_total_hits": True, "aggs": aggregations, "terminate_after": limit + 1}
    return {**_scope(body), "query": body["query"], **counted}


def build_hit_count_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Body that counts the hits of another body."""
    kept = {key: body[key] for key in ("query", "post_filter", "min_score") if key in body}
    return {**_scope(body), **kept, "size": 0, "track_total_hits": True}


def vector_count(response: Mapping[str, Any]) -> int:
    """Number of matches with a vector, from the response to `build_vector_count_body`."""
    return int(response["aggregations"][_AGGREGATION]["doc_count"])


def hit_count(response: Mapping[str, Any]) -> int:
    """Total number of hits, in either form in which OpenSearch returns it."""
    total = response["hits"]["total"]
    return int(total["value"] if isinstance(total, dict) else total)


def _has_model(scoring: ScoringParams) -> dict[str, Any]:
    return {"term": {scoring.fields.model: scoring.model_id}}


def _scope(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: body[key] for key in _SCOPE_KEYS if key in body}


def _requests_model_field(body: Mapping[str, Any], scoring: ScoringParams) -> bool:
    return any(fnmatchcase(scoring.fields.model, pattern) for pattern in _requested_fields(body))


def _requested_fields(body: Mapping[str, Any]) -> Iterator[str]:
    for key in _FIELD_LISTS:
        entries = body.get(key, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            yield str(entry.get("field") if isinstance(entry, dict) else entry)
