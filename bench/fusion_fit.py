"""TODO: one line on what this module does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from candidates import CandidateSplit

from candidates import RANKING_TASKS, CandidateScores, lexical_run

Array: TypeAlias = "npt.NDArray[np.float64]"
MODEL_WEIGHT_GRID = (0.0, *(0.02 * 1.5**step for step in range(16)))
HALF_SATURATION_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the median lexical score, as half-saturation
NDCG_CUTOFF = 10


@dataclass(frozen=True)
class FittedFusion:
    """Fused logit: `s/(s+half) + weight·(m − mean)/deviation`, s the lexical score and m the model's."""

    half: float
    weight: float
    mean: float
    deviation: float


def fused_logits(lexical: Sequence[float] | Array, model: Sequence[float] | Array, weights: FittedFusion) -> Array:
    """Fused logits of every candidate, `s/(s+h) + w·(m − mean)/deviation`."""
    word, other = np.asarray(lexical, float), np.asarray(model, float)
    return word / (word + weights.half) + weights.weight * (other - weights.mean) / weights.deviation


def fit_fusion(split: CandidateSplit, scores: CandidateScores) -> FittedFusion:
    """Weights with the best mean nDCG@10 over both tasks of the held-out queries; weight 0 is the lexical order."""
    every = np.array([value for pool in scores.values() for value in pool.values()])
    words = np.array([s for found in split.found.values() for s in (*found.judged.values(), *found.window.values())])
    middle = float(np.median(words[words > 0])) if (words > 0).any() else 1.0
    mean, deviation = float(every.mean()), float(every.std()) or 1.0
    tried = [
        FittedFusion(middle * part, weight, mean, deviation)
        for weight in MODEL_WEIGHT_GRID
        for part in HALF_SATURATION_FACTORS
    ]
    grids = [_task_arrays(split, scores, task) for task in RANKING_TASKS]
    return max(tried, key=lambda one: sum(_mean_ndcg_at_10(grid, one) for grid in grids))


@dataclass(frozen=True)
class _TaskArrays:
    """A task as arrays `(Q, C)`, padded with −∞, and each query's best possible `DCG@10`, `(Q,)`."""

    lexical: Array
    model: Array
    grades: Array
    best: Array


def _task_arrays(split: CandidateSplit, scores: CandidateScores, task: str) -> _TaskArrays:
    pools = lexical_run(split, task)
    grades = [[max(0, split.qrels[name].get(one, 0)) for one in pool] for name, pool in pools.items()]
    ideal = [sorted((max(0, grade) for grade in judged.values()), reverse=True) for judged in split.qrels.values()]
    model = [[scores[name][one] for one in pool] for name, pool in pools.items()]
    words = [list(pool.values()) for pool in pools.values()]
    return _TaskArrays(
        _pad_rows(words, 0), _pad_rows(model, -np.inf), _pad_rows(grades, 0), _dcg_at_10(_pad_rows(ideal, 0))
    )


def _pad_rows(rows: Sequence[Sequence[float]], filler: float) -> Array:
    width = max(NDCG_CUTOFF, *(len(row) for row in rows))
    return np.array([[*row, *[filler] * (width - len(row))] for row in rows], float)


def _dcg_at_10(grades: Array) -> Array:
    """`Σ grade_i / log2(i + 1)` of the first ten, `(Q, C)` to `(Q,)`."""
    found: Array = grades[:, :NDCG_CUTOFF] @ (1 / np.log2(np.arange(NDCG_CUTOFF) + 2))
    return found


def _mean_ndcg_at_10(grid: _TaskArrays, weights: FittedFusion) -> float:
    """Mean nDCG@10 of a task."""
    # Weight 0 times −∞ is no number, and what only fills a row must stay behind everything.
    filled = np.isneginf(grid.model)
    logits = np.where(filled, -np.inf, fused_logits(grid.lexical, np.where(filled, 0, grid.model), weights))
    order = np.argsort(-logits, axis=1, kind="stable")
    found = _dcg_at_10(np.take_along_axis(grid.grades, order, axis=1))
    return float(np.mean(np.divide(found, grid.best, out=np.zeros_like(found), where=grid.best > 0)))
