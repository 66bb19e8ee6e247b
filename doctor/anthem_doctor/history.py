"""Coverage from run to run: a small file of this machine's, a line a run, so that nothing is written to the cluster."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthem_doctor.findings import Finding, count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_doctor.findings import DoctorTarget

MIN_HISTORY = timedelta(hours=1)  # of a history from which a loss a day is told


@dataclass(frozen=True, slots=True)
class CoverageRun:
    """What one run found: when, how many products, how many of them with a vector of the model."""

    time: datetime
    products: int
    vectors: int

    @property
    def share(self) -> float:
        """Share of the products that have a vector; 1 where there are no products."""
        return self.vectors / self.products if self.products else 1.0


def default_history_file() -> Path:
    """Where the history is if none is named: `$XDG_STATE_HOME/anthem/doctor.jsonl`, else below `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "anthem" / "doctor.jsonl"


def read_runs(file: Path, key: Mapping[str, str]) -> list[CoverageRun]:
    """Runs of one cluster, index and model, oldest first; none where there is no file. A torn line is passed over."""
    if not file.exists():
        return []
    lines = (_parse_line(line) for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    mine = (line for line in lines if key.items() <= line.items())
    runs = [CoverageRun(datetime.fromisoformat(line["time"]), line["products"], line["with_vector"]) for line in mine]
    return sorted(runs, key=lambda run: run.time)


def _parse_line(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) and {"time", "products", "with_vector"} <= line.keys() else {}


def append_run(file: Path, key: Mapping[str, str], run: CoverageRun) -> None:
    """Append one run.

    Raises:
        OSError: The file cannot be written.
    """
    line = {"time": run.time.isoformat(timespec="seconds"), **key, "products": run.products, "with_vector": run.vectors}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def loss_per_day(runs: Sequence[CoverageRun]) -> float | None:
    """Share of the products that lose their vector in a day; None from a history of less than an hour.

    What is lost from one run to the next counts, `Σ max(0, share_i − share_{i+1}) / days`: an ingest between two runs
    hides what was lost before it, so the true loss is this or more.
    """
    if not runs or runs[-1].time - runs[0].time < MIN_HISTORY:
        return None
    lost = sum(max(0.0, before.share - after.share) for before, after in pairwise(runs))
    return lost / ((runs[-1].time - runs[0].time) / timedelta(days=1))


def check_loss(asked: DoctorTarget, runs: Sequence[CoverageRun], file: Path) -> Iterator[Finding]:
    """How fast vectors get lost, by the runs of which this one is the last."""
    lost, now = loss_per_day(runs), runs[-1]
    if lost is None:
        daily = asked.command("doctor")
        span = (
            f"{count_of(len(runs), 'run')} in {file}, less than an hour apart" if runs[1:] else f"first run in {file}"
        )
        found = (
            f"{span}: what is lost a day is not known yet; without a vector now: {count_of(now.products - now.vectors)}"
        )
        yield Finding("loss", "ok", found, "", f"{daily}   # once a day")
        return
    days = (now.time - runs[0].time) / timedelta(days=1)
    found = f"{lost:.2%} of the products a day, by {count_of(len(runs), 'run')} in {days:.1f} days ({file}); "
    found += f"covered {runs[-2].share:.1%} at the last run, {now.share:.1%} now"
    if lost > 0:
        wanted = "none: a feed that writes whole documents erases vectors; follow it, or let it update in place"
        yield Finding("loss", "warning", found, wanted, asked.command("ingest", "--follow"))
    else:
        yield Finding("loss", "ok", found)
