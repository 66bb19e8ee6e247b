"""Runs of a model over the candidates, alone and fused with BM25, their measures, and how long a model takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import zscore

from anthem_evaluation.metrics import informative_queries, measure_per_query, measures_for, relevant_grade
from anthem_evaluation.offline import OfflineReranker
from anthem_evaluation.runs import rank_scores
from candidates import RANKING_TASKS, lexical_run
from fusion_fit import fused_logits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.bundle import Bundle
    from anthem_evaluation.runs import Run
    from anthem_model.ranker import TrainableRanker
    from candidates import CandidateScores, CandidateSplit
    from fusion_fit import Array, FittedFusion

QUERY_BATCH_SIZE = 16
BUNDLE_SIGNALS = {"fused": "lexical,containment,attention", "without_attention": "lexical,containment"}


@torch.no_grad()
def score_all_candidates(ranker: TrainableRanker, split: CandidateSplit, titles: Mapping[str, str]) -> CandidateScores:
    """Score every candidate of every query with a ranker, `QUERY_BATCH_SIZE` queries at a time."""
    ranker.eval()
    queries = list(split.queries)
    scores: CandidateScores = {}
    for start in range(0, len(queries), QUERY_BATCH_SIZE):
        scores |= _score_batch(ranker, queries[start : start + QUERY_BATCH_SIZE], split, titles)
    return scores


def _score_batch(
    ranker: TrainableRanker, queries: Sequence[str], split: CandidateSplit, titles: Mapping[str, str]
) -> CandidateScores:
    product_ids = {query: split.candidates[query].product_ids for query in queries}
    unique_ids = dict.fromkeys(product for ids in product_ids.values() for product in ids)
    rows = {product: row for row, product in enumerate(unique_ids)}
    candidates = torch.zeros(len(queries), max(len(ids) for ids in product_ids.values()), dtype=torch.int64)
    for number, ids in enumerate(product_ids.values()):
        candidates[number, : len(ids)] = torch.tensor([rows[product] for product in ids])
    logits = ranker.score_candidates(
        [split.queries[query] for query in queries], [titles[product] for product in rows], candidates
    )
    scored = zip(product_ids.items(), logits.tolist(), strict=True)
    return {query: dict(zip(ids, row, strict=False)) for (query, ids), row in scored}  # a row may end with padding


def model_run(split: CandidateSplit, scores: CandidateScores, task: str) -> Run:
    """Order the candidates by the score of the model; ties keep OpenSearch's order."""
    return {query: {product: scores[query][product] for product in pool} for query, pool in _pools(split, task)}


def fused_run(split: CandidateSplit, scores: CandidateScores, task: str, fusion: FittedFusion) -> Run:
    """Order the candidates by the fused logit of BM25 and the model."""
    run: Run = {}
    for query, pool in _pools(split, task):
        model = [scores[query][product] for product in pool]
        run[query] = dict(zip(pool, fused_logits(list(pool.values()), model, fusion), strict=True))
    return run


def standardised_sum_run(split: CandidateSplit, scores: CandidateScores, task: str) -> Run:
    """Order the candidates by the sum of both scores, each standardised over the candidates of the query."""
    run: Run = {}
    for query, pool in _pools(split, task):
        model = [scores[query][product] for product in pool]
        run[query] = dict(zip(pool, _standardise(list(pool.values())) + _standardise(model), strict=True))
    return run


def _pools(split: CandidateSplit, task: str) -> Iterable[tuple[str, Mapping[str, float]]]:
    return lexical_run(split, task).items()


def _standardise(values: Sequence[float]) -> Array:
    array = np.asarray(values, float)
    return zscore(array) if len(array) > 1 and np.ptp(array) > 0 else np.zeros(len(array))


def bundle_runs(bundle: Bundle, dataset: Dataset, dev: CandidateSplit) -> dict[tuple[str, str], Run]:
    """Runs of a bundle with its own fusion weights, by task and way: with all signals, and without attention.

    Nothing is fitted to the dataset.
    """
    product_ids = {product for candidates in dev.candidates.values() for product in candidates.product_ids}
    texts = {product: dataset.products[product].title for product in product_ids}
    runs: dict[tuple[str, str], Run] = {}
    for way, signals in BUNDLE_SIGNALS.items():
        reranker = OfflineReranker.from_bundle(bundle, signals.split(","))
        products = reranker.encode_products(texts)
        for task in RANKING_TASKS:
            pools = lexical_run(dev, task)
            orders = {query: reranker.order(dev.queries[query], pool, products) for query, pool in pools.items()}
            runs[task, way] = {query: rank_scores(order or list(pools[query])) for query, order in orders.items()}
    return runs


def measure_run(run: Run, qrels: Qrels) -> dict[str, list[float]]:
    """Measure a run: measure name to one value per informative query, in the order of the judgments.

    Recall is left out: reordering candidates does not change it.
    """
    relevant = relevant_grade(qrels)
    informative = informative_queries(qrels, relevant)
    measures = [measure for measure in measures_for(relevant) if not str(measure).startswith("R(")]
    values = measure_per_query(run, informative, measures)
    return {name.partition("(")[0]: [round(value, 4) for value in row.values()] for name, row in values.items()}


def median_milliseconds(
    rank: Callable[[str, Sequence[str]], object], calls: Sequence[tuple[str, Sequence[str]]]
) -> float:
    """Median CPU milliseconds of ranking the titles of a call for its query, in one thread."""
    milliseconds = []
    for number, (query, titles) in enumerate(calls, start=1):
        # Trailing spaces make every text new to a cache of whole texts.
        uncached = [title + " " * number for title in titles]
        started = time.process_time()
        rank(query + " " * number, uncached)
        milliseconds.append(1000 * (time.process_time() - started))
    return float(np.median(milliseconds))
