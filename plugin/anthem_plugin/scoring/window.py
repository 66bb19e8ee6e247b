"""TODO: one line on what this module does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.fusion import fuse, window_score
from anthem_core.geometry.lorentz import Array, lift
from anthem_core.geometry.regions import Region, query_distance
from anthem_plugin.scoring.params import ScoringParams, to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionScorer


def score_window(lexical: Array, distance: Array, scoring: ScoringParams, attention: Array | None = None) -> Array:
    """Score of each product of a window from its signals, `(N,)`, in float32; NaN stands for what it lacks."""
    fusion = scoring.fusion if attention is None or scoring.attentive is None else scoring.attentive
    fused = fuse(lexical, distance, fusion, attention)
    # What is no number counts as 0, as in the script.
    return window_score(lexical, np.where(fused >= 0, fused, 0.0))


def rank_descending(values: Array) -> Sequence[int]:
    """Numbers of a window's products by falling score; ties keep their order."""
    order: Sequence[int] = np.argsort(-values, kind="stable").tolist()
    return order


def score_attention(attention: AttentionScorer, query: str, texts: Sequence[str]) -> Array | None:
    """Attention scores `(N,)` of product texts, NaN for one that says nothing; None where not one says anything."""
    found = attention.scores(query, texts)
    return found if np.isfinite(found).any() else None


def point_distances(points: Sequence[Array | None], query: Region, scoring: ScoringParams) -> Array:
    """Distance of each point `(D+1,)` to the query, `(N,)`; NaN where there is none."""
    known = [number for number, point in enumerate(points) if point is not None]
    result = np.full(len(points), np.nan)
    if known:
        result[known] = query_distance(to_float64(query), np.array([points[number] for number in known]), scoring.gamma)
    return result


def lift_point(point: Array) -> Array:
    """Point as all of a window's scores are computed from it: space as it is kept, float32, time recomputed."""
    return lift(point[1:].astype(np.float64))
