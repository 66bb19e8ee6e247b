"""A model's scores of every candidate, their fusion with the lexical score, and the measures of both."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from scipy.stats import zscore

from anthem_evaluation.metrics import measures_for, per_query, relevant_grade, telling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from candidates import Found, Scored, Split

    from anthem_core.beir import Qrels
    from anthem_evaluation.metrics import Run
    from anthem_model.ranker import Ranker

Scores: TypeAlias = dict[str, "Scored"]  # query id to product id to score
Array: TypeAlias = "npt.NDArray[np.float64]"

TASKS = ("judged", "window")
BATCH = 16
WEIGHTS = (0.0, *(0.02 * 1.5**step for step in range(16)))
PARTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the median lexical score, as half-saturation
CUT = 10


@dataclass(frozen=True)
class Weights:
    """Fused logit: `s/(s+half) + weight·(m − mean)/deviation`, s the lexical score and m the model's."""

    half: float
    weight: float
    mean: float
    deviation: float


@torch.no_grad()
def ranked(ranker: Ranker, split: Split, titles: Mapping[str, str]) -> Scores:
    """Scores of a ranker for every candidate of every query, some queries at a time."""
    ranker.eval()
    names = list(split.queries)
    scores: Scores = {}
    for start in range(0, len(names), BATCH):
        scores |= _ranked(ranker, {name: split.found[name] for name in names[start : start + BATCH]}, split, titles)
    return scores


def _ranked(ranker: Ranker, found: Mapping[str, Found], split: Split, titles: Mapping[str, str]) -> Scores:
    products = {name: one.products for name, one in found.items()}
    drawn = {product: row for row, product in enumerate(dict.fromkeys(p for some in products.values() for p in some))}
    candidates = torch.zeros(len(found), max(len(some) for some in products.values()), dtype=torch.int64)
    for number, some in enumerate(products.values()):
        candidates[number, : len(some)] = torch.tensor([drawn[product] for product in some])
    logits = ranker.scores([split.queries[name] for name in found], [titles[product] for product in drawn], candidates)
    rows = zip(products.items(), logits.tolist(), strict=True)
    return {name: dict(zip(some, row, strict=False)) for (name, some), row in rows}


def lexical(split: Split, task: str) -> Run:
    """The order OpenSearch gave, as a run."""
    return {name: getattr(found, task) for name, found in split.found.items()}


def alone(split: Split, scores: Scores, task: str) -> Run:
    """The order of the model; equal scores keep OpenSearch's order."""
    return {name: {one: scores[name][one] for one in pool} for name, pool in lexical(split, task).items()}


def fused(split: Split, scores: Scores, task: str, weights: Weights) -> Run:
    """The order of both signals, of which each product's alone are needed."""
    return {
        name: dict(zip(pool, _logits(list(pool.values()), [scores[name][one] for one in pool], weights), strict=True))
        for name, pool in lexical(split, task).items()
    }


def summed(split: Split, scores: Scores, task: str) -> Run:
    """Equal parts of both signals, each standardised over the query's own candidates."""
    return {
        name: dict(zip(pool, _z(list(pool.values())) + _z([scores[name][one] for one in pool]), strict=True))
        for name, pool in lexical(split, task).items()
    }


def _z(values: Sequence[float]) -> Array:
    found = np.asarray(values, float)
    return zscore(found) if len(found) > 1 and np.ptp(found) > 0 else np.zeros(len(found))


def _logits(lexical: Sequence[float] | Array, model: Sequence[float] | Array, weights: Weights) -> Array:
    word, other = np.asarray(lexical, float), np.asarray(model, float)
    return word / (word + weights.half) + weights.weight * (other - weights.mean) / weights.deviation


def fit(split: Split, scores: Scores) -> Weights:
    """Weights with the best mean nDCG@10 over both tasks of the held-out queries; weight 0 is the lexical order."""
    every = np.array([value for pool in scores.values() for value in pool.values()])
    words = np.array([s for found in split.found.values() for s in (*found.judged.values(), *found.window.values())])
    middle = float(np.median(words[words > 0])) if (words > 0).any() else 1.0
    mean, deviation = float(every.mean()), float(every.std()) or 1.0
    tried = [Weights(middle * part, weight, mean, deviation) for weight in WEIGHTS for part in PARTS]
    grids = [_grid(split, scores, task) for task in TASKS]
    return max(tried, key=lambda one: sum(_standing(grid, one) for grid in grids))


@dataclass(frozen=True)
class _Grid:
    """A task as arrays `(Q, C)`, padded with −∞, and each query's best possible `DCG@10`, `(Q,)`."""

    lexical: Array
    model: Array
    grades: Array
    best: Array


def _grid(split: Split, scores: Scores, task: str) -> _Grid:
    pools = lexical(split, task)
    grades = [[max(0, split.qrels[name].get(one, 0)) for one in pool] for name, pool in pools.items()]
    ideal = [sorted((max(0, grade) for grade in judged.values()), reverse=True) for judged in split.qrels.values()]
    model = [[scores[name][one] for one in pool] for name, pool in pools.items()]
    words = [list(pool.values()) for pool in pools.values()]
    return _Grid(_rows(words, 0), _rows(model, -np.inf), _rows(grades, 0), _dcg(_rows(ideal, 0)))


def _rows(rows: Sequence[Sequence[float]], filler: float) -> Array:
    width = max(CUT, *(len(row) for row in rows))
    return np.array([[*row, *[filler] * (width - len(row))] for row in rows], float)


def _dcg(grades: Array) -> Array:
    """`Σ grade_i / log2(i + 1)` of the first ten, `(Q, C)` to `(Q,)`."""
    found: Array = grades[:, :CUT] @ (1 / np.log2(np.arange(CUT) + 2))
    return found


def _standing(grid: _Grid, weights: Weights) -> float:
    """Mean nDCG@10 of a task."""
    # Weight 0 times −∞ is no number, and what only fills a row must stay behind everything.
    filled = np.isneginf(grid.model)
    logits = np.where(filled, -np.inf, _logits(grid.lexical, np.where(filled, 0, grid.model), weights))
    order = np.argsort(-logits, axis=1, kind="stable")
    found = _dcg(np.take_along_axis(grid.grades, order, axis=1))
    return float(np.mean(np.divide(found, grid.best, out=np.zeros_like(found), where=grid.best > 0)))


def measured(run: Run, qrels: Qrels) -> dict[str, list[float]]:
    """Measures by name, one value a telling query in the order of the judgments; recall is left to the engine."""
    relevant = relevant_grade(qrels)
    kept = telling(qrels, relevant)
    wanted = [one for one in measures_for(relevant) if not str(one).startswith("R(")]
    values = per_query(run, kept, wanted)
    return {_short(name): [round(value, 4) for value in found.values()] for name, found in values.items()}


def _short(name: str) -> str:
    return name.partition("(")[0]


def timed(rank: Callable[[str, Sequence[str]], object], calls: Sequence[tuple[str, Sequence[str]]]) -> float:
    """Median CPU milliseconds of ranking the given titles, one thread."""
    found = []
    for number, (query, titles) in enumerate(calls, start=1):
        # Blanks at the end make it a text that no cache of whole texts has met.
        new = [title + " " * number for title in titles]
        started = time.process_time()
        rank(query + " " * number, new)
        found.append(1000 * (time.process_time() - started))
    return float(np.median(found))
