"""Scores of a window in numpy, equal to the script's: how `client` mode ranks, and what explains a hit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from anthem_core.containment import Query, query_distance
from anthem_core.fusion import QUERY_WEIGHT, fuse, window_score
from anthem_core.lorentz import Array, lift
from anthem_plugin.rewrite import WINDOW, page
from anthem_plugin.scoring import Scoring, precise
from anthem_plugin.sources import restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Hit: TypeAlias = dict[str, Any]


def rerank(hits: Sequence[Hit], query: Query, scoring: Scoring, *, window: int = WINDOW) -> list[Hit]:
    """Hits in new order with new `_score`; those outside the window keep their order beneath.

    Hits come in lexical order with `_score` and, in `_source`, vector and model. Ties keep lexical order.

    Raises:
        ValueError: A hit has no score that is a number.
    """
    lexical = np.array([hit["_score"] for hit in hits], np.float64)
    fused = fuse(lexical[:window], distances(hits[:window], query, scoring), scoring.fusion)
    # What is no number counts as 0, as in the script.
    inside = window_score(lexical[:window], np.where(fused >= 0, fused, 0.0))
    outside = np.float32(QUERY_WEIGHT) * lexical[window:].astype(np.float32)
    scores = np.concatenate([inside, outside])
    if not np.isfinite(scores).all():
        raise ValueError("a hit has no score that is a number")
    order = [*np.argsort(-inside, kind="stable"), *range(len(inside), len(hits))]
    return [{**hits[number], "_score": float(scores[number])} for number in order]


def narrow(
    response: Mapping[str, Any], body: Mapping[str, Any], ranked: Sequence[Hit], scoring: Scoring
) -> dict[str, Any]:
    """Response to a widened body with the page and the sources the caller's own body asked for."""
    start, size = page(body)
    shown = [restore(hit, body, scoring.fields) for hit in ranked[start : start + size]]
    best = ranked[0]["_score"] if ranked else None
    return {**response, "hits": {**response["hits"], "max_score": best, "hits": shown}}


def distances(hits: Sequence[Hit], query: Query, scoring: Scoring) -> Array:
    """Distance of each hit to the query, `(N,)`; NaN for a hit without a vector of this model and dimension."""
    points = [stored_point(hit, scoring) for hit in hits]
    known = [number for number, point in enumerate(points) if point is not None]
    result = np.full(len(hits), np.nan)
    if known:
        result[known] = query_distance(precise(query), np.array([points[number] for number in known]), scoring.gamma)
    return result


def stored_point(hit: Hit, scoring: Scoring) -> Array | None:
    """Point `(D+1,)` a hit brings along, as the index keeps it: float32, time recomputed from space."""
    stored = hit.get("_source", {}).get(scoring.fields.name)
    if not isinstance(stored, dict) or stored.get("model") != scoring.model:
        return None
    vector = stored.get("vector")
    if not isinstance(vector, list) or len(vector) != scoring.dimension + 1:
        return None
    return lift(np.array(vector[1:], np.float32).astype(np.float64))
