"""Measurement of one cell: train its model, then measure quality, size and speed on the candidates of `dev`."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from anthem_core.beir import read_dataset
from anthem_evaluation.measure import describe_machine
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.data.training_shop import ShopSplit
from anthem_model.initialisation.teacher import Teacher, embed_shop
from anthem_model.trainer.loop import train_within_budget
from anthem_model.trainer.training import TrainingPlan, build_initialised_ranker
from candidates import RANKING_TASKS, SPLIT_SEED, WINDOW_SIZE, lexical_run, load_splits, prepare_training_parts
from cells import RUNS_FOLDER, TEACHER_STARTED_MODELS, UNTRAINED_MODELS, benchmark_data_folder, pack_values
from fusion_fit import fit_fusion
from model_runs import (
    fused_run,
    measure_run,
    median_milliseconds,
    model_run,
    score_all_candidates,
    shipped_bundle_runs,
    standardised_sum_run,
)
from rankers.bi_encoder import SentenceBiEncoder, find_packaged_minilm
from rankers.registry import RANKER_BUILDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anthem_core.beir import Dataset
    from anthem_evaluation.runs import Run
    from anthem_model.data.training_shop import TrainingShop
    from anthem_model.initialisation.teacher import TeacherVectors
    from anthem_model.ranker import TrainableRanker
    from candidates import CandidateScores, CandidateSplit
    from cells import BenchmarkCell

TIMED_QUERIES = 21
SINGLE_SIGNALS: tuple[Literal["attention", "containment"], ...] = ("attention", "containment")


def measure_cell(cell: BenchmarkCell) -> dict[str, Any]:
    """Train and measure one cell in one thread; returns its line of results."""
    torch.set_num_threads(1)
    dataset = read_dataset(benchmark_data_folder() / cell.data)
    parts = prepare_training_parts(dataset, cell.data)
    splits = load_splits(dataset, parts, RUNS_FOLDER / f"{cell.data}.json.gz")
    started = time.process_time()
    ranker = train_model(cell, parts)
    seconds = round(time.process_time() - started)
    settings = asdict(cell) | {"seconds": seconds, "machine": describe_machine()}
    return settings | _measure_cost(ranker, dataset, splits["dev"]) | _measure_quality(cell, ranker, splits, dataset)


def train_model(cell: BenchmarkCell, parts: ShopSplit) -> TrainableRanker | None:
    """Build and, unless the model is used as it is, train the ranker of a cell; None if OpenSearch computes the scores.

    The budget of CPU minutes includes building the ranker.
    """
    torch.manual_seed(cell.seed)
    if cell.model in ("random", "bm25", "bm25_trigrams", "general"):
        return None
    if cell.model in UNTRAINED_MODELS:
        return SentenceBiEncoder(find_packaged_minilm())
    if cell.model == "anthem_unseen":
        parts = _drop_judgments(parts)
    titles, queries = parts.train.titles, [query.text for query in parts.train.judged_queries]
    # The teacher's vectors are computed once for all seeds and are not part of the budget.
    vectors = _read_teacher_vectors(parts.train) if cell.model in TEACHER_STARTED_MODELS else None
    started = time.process_time()
    if vectors:
        ranker: TrainableRanker = build_initialised_ranker(titles, queries, TrainingPlan(), vectors)
    else:
        ranker = RANKER_BUILDERS[cell.model](titles, queries)
    remaining_seconds = 60 * cell.minutes - (time.process_time() - started)
    return train_within_budget(ranker, parts, remaining_seconds, cell.seed)


def _drop_judgments(parts: ShopSplit) -> ShopSplit:
    """Keep only the titles."""
    return ShopSplit(*(replace(shop, judged_queries=[]) for shop in (parts.train, parts.validation)))


def _read_teacher_vectors(shop: TrainingShop) -> tuple[list[str], TeacherVectors]:
    """Texts of a catalogue and the vectors of all-MiniLM-L6-v2 for them."""
    return embed_shop(shop, Teacher(find_packaged_minilm(), RUNS_FOLDER / "teacher"), random.Random(SPLIT_SEED))


def _measure_cost(ranker: TrainableRanker | None, dataset: Dataset, dev: CandidateSplit) -> dict[str, Any]:
    """Number of parameters, megabytes as float32, and CPU milliseconds for 100 candidates, starting from text."""
    if ranker is None:
        return {}
    ranker.eval()
    windows = {query: list(candidates.window) for query, candidates in dev.candidates.items()}
    queries = [query for query, window in windows.items() if len(window) == WINDOW_SIZE] or list(windows)
    sample = [queries[number % len(queries)] for number in range(TIMED_QUERIES)]
    calls = [(dev.queries[query], [dataset.products[product].title for product in windows[query]]) for query in sample]
    parameters = sum(parameter.numel() for parameter in ranker.parameters())
    milliseconds = median_milliseconds(ranker.score_titles, calls)
    return {"parameters": parameters, "megabytes": round(4e-6 * parameters, 2), "ms_per_100": round(milliseconds, 2)}


def _measure_quality(
    cell: BenchmarkCell, ranker: TrainableRanker | None, splits: Mapping[str, CandidateSplit], dataset: Dataset
) -> dict[str, Any]:
    """Fusion weights, mean measures and packed values per query, the last two by "task/way"."""
    score = partial(_score_split, cell.model, ranker, dataset)
    weights: dict[str, float] = {}
    if cell.model == "general":
        runs = shipped_bundle_runs(dataset, splits["dev"])
    else:
        runs, weights = build_runs(cell.model, score, splits)
    if isinstance(ranker, AnthemRanker):
        runs |= _build_single_signal_runs(cell.model, ranker, score, splits)
    qrels = splits["dev"].qrels
    measured = {f"{task}/{way}": measure_run(run, qrels) for (task, way), run in runs.items()}
    means = {
        key: {name: round(float(np.mean(values)), 4) for name, values in measures.items()}
        for key, measures in measured.items()
    }
    packed = {
        key: {name: pack_values(values) for name, values in measures.items()} for key, measures in measured.items()
    }
    return {"weights": weights, "mean": means, "per_query": packed}


def _build_single_signal_runs(
    model: str,
    ranker: AnthemRanker,
    score: Callable[[CandidateSplit], CandidateScores],
    splits: Mapping[str, CandidateSplit],
) -> dict[tuple[str, str], Run]:
    """Runs of ANTHEM with only one of its two signals, alone and fused with BM25."""
    runs: dict[tuple[str, str], Run] = {}
    for signal in SINGLE_SIGNALS:
        ranker.only_signal = signal
        signal_runs, _ = build_runs(model, score, splits)
        runs |= {(task, f"{signal}_{way}"): run for (task, way), run in signal_runs.items()}
    ranker.only_signal = None
    return runs


def _score_split(
    model: str, ranker: TrainableRanker | None, dataset: Dataset, split: CandidateSplit
) -> CandidateScores:
    """Scores of a model for every candidate of a split."""
    if ranker is not None:
        return score_all_candidates(ranker, split, {product.id: product.title for product in dataset.products.values()})
    if model == "random":
        generator = random.Random(0)
        return {
            query: {product: generator.random() for product in candidates.product_ids}
            for query, candidates in split.candidates.items()
        }
    if model == "bm25_trigrams":
        return {query: candidates.trigrams for query, candidates in split.candidates.items()}
    return {query: candidates.window | candidates.judged for query, candidates in split.candidates.items()}


def build_runs(
    model: str, score: Callable[[CandidateSplit], CandidateScores], splits: Mapping[str, CandidateSplit]
) -> tuple[dict[tuple[str, str], Run], dict[str, float]]:
    """Runs of `dev` by (task, way), alone and fused with BM25, and the fitted fusion weights.

    BM25 itself is not fused. `anthem_unseen` has no judgments to fit weights on, so it is fused as a sum of
    standardised scores.
    """
    dev = splits["dev"]
    if model == "bm25":
        return {(task, "alone"): lexical_run(dev, task) for task in RANKING_TASKS}, {}
    scores = score(dev)
    if model == "bm25_minilm":
        return {(task, "alone"): standardised_sum_run(dev, scores, task) for task in RANKING_TASKS}, {}
    runs = {(task, "alone"): model_run(dev, scores, task) for task in RANKING_TASKS}
    if model == "anthem_unseen":
        return runs | {(task, "fused"): standardised_sum_run(dev, scores, task) for task in RANKING_TASKS}, {}
    fusion = fit_fusion(splits["validation"], score(splits["validation"]))
    runs |= {(task, "fused"): fused_run(dev, scores, task, fusion) for task in RANKING_TASKS}
    return runs, {name: round(value, 4) for name, value in asdict(fusion).items()}
