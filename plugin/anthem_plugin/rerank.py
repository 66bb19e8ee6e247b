"""Scores of a window in numpy, equal to the script's: how `client` mode ranks, and what explains a hit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from anthem_core.containment import Region, query_distance
from anthem_core.fusion import QUERY_WEIGHT, fuse, window_score
from anthem_core.lorentz import Array, lift
from anthem_plugin.rewrite import WINDOW, page
from anthem_plugin.scoring import Scoring, precise
from anthem_plugin.sources import held, restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.attention import Attention

Hit: TypeAlias = dict[str, Any]


def rerank(
    hits: Sequence[Hit], query: Region, scoring: Scoring, *, window: int = WINDOW, attention: Array | None = None
) -> list[Hit]:
    """Hits in new order with new `_score`; those outside the window keep their order beneath.

    Hits come in lexical order with `_score` and, in `_source`, vector and model; `attention` is that of the hits in the
    window, NaN where it is unknown. Ties keep lexical order.

    Raises:
        ValueError: A hit has no score that is a number.
    """
    lexical = np.array([hit["_score"] for hit in hits], np.float64)
    inside = scores(lexical[:window], distances(hits[:window], query, scoring), scoring, attention)
    outside = np.float32(QUERY_WEIGHT) * lexical[window:].astype(np.float32)
    every = np.concatenate([inside, outside])
    if not np.isfinite(every).all():
        raise ValueError("a hit has no score that is a number")
    order = [*best_first(inside), *range(len(inside), len(hits))]
    return [{**hits[number], "_score": float(every[number])} for number in order]


def scores(lexical: Array, distance: Array, scoring: Scoring, attention: Array | None = None) -> Array:
    """Score of each product of a window from its signals, `(N,)`, in float32; NaN stands for what it lacks."""
    fusion = scoring.fusion if attention is None or scoring.attentive is None else scoring.attentive
    fused = fuse(lexical, distance, fusion, attention)
    # What is no number counts as 0, as in the script.
    return window_score(lexical, np.where(fused >= 0, fused, 0.0))


def best_first(values: Array) -> Sequence[int]:
    """Numbers of a window's products by falling score; ties keep their order."""
    order: Sequence[int] = np.argsort(-values, kind="stable").tolist()
    return order


def narrow(
    response: Mapping[str, Any],
    body: Mapping[str, Any],
    ranked: Sequence[Hit],
    scoring: Scoring,
    texts: Sequence[str] = (),
) -> dict[str, Any]:
    """Response to a widened body with the page and the sources the caller's own body asked for."""
    start, size = page(body)
    shown = [restore(hit, body, scoring.fields, texts) for hit in ranked[start : start + size]]
    best = ranked[0]["_score"] if ranked else None
    return {**response, "hits": {**response["hits"], "max_score": best, "hits": shown}}


def distances(hits: Sequence[Hit], query: Region, scoring: Scoring) -> Array:
    """Distance of each hit to the query, `(N,)`; NaN for a hit without a vector of this model and dimension."""
    return point_distances([stored_point(hit, scoring) for hit in hits], query, scoring)


def attended(attention: Attention, query: str, texts: Sequence[str]) -> Array | None:
    """Attention scores `(N,)` of product texts, NaN for one that says nothing; None where not one says anything."""
    found = attention.scores(query, texts)
    return found if np.isfinite(found).any() else None


def point_distances(points: Sequence[Array | None], query: Region, scoring: Scoring) -> Array:
    """Distance of each point `(D+1,)` to the query, `(N,)`; NaN where there is none."""
    known = [number for number, point in enumerate(points) if point is not None]
    result = np.full(len(points), np.nan)
    if known:
        result[known] = query_distance(precise(query), np.array([points[number] for number in known]), scoring.gamma)
    return result


def stored_point(hit: Hit, scoring: Scoring) -> Array | None:
    """Point `(D+1,)` a hit brings along, as the index keeps it: float32, time recomputed from space."""
    stored = held(hit.get("_source", {}), scoring.fields)
    if _model(stored.get("model")) != scoring.model:
        return None
    vector = stored.get("vector")
    if not isinstance(vector, list) or len(vector) != scoring.dimension + 1:
        return None
    return exact_point(np.array(vector, np.float32))


def _model(named: object) -> object:
    """Id of a model as the script sees it: of several in a list, the least."""
    if not isinstance(named, list):
        return named
    return min((str(one) for one in named if one is not None), default=None)


def exact_point(point: Array) -> Array:
    """Point as all of a window's scores are computed from it: space as it is kept, float32, time recomputed."""
    return lift(point[1:].astype(np.float64))
