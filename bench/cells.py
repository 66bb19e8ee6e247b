"""Cells of the comparison, (data set, model, seed): what has been measured, what is missing, and how one is filled."""

from __future__ import annotations

import base64
import json
import os
import random
import time
import zlib
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shipped
import torch
from candidates import SPLIT_SEED, cut, splits
from scoring import TASKS, alone, fit, fused, lexical, measured, ranked, summed, timed

from anthem_core.beir import read_dataset
from anthem_evaluation.machine import machine
from anthem_model.anthem import AnthemRanker
from anthem_model.course import fit as train
from anthem_model.rankers.sentence import Sentence, packaged_model
from anthem_model.rankers.table import RANKERS
from anthem_model.shop import Parts
from anthem_model.teacher import Teacher, read
from anthem_model.training import Plan, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from candidates import Split
    from scoring import Scores

    from anthem_core.beir import Dataset
    from anthem_evaluation.metrics import Run
    from anthem_model.ranker import Ranker
    from anthem_model.shop import Shop
    from anthem_model.teacher import Vectors

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "quality.jsonl"
RUNS = ROOT / "runs" / "quality"
MINUTES = {"home_depot": 3.0, "esci": 1.0, "crowdflower": 1.0}
UNTRAINED = ("random", "bm25", "bm25_trigrams", "minilm", "bm25_minilm", "general")
TAUGHT = ("anthem_taught", "anthem_unseen")  # started by a teacher: with judgments, and from the catalogue alone
MODELS = (*UNTRAINED, *RANKERS, *TAUGHT)
TIMED = 21
ONLY = ("attention", "containment")


@dataclass(frozen=True)
class Cell:
    """What is trained on what from which seed, and for how many CPU minutes; 0 for what is not trained."""

    data: str
    model: str
    seed: int = 0
    minutes: float = 0.0


def cells(data: Iterable[str], models: Iterable[str], seeds: int, minutes: float | None = None) -> list[Cell]:
    """All cells of a comparison; what is not trained has one seed."""
    names = list(models)
    return [
        Cell(one, name, seed, 0.0 if name in UNTRAINED else (minutes or MINUTES[one]))
        for one in data
        for name in names
        for seed in range(1 if name in UNTRAINED else seeds)
    ]


def missing(wanted: Iterable[Cell], lines: Iterable[dict[str, Any]]) -> list[Cell]:
    """The cells of which no line tells with the same settings."""
    known = {cell_of(line) for line in lines}
    return [cell for cell in wanted if cell not in known]


def cell_of(line: dict[str, Any]) -> Cell:
    """The cell of a line."""
    return Cell(**{name: line[name] for name in ("data", "model", "seed", "minutes")})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a results file, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append(line: dict[str, Any], path: Path) -> None:
    """Add one line to a results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def pack(values: Iterable[float]) -> str:
    """Values in [0, 1] in ten-thousandths, as text a seventh the size of a list."""
    whole = np.rint(10_000 * np.fromiter(values, float)).astype("<u2")
    return base64.b85encode(zlib.compress(whole.tobytes(), 9)).decode()


def unpack(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of `pack`."""
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), "<u2") / 10_000


def data_folder() -> Path:
    """Where the data sets lie: `ANTHEM_DATA`, else beside the repository."""
    return Path(os.environ.get("ANTHEM_DATA", ROOT.parent / "shared" / "data"))


def fill(cell: Cell) -> dict[str, Any]:
    """Train and measure one cell: a line for the results."""
    torch.set_num_threads(1)
    dataset = read_dataset(data_folder() / cell.data)
    parts = cut(dataset, cell.data)
    split = splits(dataset, parts, RUNS / f"{cell.data}.json.gz")
    started = time.process_time()
    ranker = model_of(cell, parts)
    spent = time.process_time() - started
    line = asdict(cell) | {"seconds": round(spent), "machine": machine()} | _cost(ranker, dataset, split["dev"])
    return line | _quality(cell, ranker, split, dataset)


def model_of(cell: Cell, parts: Parts) -> Ranker | None:
    """The ranker of a cell, trained where it is to be; None for what OpenSearch computes.

    Building it is part of the budget.
    """
    torch.manual_seed(cell.seed)
    if cell.model in ("random", "bm25", "bm25_trigrams", "general"):
        return None
    if cell.model in UNTRAINED:
        return Sentence(packaged_model())
    if cell.model == "anthem_unseen":
        parts = _without_judgments(parts)
    titles, queries = parts.learn.titles, [query.text for query in parts.learn.judged]
    # What a teacher reads is read once for all seeds, and no part of the budget.
    taught = _read(parts.learn) if cell.model in TAUGHT else None
    began = time.process_time()
    ranker = started(titles, queries, Plan(), taught) if taught else RANKERS[cell.model](titles, queries)
    left = 60 * cell.minutes - (time.process_time() - began)
    return train(ranker, parts, left, cell.seed)


def _without_judgments(parts: Parts) -> Parts:
    """The titles alone."""
    return Parts(*(replace(shop, judged=[]) for shop in (parts.learn, parts.validate)))


def _read(shop: Shop) -> tuple[list[str], Vectors]:
    """Texts of a shop and what all-MiniLM-L6-v2 makes of them."""
    return read(shop, Teacher(packaged_model(), RUNS / "teacher"), random.Random(SPLIT_SEED))


def _cost(ranker: Ranker | None, dataset: Dataset, dev: Split) -> dict[str, Any]:
    """Parameters, megabytes as float32, and CPU milliseconds for a hundred candidates from text."""
    if ranker is None:
        return {}
    ranker.eval()
    full = [name for name, found in dev.found.items() if len(found.window) == 100] or list(dev.found)
    chosen = [full[place % len(full)] for place in range(TIMED)]
    calls = [(dev.queries[name], [dataset.products[one].title for one in dev.found[name].window]) for name in chosen]
    parameters = sum(one.numel() for one in ranker.parameters())
    milliseconds = timed(ranker.rank, calls)
    return {"parameters": parameters, "megabytes": round(4e-6 * parameters, 2), "ms_per_100": round(milliseconds, 2)}


def _quality(cell: Cell, ranker: Ranker | None, split: dict[str, Split], dataset: Dataset) -> dict[str, Any]:
    scores = partial(_scores, cell.model, ranker, dataset)
    weights: dict[str, float] = {}
    if cell.model == "general":
        runs = shipped.runs(dataset, split["dev"])
    else:
        runs, weights = orders(cell.model, scores, split)
    if isinstance(ranker, AnthemRanker):
        runs |= _one_by_one(cell.model, ranker, scores, split)
    qrels = split["dev"].qrels
    found = {f"{task}/{way}": measured(run, qrels) for (task, way), run in runs.items()}
    means = {key: {name: round(float(np.mean(v)), 4) for name, v in values.items()} for key, values in found.items()}
    packed = {key: {name: pack(v) for name, v in values.items()} for key, values in found.items()}
    return {"weights": weights, "mean": means, "per_query": packed}


def _one_by_one(
    model: str, ranker: AnthemRanker, scores: Callable[[Split], Scores], split: dict[str, Split]
) -> dict[tuple[str, str], Run]:
    """Runs by each of ANTHEM's signals without the other, alone and fused."""
    runs: dict[tuple[str, str], Run] = {}
    for only in ONLY:
        ranker.only = only
        found, _ = orders(model, scores, split)
        runs |= {(task, f"{only}_{way}"): run for (task, way), run in found.items()}
    ranker.only = None
    return runs


def _scores(model: str, ranker: Ranker | None, dataset: Dataset, split: Split) -> Scores:
    if ranker is not None:
        return ranked(ranker, split, {product.id: product.title for product in dataset.products.values()})
    if model == "random":
        chance = random.Random(0)
        return {name: {one: chance.random() for one in found.products} for name, found in split.found.items()}
    if model == "bm25_trigrams":
        return {name: found.trigrams for name, found in split.found.items()}
    return {name: found.window | found.judged for name, found in split.found.items()}


def orders(
    model: str, scores: Callable[[Split], Scores], split: dict[str, Split]
) -> tuple[dict[tuple[str, str], Run], dict[str, float]]:
    """Runs of `dev` by task and way, alone and fused, and the fusion's weights; BM25 is fused with nothing.

    What never saw a judgment has none to fit weights on: equal parts of both, standardised.
    """
    dev = split["dev"]
    if model == "bm25":
        return {(task, "alone"): lexical(dev, task) for task in TASKS}, {}
    given = scores(dev)
    if model == "bm25_minilm":
        return {(task, "alone"): summed(dev, given, task) for task in TASKS}, {}
    runs = {(task, "alone"): alone(dev, given, task) for task in TASKS}
    if model == "anthem_unseen":
        return runs | {(task, "fused"): summed(dev, given, task) for task in TASKS}, {}
    weights = fit(split["validation"], scores(split["validation"]))
    runs |= {(task, "fused"): fused(dev, given, task, weights) for task in TASKS}
    return runs, {name: round(value, 4) for name, value in asdict(weights).items()}
