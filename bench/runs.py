"""A model's scores of every candidate, their fusion with the lexical score, and the measures of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.encoding.bundle import load_bundle
from anthem_evaluation.offline import OfflineReranker, RunProducts, encode_products
from anthem_evaluation.runs import rank_scores
from candidates import RANKING_TASKS, CandidateScores, lexical_run
from fusion_fit import Array, FittedFusion, fused_logits

if TYPE_CHECKING:
    from anthem_core.beir import Dataset
    from anthem_evaluation.runs import Run
    from candidates import CandidateSplit


import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import zscore

from anthem_evaluation.metrics import informative_queries, measure_per_query, measures_for, relevant_grade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anthem_core.beir import Qrels
    from anthem_evaluation.runs import Run
    from anthem_model.ranker import TrainableRanker
    from candidates import CandidateSplit, QueryCandidates
QUERY_BATCH_SIZE = 16


@torch.no_grad()
def score_candidates(ranker: TrainableRanker, split: CandidateSplit, titles: Mapping[str, str]) -> CandidateScores:
    """Scores of a ranker for every candidate of every query, some queries at a time."""
    ranker.eval()
    names = list(split.queries)
    scores: CandidateScores = {}
    for start in range(0, len(names), QUERY_BATCH_SIZE):
        scores |= _score_batch(
            ranker, {name: split.found[name] for name in names[start : start + QUERY_BATCH_SIZE]}, split, titles
        )
    return scores


def _score_batch(
    ranker: TrainableRanker, found: Mapping[str, QueryCandidates], split: CandidateSplit, titles: Mapping[str, str]
) -> CandidateScores:
    products = {name: one.products for name, one in found.items()}
    drawn = {product: row for row, product in enumerate(dict.fromkeys(p for some in products.values() for p in some))}
    candidates = torch.zeros(len(found), max(len(some) for some in products.values()), dtype=torch.int64)
    for number, some in enumerate(products.values()):
        candidates[number, : len(some)] = torch.tensor([drawn[product] for product in some])
    logits = ranker.scores([split.queries[name] for name in found], [titles[product] for product in drawn], candidates)
    rows = zip(products.items(), logits.tolist(), strict=True)
    return {name: dict(zip(some, row, strict=False)) for (name, some), row in rows}


def model_run(split: CandidateSplit, scores: CandidateScores, task: str) -> Run:
    """The order of the model; equal scores keep OpenSearch's order."""
    return {name: {one: scores[name][one] for one in pool} for name, pool in lexical_run(split, task).items()}


def fused_run(split: CandidateSplit, scores: CandidateScores, task: str, weights: FittedFusion) -> Run:
    """The order of both signals, of which each product's alone are needed."""
    return {
        name: dict(
            zip(pool, fused_logits(list(pool.values()), [scores[name][one] for one in pool], weights), strict=True)
        )
        for name, pool in lexical_run(split, task).items()
    }


def standardised_sum_run(split: CandidateSplit, scores: CandidateScores, task: str) -> Run:
    """Equal parts of both signals, each standardised over the query's own candidates."""
    return {
        name: dict(
            zip(
                pool, _standardise(list(pool.values())) + _standardise([scores[name][one] for one in pool]), strict=True
            )
        )
        for name, pool in lexical_run(split, task).items()
    }


def _standardise(values: Sequence[float]) -> Array:
    found = np.asarray(values, float)
    return zscore(found) if len(found) > 1 and np.ptp(found) > 0 else np.zeros(len(found))


def measure_run(run: Run, qrels: Qrels) -> dict[str, list[float]]:
    """Measures by name, one value a telling query in the order of the judgments; recall is left to the engine."""
    relevant = relevant_grade(qrels)
    kept = informative_queries(qrels, relevant)
    wanted = [one for one in measures_for(relevant) if not str(one).startswith("R(")]
    values = measure_per_query(run, kept, wanted)
    return {_measure_name(name): [round(value, 4) for value in found.values()] for name, found in values.items()}


def _measure_name(name: str) -> str:
    return name.partition("(")[0]


def median_milliseconds(
    rank: Callable[[str, Sequence[str]], object], calls: Sequence[tuple[str, Sequence[str]]]
) -> float:
    """Median CPU milliseconds of ranking the given titles, one thread."""
    found = []
    for number, (query, titles) in enumerate(calls, start=1):
        # Blanks at the end make it a text that no cache of whole texts has met.
        new = [title + " " * number for title in titles]
        started = time.process_time()
        rank(query + " " * number, new)
        found.append(1000 * (time.process_time() - started))
    return float(np.median(found))


BUNDLE_SIGNALS = {"fused": "lexical,containment,attention", "without_attention": "lexical,containment"}


def shipped_bundle_runs(dataset: Dataset, dev: CandidateSplit, bundle: str = "general") -> dict[tuple[str, str], Run]:
    """Runs of `dev` by task, fused from all signals and from those that the cluster knows."""
    loaded = load_bundle(bundle)
    needed = {product for found in dev.found.values() for product in found.products}
    texts = {product: dataset.products[product].title for product in needed}
    result: dict[tuple[str, str], Run] = {}
    for way, signals in BUNDLE_SIGNALS.items():
        ranker = OfflineReranker.of(loaded, signals.split(","))
        products = RunProducts(texts, encode_products(texts, ranker.encoder))
        for task in RANKING_TASKS:
            pools = {name: getattr(found, task) for name, found in dev.found.items()}
            orders = {name: ranker.order(dev.queries[name], pool, products) for name, pool in pools.items()}
            result[task, way] = {name: rank_scores(order or list(pools[name])) for name, order in orders.items()}
    return result
