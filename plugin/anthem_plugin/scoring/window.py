"""Scores of a window of products in numpy, equal to those of the Painless script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.fusion import fuse, rescore_window_score
from anthem_core.geometry.lorentz import Array, lift
from anthem_plugin.scoring.params import ScoringParams, to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionScorer
    from anthem_core.geometry.regions import Region


def score_window(lexical: Array, distance: Array, scoring: ScoringParams, attention: Array | None = None) -> Array:
    """Score of every product in a window, `1 + fused + 1e-6·lexical` in float32; all arrays are `(N,)`.

    NaN marks a missing distance or attention score.
    """
    fusion = scoring.fusion if attention is None or scoring.attention_fusion is None else scoring.attention_fusion
    fused = fuse(lexical, distance, fusion, attention)
    # A fused score that is NaN counts as 0, as in the script.
    return rescore_window_score(lexical, np.where(fused >= 0, fused, 0.0))


def rank_descending(values: Array) -> Sequence[int]:
    """Positions of the values from highest to lowest; ties keep their order."""
    order: Sequence[int] = np.argsort(-values, kind="stable").tolist()
    return order


def score_attention(attention: AttentionScorer, phrases: Sequence[str], titles: Sequence[str]) -> Array:
    """Highest attention score of each title over the phrases of a query, `(N,)`; NaN if no phrase has one."""
    best: Array = np.fmax.reduce([attention.score_titles(phrase, titles) for phrase in phrases])
    return best


def none_if_unknown(scores: Array) -> Array | None:
    """The scores, or None if every one of them is NaN, so that the signal is left out."""
    return scores if np.isfinite(scores).any() else None


def point_distances(points: Sequence[Array | None], region: Region, scoring: ScoringParams) -> Array:
    """Distance of each point `(D+1,)` to the region of the query, `(N,)`; NaN for a missing point."""
    known = [number for number, point in enumerate(points) if point is not None]
    result = np.full(len(points), np.nan)
    if known:
        result[known] = to_float64(region).distance(np.array([points[number] for number in known]), scoring.gamma)
    return result


def lift_point(point: Array) -> Array:
    """Point in float64 with its time recomputed from its float32 space coordinates, as the script does; `(D+1,)`."""
    return lift(point[1:].astype(np.float64))
