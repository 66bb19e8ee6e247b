"""Fusion of a model's score with the BM25 score, and its weights, fitted on held-out queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from candidates import RANKING_TASKS, lexical_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from candidates import CandidateScores, CandidateSplit

Array: TypeAlias = "npt.NDArray[np.float64]"

MODEL_WEIGHT_GRID = (0.0, *(0.02 * 1.5**exponent for exponent in range(16)))
HALF_SATURATION_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the median BM25 score
NDCG_CUTOFF = 10


@dataclass(frozen=True)
class FittedFusion:
    """Weights of the fused logit `s/(s + half) + weight·(m − mean)/deviation`; s: BM25 score, m: score of the model.

    The field names are keys of `weights` in bench/results/quality.jsonl.
    """

    half: float
    weight: float
    mean: float
    deviation: float


def fused_logits(lexical: Sequence[float] | Array, model: Sequence[float] | Array, fusion: FittedFusion) -> Array:
    """Fuse BM25 scores and scores of a model, elementwise; any shape."""
    bm25, scores = np.asarray(lexical, float), np.asarray(model, float)
    return bm25 / (bm25 + fusion.half) + fusion.weight * (scores - fusion.mean) / fusion.deviation


def fit_fusion(split: CandidateSplit, scores: CandidateScores) -> FittedFusion:
    """Find the weights with the best nDCG@10, summed over both tasks, by grid search; weight 0 is BM25's own order."""
    model = np.array([score for candidates in scores.values() for score in candidates.values()])
    bm25 = np.array([s for item in split.candidates.values() for s in (*item.judged.values(), *item.window.values())])
    median = float(np.median(bm25[bm25 > 0])) if (bm25 > 0).any() else 1.0
    mean, deviation = float(model.mean()), float(model.std()) or 1.0
    grid = [
        FittedFusion(median * factor, weight, mean, deviation)
        for weight in MODEL_WEIGHT_GRID
        for factor in HALF_SATURATION_FACTORS
    ]
    tasks = [_task_arrays(split, scores, task) for task in RANKING_TASKS]
    return max(grid, key=lambda fusion: sum(_mean_ndcg_at_10(task, fusion) for task in tasks))


@dataclass(frozen=True)
class _TaskArrays:
    """One task as arrays `(Q, C)`, and the best possible DCG@10 of each query, `(Q,)`; `model` is padded with −∞."""

    lexical: Array
    model: Array
    grades: Array
    ideal_dcg: Array


def _task_arrays(split: CandidateSplit, scores: CandidateScores, task: str) -> _TaskArrays:
    pools = lexical_run(split, task)
    grades = [[max(0, split.qrels[query].get(product, 0)) for product in pool] for query, pool in pools.items()]
    ideal = [sorted((max(0, grade) for grade in judged.values()), reverse=True) for judged in split.qrels.values()]
    model = [[scores[query][product] for product in pool] for query, pool in pools.items()]
    lexical = [list(pool.values()) for pool in pools.values()]
    return _TaskArrays(
        _pad_rows(lexical, 0), _pad_rows(model, -np.inf), _pad_rows(grades, 0), _dcg_at_10(_pad_rows(ideal, 0))
    )


def _pad_rows(rows: Sequence[Sequence[float]], padding: float) -> Array:
    width = max(NDCG_CUTOFF, *(len(row) for row in rows))
    return np.array([[*row, *[padding] * (width - len(row))] for row in rows], float)


def _dcg_at_10(grades: Array) -> Array:
    """`Σ grade_i / log2(i + 1)` of the first ten, `(Q, C)` to `(Q,)`."""
    dcg: Array = grades[:, :NDCG_CUTOFF] @ (1 / np.log2(np.arange(NDCG_CUTOFF) + 2))
    return dcg


def _mean_ndcg_at_10(task: _TaskArrays, fusion: FittedFusion) -> float:
    """Mean nDCG@10 over the queries of a task; a query without a relevant product counts as 0."""
    # Weight 0 times −∞ would be NaN, and padding must stay behind every candidate.
    padding = np.isneginf(task.model)
    logits = np.where(padding, -np.inf, fused_logits(task.lexical, np.where(padding, 0, task.model), fusion))
    order = np.argsort(-logits, axis=1, kind="stable")
    dcg = _dcg_at_10(np.take_along_axis(task.grades, order, axis=1))
    return float(np.mean(np.divide(dcg, task.ideal_dcg, out=np.zeros_like(dcg), where=task.ideal_dcg > 0)))
