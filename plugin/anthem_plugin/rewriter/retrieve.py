"""Builds the search body of `retrieve` mode: it finds products near the query's centres as well as lexical hits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.stored_vectors import pack_points
from anthem_core.fusion import QUERY_WEIGHT
from anthem_plugin.modes import DEFAULT_WINDOW, Retrieve
from anthem_plugin.rewriter.filter_clauses import extract_filter_clauses
from anthem_plugin.rewriter.inner_hits import hide_inner_values
from anthem_plugin.rewriter.rescore import MAX_RESCORE_WINDOW, RewrittenBody, rescore_refusal_reason
from anthem_plugin.rewriter.source_filtering import hide_values
from anthem_plugin.scoring.params import to_float64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.geometry.regions import Region
    from anthem_plugin.scoring.params import ScoringParams

INSEPARABLE_FILTERS_REASON = (
    "the filters cannot be separated from the query text: no clause contains the text as given, or a score decides "
    "what matches; set `filter` to the clause that retrieved products must match"
)

HNSW_OVERFETCH = 3  # times k: HNSW orders by the Euclidean distance of coordinates, not by the hyperbolic distance
# The first pass ranks neighbours above lexical scores, so that all of them are in the window. Multiplied by the weight
# of that pass this boost stays below every score of the second pass, and `score_mode: max` then keeps that one alone.
_NEIGHBOUR_BOOST = 1e9


def build_retrieve_body(
    body: Mapping[str, Any],
    script: Mapping[str, Any],
    region: Region,
    scoring: ScoringParams,
    text: str | None,
    retrieve: Retrieve | None = None,
    *,
    window: int = DEFAULT_WINDOW,
) -> RewrittenBody:
    """Build the body that finds the caller's hits and the neighbours of the region's centres, and rescores both.

    A product found by its vector alone has the lexical score 0. Totals and aggregations include it.
    """
    retrieve = retrieve or Retrieve()
    reason = rescore_refusal_reason(body)
    if reason is not None:
        return RewrittenBody.unchanged(body, reason)
    filters = extract_filter_clauses(body["query"], text) if retrieve.filter is None else [retrieve.filter]
    if filters is None:
        return RewrittenBody.unchanged(body, INSEPARABLE_FILTERS_REASON)
    body = hide_inner_values(body, scoring.fields)
    query = body["query"]
    points = np.concatenate([encoded.centres for encoded in to_float64(region).queries()])
    centres = pack_points(points, scoring.vector_step).tolist()
    neighbours = HNSW_OVERFETCH * retrieve.k * len(centres)
    rescore = {"window_size": min(window + neighbours, MAX_RESCORE_WINDOW), "query": _rescore_query(query, script)}
    combined = {"bool": {"should": [query, _neighbour_clause(centres, scoring, retrieve.k, filters)]}}
    hidden = hide_values(body, scoring.fields)
    return RewrittenBody({**body, **hidden, "query": combined, "rescore": [rescore]}, reranked=True)


def _neighbour_clause(
    centres: Sequence[Sequence[int]], scoring: ScoringParams, k: int, filters: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Clause that matches products of this model that match all filters and are near a centre, given in stored form."""
    options: dict[str, Any] = {"k": HNSW_OVERFETCH * k, "ignore_unmapped": True}
    if filters:
        options["filter"] = {"bool": {"filter": list(filters)}}
    nearest = [{"knn": {scoring.fields.vector: {"vector": centre, **options}}} for centre in centres]
    # Negated twice: `highlight` with a wildcard would mark the model's id as a word of any clause that is not negated.
    other_model = {"bool": {"must_not": [{"term": {scoring.fields.model: scoring.model_id}}]}}
    neighbours = {"bool": {"must_not": [other_model], "should": nearest, "minimum_should_match": 1}}
    return {"constant_score": {"filter": neighbours, "boost": _NEIGHBOUR_BOOST}}


def _rescore_query(query: Mapping[str, Any], script: Mapping[str, Any]) -> dict[str, Any]:
    """Second pass: the script scores every product by the caller's query alone.

    The `match_all` with boost 0 matches every product and adds nothing to its score.
    """
    every_product = {"bool": {"should": [query, {"match_all": {"boost": 0}}]}}
    return {
        "rescore_query": {"script_score": {"query": every_product, "script": dict(script)}},
        "query_weight": QUERY_WEIGHT,
        "rescore_query_weight": 1.0,
        "score_mode": "max",
    }
