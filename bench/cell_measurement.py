"""Measurement of one cell: train its model, then measure quality, size and speed on the candidates of `dev`."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from adaptation import adapt_general, adaptation_titles
from anthem_core.beir import read_dataset
from anthem_core.encoding.bundle import Bundle, load_bundle
from anthem_evaluation.measure import describe_machine
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.base_model import load_base
from anthem_model.data.training_shop import ShopSplit
from anthem_model.initialisation.teacher import embed_texts
from anthem_model.trainer.loop import train_within_budget
from anthem_model.trainer.training import TrainingPlan, TrainingSources, prepare_ranker
from candidates import RANKING_TASKS, WINDOW_SIZE, lexical_run, load_splits, prepare_training_parts
from cells import (
    BUNDLE_MODELS,
    RUNS_FOLDER,
    TEACHER_STARTED_MODELS,
    UNTRAINED_MODELS,
    benchmark_data_folder,
    pack_values,
)
from fusion_fit import fit_fusion
from model_runs import (
    bundle_runs,
    fused_run,
    measure_run,
    median_milliseconds,
    model_run,
    score_all_candidates,
    standardised_sum_run,
)
from rankers.bi_encoder import SentenceBiEncoder, find_packaged_minilm
from rankers.lambdamart import LambdaMart, train_lambdamart
from rankers.registry import RANKER_BUILDERS
from rankers.zero_shot import ZERO_SHOT_MODELS, ZeroShotEncoder, load_stored_teacher, load_zero_shot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anthem_core.beir import Dataset, Qrels
    from anthem_evaluation.runs import Run
    from anthem_model.data.training_shop import TrainingShop
    from anthem_model.ranker import TrainableRanker
    from candidates import CandidateScores, CandidateSplit
    from cells import BenchmarkCell

TIMED_QUERIES = 21
VECTORS_FOLDER = RUNS_FOLDER / "vectors"
TEACHER = "bge_small"
SINGLE_SIGNALS: tuple[Literal["attention", "containment"], ...] = ("attention", "containment")


def measure_cell(cell: BenchmarkCell) -> dict[str, Any]:
    """Train and measure one cell in one thread; returns its line of results."""
    torch.set_num_threads(1)
    dataset = read_dataset(benchmark_data_folder() / cell.data)
    parts = prepare_training_parts(dataset, cell.data)
    splits = load_splits(dataset, parts, RUNS_FOLDER / f"{cell.data}.json.gz")
    started = time.process_time()
    model = train_model(cell, dataset, parts, splits)
    seconds = round(time.process_time() - started)
    settings = asdict(cell) | {"seconds": seconds, "machine": describe_machine()}
    if isinstance(model, Bundle):
        runs = bundle_runs(model, dataset, splits["dev"])
        return settings | {"bundle": load_bundle("general").model_id} | _summarise(runs, {}, splits["dev"].qrels)
    return settings | _measure_cost(model, dataset, splits["dev"]) | _measure_quality(cell, model, splits, dataset)


def train_model(
    cell: BenchmarkCell, dataset: Dataset, parts: ShopSplit, splits: Mapping[str, CandidateSplit]
) -> TrainableRanker | Bundle | None:
    """Build and, unless the model is used as it is, train the ranker of a cell; None if OpenSearch computes the scores.

    The budget of CPU minutes includes building the ranker.
    """
    torch.manual_seed(cell.seed)
    if cell.model in ("random", "bm25", "bm25_trigrams"):
        return None
    if cell.model in BUNDLE_MODELS:
        return load_bundle("general") if cell.model == "general" else adapt_model(cell, dataset, splits["dev"])
    if cell.model in ZERO_SHOT_MODELS:
        return load_zero_shot(cell.model, VECTORS_FOLDER)
    if cell.model in UNTRAINED_MODELS:
        return SentenceBiEncoder(find_packaged_minilm())
    if cell.model == "lambdamart":
        return _train_lambdamart(cell, dataset, parts.train, splits["validation"])
    return _train_network(cell, _drop_judgments(parts) if cell.model == "anthem_unseen" else parts)


def adapt_model(cell: BenchmarkCell, dataset: Dataset, dev: CandidateSplit) -> Bundle:
    """The bundle `general`, adapted to the titles of the dataset alone."""
    teacher = load_stored_teacher(TEACHER, VECTORS_FOLDER)
    return adapt_general(cell.data, adaptation_titles(dataset, dev), teacher, RUNS_FOLDER / f"adapted-{cell.data}")


def _train_lambdamart(
    cell: BenchmarkCell, dataset: Dataset, shop: TrainingShop, validation: CandidateSplit
) -> LambdaMart:
    products = dataset.products.values()
    titles = {product.id: product.title for product in products}
    brands = {product.title: str(product.metadata["brand"]) for product in products if product.metadata.get("brand")}
    return train_lambdamart(shop, validation, titles, brands, cell.seed)


def _train_network(cell: BenchmarkCell, parts: ShopSplit) -> TrainableRanker:
    sources = _teacher_sources(cell, parts.train)
    started = time.process_time()
    if sources is not None:
        ranker: TrainableRanker = prepare_ranker([parts.train], TrainingPlan(), sources)[0]
    else:
        queries = [query.text for query in parts.train.judged_queries]
        ranker = RANKER_BUILDERS[cell.model](parts.train.titles, queries)
    remaining_seconds = 60 * cell.minutes - (time.process_time() - started)
    is_trained = sources is not None and sources.base is not None
    return train_within_budget(ranker, parts, remaining_seconds, cell.seed, may_keep_start=is_trained)


def _teacher_sources(cell: BenchmarkCell, shop: TrainingShop) -> TrainingSources | None:
    """What a cell with a teacher starts from; the teacher has read the texts before, outside the budget.

    `anthem_taught` starts from `general`, as `anthem train` does, `anthem_unseen` from nothing.
    """
    if cell.model not in TEACHER_STARTED_MODELS:
        return None
    teacher = load_stored_teacher(TEACHER, VECTORS_FOLDER)
    if cell.model == "anthem_taught":
        teacher.vectors(shop.titles, "titles")
        return TrainingSources(base=load_base("general"), teacher=teacher)
    embed_texts([shop], teacher, TrainingPlan().seed)
    return TrainingSources(teacher=teacher)


def _drop_judgments(parts: ShopSplit) -> ShopSplit:
    """Keep only the titles."""
    return ShopSplit(*(replace(shop, judged_queries=[]) for shop in (parts.train, parts.validation)))


def _measure_cost(ranker: TrainableRanker | None, dataset: Dataset, dev: CandidateSplit) -> dict[str, Any]:
    """Number of parameters, megabytes as float32, and CPU milliseconds for 100 candidates, starting from text."""
    if ranker is None:
        return {}
    ranker.eval()
    windows = {query: list(candidates.window) for query, candidates in dev.candidates.items()}
    queries = [query for query, window in windows.items() if len(window) == WINDOW_SIZE] or list(windows)
    sample = [queries[number % len(queries)] for number in range(TIMED_QUERIES)]
    calls = [(dev.queries[query], [dataset.products[product].title for product in windows[query]]) for query in sample]
    parameters = _count_parameters(ranker)
    milliseconds = median_milliseconds(ranker.score_titles, calls)
    return {"parameters": parameters, "megabytes": round(4e-6 * parameters, 2), "ms_per_100": round(milliseconds, 2)}


def _count_parameters(ranker: TrainableRanker) -> int:
    if isinstance(ranker, (LambdaMart, ZeroShotEncoder)):
        return ranker.count_parameters()
    return sum(parameter.numel() for parameter in ranker.parameters())


def _measure_quality(
    cell: BenchmarkCell, ranker: TrainableRanker | None, splits: Mapping[str, CandidateSplit], dataset: Dataset
) -> dict[str, Any]:
    """Rank `dev` alone and fused with BM25, and measure."""
    score = partial(_score_split, cell.model, ranker, dataset)
    runs, weights = build_runs(cell.model, score, splits)
    if isinstance(ranker, AnthemRanker):
        runs |= _build_single_signal_runs(cell.model, ranker, score, splits)
    return _summarise(runs, weights, splits["dev"].qrels)


def _summarise(runs: Mapping[tuple[str, str], Run], weights: dict[str, float], qrels: Qrels) -> dict[str, Any]:
    """Fusion weights, mean measures and packed values per query, the last two by "task/way"."""
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

    BM25 itself is not fused, nor is LambdaMART, which reads it. `anthem_unseen` and zero-shot models have no judgments
    to fit weights on, so they are fused as a sum of standardised scores.
    """
    dev = splits["dev"]
    if model == "bm25":
        return {(task, "alone"): lexical_run(dev, task) for task in RANKING_TASKS}, {}
    scores = score(dev)
    if model == "bm25_minilm":
        return {(task, "alone"): standardised_sum_run(dev, scores, task) for task in RANKING_TASKS}, {}
    runs = {(task, "alone"): model_run(dev, scores, task) for task in RANKING_TASKS}
    if model == "lambdamart":
        return runs, {}
    if model == "anthem_unseen" or model in ZERO_SHOT_MODELS:
        return runs | {(task, "fused"): standardised_sum_run(dev, scores, task) for task in RANKING_TASKS}, {}
    fusion = fit_fusion(splits["validation"], score(splits["validation"]))
    runs |= {(task, "fused"): fused_run(dev, scores, task, fusion) for task in RANKING_TASKS}
    return runs, {name: round(value, 4) for name, value in asdict(fusion).items()}
