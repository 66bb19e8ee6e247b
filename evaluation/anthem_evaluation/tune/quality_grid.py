"""nDCG@10 of every judged query under every set of weights and every window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anthem_plugin.scoring.window import score_window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from anthem_core.fusion import FusionWeights
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.tune.candidates import CandidateList
    from anthem_plugin.scoring.params import ScoringParams, Signals

NDCG_DEPTH = 10


@dataclass(frozen=True)
class QualityGrid:
    """nDCG@10 by query, weights and window.

    Attributes:
        values: `(Q, C, W)`.
        lexical: nDCG@10 of the lexical order, `(Q,)`.
        fusions: The C sets of weights; the first are the current ones.
        windows: The W windows, ascending.
    """

    values: Array
    lexical: Array
    fusions: tuple[FusionWeights, ...]
    windows: tuple[int, ...]


def measure_grid(
    candidates: Sequence[CandidateList],
    scoring: ScoringParams,
    signals: Signals,
    fusions: Sequence[FusionWeights],
    windows: Sequence[int],
    *,
    judged_only: bool = False,
    advance: Callable[[int], object] = lambda _: None,
) -> QualityGrid:
    """Score the hits of every query with `fusions` as the weights of `signals`, and measure each order.

    A query that is ranked by other signals keeps its weights. With `judged_only`, unjudged products are left out of the
    lists; otherwise they count as irrelevant.
    """
    scorings = [replace(scoring, fusions=scoring.fusions | {signals: fusion}) for fusion in fusions]
    values, lexical = [], []
    for each in candidates:
        orders = [window_orders(each, scorings, window) for window in windows]
        values.append(np.stack([_ndcg(each, order, judged_only=judged_only) for order in orders], axis=1))
        lexical.append(float(_ndcg(each, np.arange(len(each.ids))[None], judged_only=judged_only)[0]))
        advance(1)
    return QualityGrid(np.array(values), np.array(lexical), tuple(fusions), tuple(windows))


def window_orders(candidates: CandidateList, scorings: Sequence[ScoringParams], window: int) -> NDArray[np.intp]:
    """Positions of the hits after reranking, best first, for each scoring: `(C, N)`.

    The hits below the window follow in lexical order.
    """
    scores = np.stack([_score(candidates, scoring)[:window] for scoring in scorings])
    ranked = np.argsort(-scores, axis=1, kind="stable")
    others = np.arange(scores.shape[1], len(candidates.ids))
    orders: NDArray[np.intp] = np.concatenate([ranked, np.tile(others, (len(scorings), 1))], axis=1)
    return orders


def _score(candidates: CandidateList, scoring: ScoringParams) -> Array:
    return score_window(candidates.lexical, scoring, distance=candidates.distance, attention=candidates.attention)


def _ndcg(candidates: CandidateList, orders: NDArray[np.intp], *, judged_only: bool) -> Array:
    """`Σ grade_i / log2(i + 1)` of the first ten, divided by that of the best order of all judged products, `(C,)`."""
    grades = candidates.grades[orders]
    if judged_only:  # every row has the same products, so each keeps as many
        grades = grades[np.isfinite(grades)].reshape(len(orders), -1)
    ideal = _dcg(np.sort(candidates.judged)[::-1])
    gained: Array = _dcg(grades)
    return gained / ideal if ideal > 0 else np.zeros(len(orders))


def _dcg(grades: Array) -> Array:
    gains = np.maximum(np.nan_to_num(grades[..., :NDCG_DEPTH]), 0)
    dcg: Array = gains @ (1 / np.log2(np.arange(gains.shape[-1]) + 2))
    return dcg
