"""The rewriter of `retrieve` mode: products near the query's centres beside those its words find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.fusion import QUERY_WEIGHT
from anthem_plugin.modes import DEFAULT_WINDOW, HNSW_OVERFETCH, Retrieve
from anthem_plugin.rewriter.filter_clauses import extract_filter_clauses
from anthem_plugin.rewriter.rescore import DEFAULT_FIELDS, MAX_RESCORE_WINDOW, RewrittenBody, rescore_refusal_reason
from anthem_plugin.rewriter.source_filtering import hide_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.opensearch.schema import VectorFields

INSEPARABLE_FILTERS_REASON = (
    "its words cannot be told from its filters: the text is not in it as it was given, or scores decide what is found; "
    "say with `filter` what retrieved products must pass"
)
OWN_RESCORE_REASON = "the body has a `rescore` of its own, whose window retrieved products would fill; use cluster mode"

# The first pass puts neighbours above every lexical score, so that they are in the window; times the weight of the
# first pass it stays below 1, the least score of the second, which alone counts there: `max`.
_NEIGHBOUR_BOOST = 1e5


def build_retrieve_body(
    body: Mapping[str, Any],
    script: Mapping[str, Any],
    text: str | None,
    how: Retrieve | None = None,
    *,
    window: int = DEFAULT_WINDOW,
    fields: VectorFields = DEFAULT_FIELDS,
) -> RewrittenBody:
    """Body that finds what the caller's query finds and what is near, and rescores both; centres are the script's.

    A product found by its vector alone has the lexical score 0. Totals and aggregations count it.
    """
    how = how or Retrieve()
    reason = rescore_refusal_reason(body) or (OWN_RESCORE_REASON if body.get("rescore") else None)
    held = [] if reason else [how.filter] if how.filter is not None else extract_filter_clauses(body["query"], text)
    if reason is not None or held is None:
        return RewrittenBody(dict(body), reranked=False, reason=reason or INSEPARABLE_FILTERS_REASON)
    query, near = body["query"], _neighbour_clause(script["params"], how.k, held)
    count = min(
        window + HNSW_OVERFETCH * how.k * len(near["constant_score"]["filter"]["bool"]["should"]), MAX_RESCORE_WINDOW
    )
    rescore = {"window_size": count, "query": _rescore_query(query, script)}
    return RewrittenBody(
        {**body, **hide_vectors(body, fields), "query": {"bool": {"should": [query, near]}}, "rescore": [rescore]},
        reranked=True,
    )


def _neighbour_clause(params: Mapping[str, Any], k: int, held: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Clause of what is nearest to one centre or another, is of this model and passes what is held."""
    asked: dict[str, Any] = {"k": HNSW_OVERFETCH * k, "ignore_unmapped": True}
    if held:
        asked["filter"] = {"bool": {"filter": list(held)}}
    nearest = [{"knn": {params["vector"]: {"vector": centre, **asked}}} for centre in params["centres"]]
    of_model = {"term": {params["model_field"]: params["model"]}}
    found = {"bool": {"filter": [of_model], "should": nearest, "minimum_should_match": 1}}
    return {"constant_score": {"filter": found, "boost": _NEIGHBOUR_BOOST}}


def _rescore_query(query: Mapping[str, Any], script: Mapping[str, Any]) -> dict[str, Any]:
    """Second pass around the caller's query alone, where `match_all` adds 0 and lets every product in."""
    found = {"bool": {"should": [query, {"match_all": {"boost": 0}}]}}
    fused = {**script, "params": {**script["params"], "lexical_weight": QUERY_WEIGHT}}
    return {
        "rescore_query": {"script_score": {"query": found, "script": fused}},
        "query_weight": QUERY_WEIGHT,
        "rescore_query_weight": 1.0,
        "score_mode": "max",
    }
