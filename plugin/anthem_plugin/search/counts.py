"""Small searches that count: the matches of a query, those with a vector of the model, and the hits of a body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_plugin.scoring.params import ScoringParams

SCOPE_KEYS = ("pit", "slice", "derived", "search_pipeline", "timeout")  # what a body searches, besides its query
_AGGREGATION, _INDICES = "anthem", "anthem_indices"
_MAX_INDICES = 1_000  # of which the names are returned


def build_match_count_body(body: Mapping[str, Any], scoring: ScoringParams, limit: int) -> dict[str, Any]:
    """Body that counts the matches, up to `limit + 1` on each shard, and those of them with a vector of this model.

    Its response names the indices of the matches too.
    """
    has_vector = [{"term": {scoring.fields.model: scoring.model_id}}, {"exists": {"field": scoring.fields.vector}}]
    misfits = sorted((scoring.misfits or {}).get("containment", ()))  # their values are no vectors for the script
    unreadable = {"must_not": [{"terms": {"_index": misfits}}]} if misfits else {}
    aggregations = {
        _AGGREGATION: {"filter": {"bool": {"filter": has_vector, **unreadable}}},
        _INDICES: {"terms": {"field": "_index", "size": _MAX_INDICES}},
    }
    counted = {"size": 0, "track_total_hits": True, "aggs": aggregations, "terminate_after": limit + 1}
    return {**_scope(body), "query": body["query"], **counted}


def build_hit_count_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Body that counts the hits of another body."""
    kept = {key: body[key] for key in ("query", "post_filter", "min_score") if key in body}
    return {**_scope(body), **kept, "size": 0, "track_total_hits": True}


def vector_count(response: Mapping[str, Any]) -> int:
    """Number of matches with a vector, from the response to `build_match_count_body`."""
    return int(response["aggregations"][_AGGREGATION]["doc_count"])


def found_indices(response: Mapping[str, Any]) -> list[str]:
    """Names of the indices of the matches, from the response to `build_match_count_body`."""
    return sorted(bucket["key"] for bucket in response["aggregations"][_INDICES]["buckets"])


def hit_count(response: Mapping[str, Any]) -> int:
    """Total number of hits, in either form in which OpenSearch returns it."""
    total = response["hits"]["total"]
    return int(total["value"] if isinstance(total, dict) else total)


def _scope(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: body[key] for key in SCOPE_KEYS if key in body}
