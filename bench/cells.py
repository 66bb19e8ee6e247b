"""The cells of the comparison (dataset, model, seed), and the file that holds their results."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankers.registry import RANKER_BUILDERS
from rankers.zero_shot import ZERO_SHOT_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
RESULTS_FILE = REPOSITORY_ROOT / "bench" / "results" / "quality.jsonl"
GEOMETRY_RESULTS_FILE = RESULTS_FILE.with_name("geometry.jsonl")
RUNS_FOLDER = REPOSITORY_ROOT / "runs" / "quality"
TRAINING_MINUTES = {"home_depot": 3.0, "esci": 1.0, "crowdflower": 1.0}  # CPU minutes by dataset
# The bundle of this repository, as it is and adapted to the titles of the dataset; measured again for a new bundle.
BUNDLE_MODELS = ("general", "adapted")
UNTRAINED_MODELS = ("random", "bm25", "bm25_trigrams", "minilm", "bm25_minilm", *ZERO_SHOT_MODELS, *BUNDLE_MODELS)
# Both start from a teacher's vectors: the first learns from judgments as well, the second only from titles.
TEACHER_STARTED_MODELS = ("anthem_taught", "anthem_unseen")
MODEL_NAMES = (*UNTRAINED_MODELS, "lambdamart", *RANKER_BUILDERS, *TEACHER_STARTED_MODELS)


@dataclass(frozen=True)
class BenchmarkCell:
    """A model, the dataset and seed it is trained with, and its CPU minutes of training (0 if it is not trained).

    The field names are keys of bench/results/quality.jsonl.
    """

    data: str
    model: str
    seed: int = 0
    minutes: float = 0.0


def list_cells(
    datasets: Iterable[str], models: Iterable[str], seeds: int, minutes: float | None = None
) -> list[BenchmarkCell]:
    """List all cells of a comparison; a model that is not trained has one seed."""
    model_names = list(models)
    return [
        BenchmarkCell(data, model, seed, 0.0 if model in UNTRAINED_MODELS else (minutes or TRAINING_MINUTES[data]))
        for data in datasets
        for model in model_names
        for seed in range(1 if model in UNTRAINED_MODELS else seeds)
    ]


def list_missing_cells(
    cells: Iterable[BenchmarkCell], lines: Iterable[dict[str, Any]], bundle: str
) -> list[BenchmarkCell]:
    """List the cells that have no line with the same settings and, if a bundle is measured, the same bundle."""
    measured = {
        cell_of_line(line) for line in lines if line["model"] not in BUNDLE_MODELS or line.get("bundle") == bundle
    }
    return [cell for cell in cells if cell not in measured]


def cell_of_line(line: dict[str, Any]) -> BenchmarkCell:
    """Return the cell that a line of results belongs to."""
    return BenchmarkCell(**{name: line[name] for name in ("data", "model", "seed", "minutes")})


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a results file; an empty list if the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append_result(line: dict[str, Any], path: Path) -> None:
    """Append one line to a results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def pack_values(values: Iterable[float]) -> str:
    """Pack values in [0, 1], rounded to four decimals, into text: about a seventh of the size of a JSON list."""
    ten_thousandths = np.rint(10_000 * np.fromiter(values, float)).astype("<u2")
    return base64.b85encode(zlib.compress(ten_thousandths.tobytes(), 9)).decode()


def unpack_values(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Unpack the values of `pack_values`."""
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), "<u2") / 10_000


def benchmark_data_folder() -> Path:
    """Folder of the datasets: `ANTHEM_DATA`; defaults to shared/data next to the repository."""
    return Path(os.environ.get("ANTHEM_DATA", REPOSITORY_ROOT.parent / "shared" / "data"))
