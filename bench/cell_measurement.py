"""TODO: one line on what this module does."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anthem_core.beir import read_dataset
from anthem_evaluation.measure import describe_machine
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.data.training_shop import ShopSplit
from anthem_model.initialisation.teacher import Teacher, embed_shop
from anthem_model.trainer.loop import train_within_budget as train
from anthem_model.trainer.training import TrainingPlan, build_initialised_ranker
from candidates import RANKING_TASKS, SPLIT_SEED, lexical_run, load_splits, prepare_training_parts
from fusion_fit import fit_fusion
from rankers.bi_encoder import SentenceBiEncoder, find_packaged_minilm
from rankers.registry import RANKER_BUILDERS
from runs import (
    fused_run,
    measure_run,
    median_milliseconds,
    model_run,
    score_candidates,
    shipped_bundle_runs,
    standardised_sum_run,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anthem_core.beir import Dataset
    from anthem_evaluation.runs import Run
    from anthem_model.data.training_shop import TrainingShop
    from anthem_model.initialisation.teacher import TeacherVectors
    from anthem_model.ranker import TrainableRanker
    from candidates import CandidateScores, CandidateSplit

from cells import (
    RUNS_FOLDER,
    TEACHER_STARTED_MODELS,
    UNTRAINED_MODELS,
    BenchmarkCell,
    benchmark_data_folder,
    pack_values,
)

TIMED_QUERIES = 21
SINGLE_SIGNALS = ("attention", "containment")


def measure_cell(cell: BenchmarkCell) -> dict[str, Any]:
    """Train and measure one cell: a line for the results."""
    torch.set_num_threads(1)
    dataset = read_dataset(benchmark_data_folder() / cell.data)
    parts = prepare_training_parts(dataset, cell.data)
    split = load_splits(dataset, parts, RUNS_FOLDER / f"{cell.data}.json.gz")
    started = time.process_time()
    ranker = train_model(cell, parts)
    spent = time.process_time() - started
    line = (
        asdict(cell)
        | {"seconds": round(spent), "machine": describe_machine()}
        | _measure_cost(ranker, dataset, split["dev"])
    )
    return line | _measure_quality(cell, ranker, split, dataset)


def train_model(cell: BenchmarkCell, parts: ShopSplit) -> TrainableRanker | None:
    """The ranker of a cell, trained where it is to be; None for what OpenSearch computes.

    Building it is part of the budget.
    """
    torch.manual_seed(cell.seed)
    if cell.model in ("random", "bm25", "bm25_trigrams", "general"):
        return None
    if cell.model in UNTRAINED_MODELS:
        return SentenceBiEncoder(find_packaged_minilm())
    if cell.model == "anthem_unseen":
        parts = _drop_judgments(parts)
    titles, queries = parts.learn.titles, [query.text for query in parts.learn.judged]
    # What a teacher reads is read once for all seeds, and no part of the budget.
    taught = _read_teacher_vectors(parts.learn) if cell.model in TEACHER_STARTED_MODELS else None
    began = time.process_time()
    ranker = (
        build_initialised_ranker(titles, queries, TrainingPlan(), taught)
        if taught
        else RANKER_BUILDERS[cell.model](titles, queries)
    )
    left = 60 * cell.minutes - (time.process_time() - began)
    return train(ranker, parts, left, cell.seed)


def _drop_judgments(parts: ShopSplit) -> ShopSplit:
    """The titles alone."""
    return ShopSplit(*(replace(shop, judged=[]) for shop in (parts.learn, parts.validate)))


def _read_teacher_vectors(shop: TrainingShop) -> tuple[list[str], TeacherVectors]:
    """Texts of a shop and what all-MiniLM-L6-v2 makes of them."""
    return embed_shop(shop, Teacher(find_packaged_minilm(), RUNS_FOLDER / "teacher"), random.Random(SPLIT_SEED))


def _measure_cost(ranker: TrainableRanker | None, dataset: Dataset, dev: CandidateSplit) -> dict[str, Any]:
    """Parameters, megabytes as float32, and CPU milliseconds for a hundred candidates from text."""
    if ranker is None:
        return {}
    ranker.eval()
    full = [name for name, found in dev.found.items() if len(found.window) == 100] or list(dev.found)
    chosen = [full[place % len(full)] for place in range(TIMED_QUERIES)]
    calls = [(dev.queries[name], [dataset.products[one].title for one in dev.found[name].window]) for name in chosen]
    parameters = sum(one.numel() for one in ranker.parameters())
    milliseconds = median_milliseconds(ranker.rank, calls)
    return {"parameters": parameters, "megabytes": round(4e-6 * parameters, 2), "ms_per_100": round(milliseconds, 2)}


def _measure_quality(
    cell: BenchmarkCell, ranker: TrainableRanker | None, split: dict[str, CandidateSplit], dataset: Dataset
) -> dict[str, Any]:
    scores = partial(_score_split, cell.model, ranker, dataset)
    weights: dict[str, float] = {}
    if cell.model == "general":
        runs = shipped_bundle_runs(dataset, split["dev"])
    else:
        runs, weights = build_runs(cell.model, scores, split)
    if isinstance(ranker, AnthemRanker):
        runs |= _build_single_signal_runs(cell.model, ranker, scores, split)
    qrels = split["dev"].qrels
    found = {f"{task}/{way}": measure_run(run, qrels) for (task, way), run in runs.items()}
    means = {key: {name: round(float(np.mean(v)), 4) for name, v in values.items()} for key, values in found.items()}
    packed = {key: {name: pack_values(v) for name, v in values.items()} for key, values in found.items()}
    return {"weights": weights, "mean": means, "per_query": packed}


def _build_single_signal_runs(
    model: str,
    ranker: AnthemRanker,
    scores: Callable[[CandidateSplit], CandidateScores],
    split: dict[str, CandidateSplit],
) -> dict[tuple[str, str], Run]:
    """Runs by each of ANTHEM's signals without the other, alone and fused."""
    runs: dict[tuple[str, str], Run] = {}
    for only in SINGLE_SIGNALS:
        ranker.only = only
        found, _ = build_runs(model, scores, split)
        runs |= {(task, f"{only}_{way}"): run for (task, way), run in found.items()}
    ranker.only = None
    return runs


def _score_split(
    model: str, ranker: TrainableRanker | None, dataset: Dataset, split: CandidateSplit
) -> CandidateScores:
    if ranker is not None:
        return score_candidates(ranker, split, {product.id: product.title for product in dataset.products.values()})
    if model == "random":
        chance = random.Random(0)
        return {name: {one: chance.random() for one in found.products} for name, found in split.found.items()}
    if model == "bm25_trigrams":
        return {name: found.trigrams for name, found in split.found.items()}
    return {name: found.window | found.judged for name, found in split.found.items()}


def build_runs(
    model: str, scores: Callable[[CandidateSplit], CandidateScores], split: dict[str, CandidateSplit]
) -> tuple[dict[tuple[str, str], Run], dict[str, float]]:
    """Runs of `dev` by task and way, alone and fused, and the fusion's weights; BM25 is fused with nothing.

    What never saw a judgment has none to fit weights on: equal parts of both, standardised.
    """
    dev = split["dev"]
    if model == "bm25":
        return {(task, "alone"): lexical_run(dev, task) for task in RANKING_TASKS}, {}
    given = scores(dev)
    if model == "bm25_minilm":
        return {(task, "alone"): standardised_sum_run(dev, given, task) for task in RANKING_TASKS}, {}
    runs = {(task, "alone"): model_run(dev, given, task) for task in RANKING_TASKS}
    if model == "anthem_unseen":
        return runs | {(task, "fused"): standardised_sum_run(dev, given, task) for task in RANKING_TASKS}, {}
    weights = fit_fusion(split["validation"], scores(split["validation"]))
    runs |= {(task, "fused"): fused_run(dev, given, task, weights) for task in RANKING_TASKS}
    return runs, {name: round(value, 4) for name, value in asdict(weights).items()}
