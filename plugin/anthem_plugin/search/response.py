"""TODO: one line on what this module does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from anthem_core.fusion import QUERY_WEIGHT
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.rewriter.source_filtering import read_vector_object, restore_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import Region
    from anthem_plugin.scoring.params import ScoringParams


from anthem_plugin.scoring.window import lift_point, point_distances, rank_descending, score_window

Hit: TypeAlias = dict[str, Any]


def rerank_hits(
    hits: Sequence[Hit],
    query: Region,
    scoring: ScoringParams,
    *,
    window: int = DEFAULT_WINDOW,
    attention: Array | None = None,
) -> list[Hit]:
    """Hits in new order with new `_score`; those outside the window keep their order beneath.

    Hits come in lexical order with `_score` and, in `_source`, vector and model; `attention` is that of the hits in the
    window, NaN where it is unknown. Ties keep lexical order.

    Raises:
        ValueError: A hit has no score that is a number.
    """
    lexical = np.array([hit["_score"] for hit in hits], np.float64)
    inside = score_window(lexical[:window], hit_distances(hits[:window], query, scoring), scoring, attention)
    outside = np.float32(QUERY_WEIGHT) * lexical[window:].astype(np.float32)
    every = np.concatenate([inside, outside])
    if not np.isfinite(every).all():
        raise ValueError("a hit has no score that is a number")
    order = [*rank_descending(inside), *range(len(inside), len(hits))]
    return [{**hits[number], "_score": float(every[number])} for number in order]


def narrow_to_page(
    response: Mapping[str, Any],
    body: Mapping[str, Any],
    ranked: Sequence[Hit],
    scoring: ScoringParams,
    texts: Sequence[str] = (),
) -> dict[str, Any]:
    """Response to a widened body with the page and the sources the caller's own body asked for."""
    start, size = page_bounds(body)
    shown = [restore_source(hit, body, scoring.fields, texts) for hit in ranked[start : start + size]]
    best = ranked[0]["_score"] if ranked else None
    return {**response, "hits": {**response["hits"], "max_score": best, "hits": shown}}


def hit_distances(hits: Sequence[Hit], query: Region, scoring: ScoringParams) -> Array:
    """Distance of each hit to the query, `(N,)`; NaN for a hit without a vector of this model and dimension."""
    return point_distances([read_point(hit, scoring) for hit in hits], query, scoring)


def read_point(hit: Hit, scoring: ScoringParams) -> Array | None:
    """Point `(D+1,)` a hit brings along, as the index keeps it: float32, time recomputed from space."""
    stored = read_vector_object(hit.get("_source", {}), scoring.fields)
    if _read_model_id(stored.get("model")) != scoring.model:
        return None
    vector = stored.get("vector")
    if not isinstance(vector, list) or len(vector) != scoring.dimension + 1:
        return None
    return lift_point(np.array(vector, np.float32))


def _read_model_id(named: object) -> object:
    """Id of a model as the script sees it: of several in a list, the least."""
    if not isinstance(named, list):
        return named
    return min((str(one) for one in named if one is not None), default=None)
