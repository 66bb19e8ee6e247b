"""Cells of the comparison, (data set, model, seed): what has been measured, what is missing, and how one is filled."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable


REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
RESULTS_FILE = REPOSITORY_ROOT / "bench" / "results" / "quality.jsonl"
RUNS_FOLDER = REPOSITORY_ROOT / "runs" / "quality"
TRAINING_MINUTES = {"home_depot": 3.0, "esci": 1.0, "crowdflower": 1.0}
UNTRAINED_MODELS = ("random", "bm25", "bm25_trigrams", "minilm", "bm25_minilm", "general")
TEACHER_STARTED_MODELS = (
    "anthem_taught",
    "anthem_unseen",
)  # started by a teacher: with judgments, and from the catalogue alone
MODEL_NAMES = (*UNTRAINED_MODELS, *RANKER_BUILDERS, *TEACHER_STARTED_MODELS)


@dataclass(frozen=True)
class BenchmarkCell:
    """What is trained on what from which seed, and for how many CPU minutes; 0 for what is not trained."""

    data: str
    model: str
    seed: int = 0
    minutes: float = 0.0


def list_cells(
    data: Iterable[str], models: Iterable[str], seeds: int, minutes: float | None = None
) -> list[BenchmarkCell]:
    """All cells of a comparison; what is not trained has one seed."""
    names = list(models)
    return [
        BenchmarkCell(one, name, seed, 0.0 if name in UNTRAINED_MODELS else (minutes or TRAINING_MINUTES[one]))
        for one in data
        for name in names
        for seed in range(1 if name in UNTRAINED_MODELS else seeds)
    ]


def list_missing_cells(wanted: Iterable[BenchmarkCell], lines: Iterable[dict[str, Any]]) -> list[BenchmarkCell]:
    """The cells of which no line tells with the same settings."""
    known = {cell_of_line(line) for line in lines}
    return [cell for cell in wanted if cell not in known]


def cell_of_line(line: dict[str, Any]) -> BenchmarkCell:
    """The cell of a line."""
    return BenchmarkCell(**{name: line[name] for name in ("data", "model", "seed", "minutes")})


def read_results(path: Path) -> list[dict[str, Any]]:
    """Lines of a results file, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append_result(line: dict[str, Any], path: Path) -> None:
    """Add one line to a results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def pack_values(values: Iterable[float]) -> str:
    """Values in [0, 1] in ten-thousandths, as text a seventh the size of a list."""
    whole = np.rint(10_000 * np.fromiter(values, float)).astype("<u2")
    return base64.b85encode(zlib.compress(whole.tobytes(), 9)).decode()


def unpack_values(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of `pack`."""
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), "<u2") / 10_000


def benchmark_data_folder() -> Path:
    """Where the data sets lie: `ANTHEM_DATA`, else beside the repository."""
    return Path(os.environ.get("ANTHEM_DATA", REPOSITORY_ROOT.parent / "shared" / "data"))
