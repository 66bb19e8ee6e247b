"""How a response tells whether there was anything to rerank by: every hit of the page brings the id of its model.

Where the page does not tell, a small search counts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_plugin.scoring.params import ScoringParams

_MARKED = "anthem"
_WHERE = ("pit", "slice", "derived", "search_pipeline", "timeout")
_LISTS = ("docvalue_fields", "fields")  # both answer in a hit's `fields`, and twice where both name a field


def request_model_field(body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """Body whose hits bring along the id of the model that made their vector."""
    if _asks(body, scoring):
        return dict(body)
    return {**body, "docvalue_fields": [*body.get("docvalue_fields", []), scoring.fields.model]}


def has_model_vector(hit: Mapping[str, Any], scoring: ScoringParams) -> bool:
    """Whether a hit has a vector of this model."""
    return scoring.model in hit.get("fields", {}).get(scoring.fields.model, [])


def remove_model_field(hit: Mapping[str, Any], body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """The hit without what only `mark` asked for."""
    if _asks(body, scoring):
        return dict(hit)
    fields = {name: value for name, value in hit.get("fields", {}).items() if name != scoring.fields.model}
    return {key: value for key, value in hit.items() if key != "fields"} | ({"fields": fields} if fields else {})


def build_any_vector_body(body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """Body that counts whether one product or more of those found has a vector of this model."""
    found = {"bool": {"filter": [body["query"], _of_model(scoring)]}}
    return {**_where(body), "query": found, "size": 0, "terminate_after": 1, "track_total_hits": True}


def build_vector_count_body(body: Mapping[str, Any], scoring: ScoringParams, most: int) -> dict[str, Any]:
    """Body that counts what the query finds, up to one above `most` on a shard, and how many have a vector."""
    marked = {"aggs": {_MARKED: {"filter": _of_model(scoring)}}, "terminate_after": most + 1}
    return {**_where(body), "query": body["query"], "size": 0, "track_total_hits": True, **marked}


def build_hit_count_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Body that counts the hits of another."""
    kept = {key: body[key] for key in ("query", "post_filter", "min_score") if key in body}
    return {**_where(body), **kept, "size": 0, "track_total_hits": True}


def vector_count(response: Mapping[str, Any]) -> int:
    """Number of products with a vector among those that `counting` counted."""
    return int(response["aggregations"][_MARKED]["doc_count"])


def hit_count(response: Mapping[str, Any]) -> int:
    """Number of products found, in either form OpenSearch gives it."""
    found = response["hits"]["total"]
    return int(found["value"] if isinstance(found, dict) else found)


def _of_model(scoring: ScoringParams) -> dict[str, Any]:
    return {"term": {scoring.fields.model: scoring.model}}


def _where(body: Mapping[str, Any]) -> dict[str, Any]:
    """What says in which products a body searches, its query aside."""
    return {key: body[key] for key in _WHERE if key in body}


def _asks(body: Mapping[str, Any], scoring: ScoringParams) -> bool:
    return any(fnmatchcase(scoring.fields.model, pattern) for pattern in _asked(body))


def _asked(body: Mapping[str, Any]) -> Iterator[str]:
    for name in _LISTS:
        asked = body.get(name, [])
        for entry in asked if isinstance(asked, list) else [asked]:
            yield str(entry.get("field") if isinstance(entry, dict) else entry)
