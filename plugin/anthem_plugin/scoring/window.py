"""Scores of a window of products in numpy, equal to those of the Painless script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.fusion import fuse, model_shift
from anthem_plugin.scoring.params import ModelSignal, ScoringParams, Signals, to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.encoding.title_entities import TitleEntities
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import Region


def score_window(
    lexical: Array, scoring: ScoringParams, *, distance: Array | None = None, attention: Array | None = None
) -> Array:
    """Score of every product in a window in float32, `fuse` of all signals given; all arrays are `(N,)`.

    NaN marks a missing distance or attention score; None, a signal that is not used. Without any, the lexical score.
    """
    signals = given_signals(distance, attention)
    if not signals:
        return lexical.astype(np.float32)
    fusion = scoring.fusion_for(signals)
    scores = fuse(lexical, model_shift(distance, attention, fusion), fusion)
    return np.minimum(scores, np.finfo(np.float32).max).astype(np.float32)


def given_signals(distance: Array | None, attention: Array | None) -> Signals:
    """Signals of which there are scores."""
    given: dict[ModelSignal, Array | None] = {"containment": distance, "attention": attention}
    return frozenset(signal for signal, values in given.items() if values is not None)


def rank_descending(values: Array) -> Sequence[int]:
    """Positions of the values from highest to lowest; ties keep their order."""
    order: Sequence[int] = np.argsort(-values, kind="stable").tolist()
    return order


def score_attention(tables: Sequence[AttentionTable], titles: TitleEntities) -> Array:
    """Highest attention score of each title over the phrases of a query, `(N,)`; NaN for a title without entities."""
    if not tables:
        return np.full(len(titles.lengths), np.nan)
    best: Array = np.fmax.reduce([table.score(titles) for table in tables])
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
