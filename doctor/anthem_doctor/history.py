"""History of the coverage: a file on this machine, one line per run, so that nothing is written to the cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import FileIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from anthem_core.files import write_line
from anthem_core.opensearch.local_node import HISTORY_FILE, state_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_WITH_VALUES = "with_vector"  # key in the file, from when a vector was the only value
MIN_HISTORY = timedelta(hours=1)  # shorter histories give no loss per day


@dataclass(frozen=True, slots=True)
class CoverageRun:
    """What one run of `anthem doctor` counted: products, and those with values of the model."""

    time: datetime
    products: int
    with_values: int

    @property
    def coverage(self) -> float:
        """Share of the products that have values; 1 if there are no products."""
        return self.with_values / self.products if self.products else 1.0


def default_history_file() -> Path:
    """`$XDG_STATE_HOME/anthem/doctor.jsonl`; without that variable, below `~/.local/state`."""
    return state_folder() / HISTORY_FILE


def read_runs(file: Path, key: Mapping[str, str]) -> list[CoverageRun]:
    """Runs of one cluster, index and model, oldest first; lines that cannot be parsed are skipped.

    A missing file gives no runs.
    """
    if not file.exists():
        return []
    records = (_parse_line(line) for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    runs = [
        CoverageRun(datetime.fromisoformat(record["time"]), record["products"], record[_WITH_VALUES])
        for record in records
        if key.items() <= record.items()
    ]
    return sorted(runs, key=lambda run: run.time)


def _parse_line(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    required = {"time", "products", _WITH_VALUES}
    return record if isinstance(record, dict) and required <= record.keys() else {}


def append_run(file: Path, key: Mapping[str, str], run: CoverageRun) -> None:
    """Append one run, on a line of its own.

    Raises:
        OSError: The file cannot be written, or is not empty and no line of it is a run.
    """
    start = _check_history(file)
    time = run.time.isoformat(timespec="seconds")
    record = {"time": time, **key, "products": run.products, _WITH_VALUES: run.with_values}
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileIO(file, "a") as lines:
        write_line(lines, (start + json.dumps(record) + "\n").encode())


def _check_history(file: Path) -> str:
    """What ends the last line of a history, if a crash has cut it off.

    A file is a history if at least one line is a run, so a history with damaged lines can still be extended.
    """
    content = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if content and not any(map(_parse_line, content.splitlines())):
        raise OSError("no line of the file is a run of anthem doctor, so the file was not changed; name another file")
    return "\n" if content and not content.endswith("\n") else ""


def loss_per_day(runs: Sequence[CoverageRun]) -> float | None:
    """Share of the products that lose their values per day; None for a history of less than an hour.

    Sums the drops of coverage from run to run, `Σ max(0, coverage_i − coverage_{i+1}) / days`. An ingest between two
    runs hides what was lost before it, so this is a lower bound.
    """
    if not runs or runs[-1].time - runs[0].time < MIN_HISTORY:
        return None
    lost = sum(max(0.0, earlier.coverage - later.coverage) for earlier, later in pairwise(runs))
    return lost / ((runs[-1].time - runs[0].time) / timedelta(days=1))
