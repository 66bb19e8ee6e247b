"""What came of an ingest: counted while it runs, a value when it is done."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from anthem_core.console import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from anthem_ingest.actions import BulkAction

COUNT_FIELDS = ("written", "skipped", "empty", "failed", "conflicts")
MAX_LISTED_FAILURES = 10  # failures named one by one; the rest is counted


@dataclass(frozen=True, slots=True)
class IngestFailure:
    """One product that could not be written, and why."""

    id: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.id}: {self.reason}")


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Counts of products, by what became of them; each product is in one of the five.

    Attributes:
        written: Products written with their point.
        skipped: Products whose point was current already.
        empty: Products without a letter or digit in their text, which have no point, or no longer.
        failed: Products the cluster refused, the first of them in `failures`.
        conflicts: Products that changed while they were encoded, twice over; the next run takes them.
        seconds: Wall time.
    """

    written: int
    skipped: int
    empty: int
    failed: int
    conflicts: int
    seconds: float
    failures: tuple[IngestFailure, ...] = ()

    def __add__(self, other: IngestReport) -> IngestReport:
        """Both together, as of runs at the same time: counts add up, the longer time stands."""
        counts: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in COUNT_FIELDS}
        failures = (self.failures + other.failures)[:MAX_LISTED_FAILURES]
        return IngestReport(**counts, seconds=max(self.seconds, other.seconds), failures=failures)

    def to_dict(self) -> dict[str, Any]:
        """Report as JSON knows it."""
        return {**asdict(self), "failures": [asdict(failure) for failure in self.failures]}

    def __str__(self) -> str:
        rate = self.written / max(self.seconds, 1e-3)
        counts = f"{self.written} written, {self.skipped} skipped, {self.failed} failed"
        lines = [f"{counts} in {self.seconds:.1f} s ({rate:.0f} products/s)"]
        if self.empty:
            lines.append(f"{self.empty} have no letter or digit in their text and get no vector")
        if self.conflicts:
            lines.append(f"{self.conflicts} changed meanwhile and were left alone: run again")
        return "\n".join(lines)


EMPTY_REPORT = IngestReport(0, 0, 0, 0, 0, 0.0)


class DeadLetters:
    """A file of what could not be written, a JSON object a line, flushed at once; not there while nothing failed."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self.path = path
        self._mode = "a" if append else "w"
        self._file: IO[str] | None = None

    def add(self, letter: Mapping[str, Any]) -> None:
        """Append one line."""
        if self._file is None:
            self._file = self.path.open(self._mode, encoding="utf-8", errors="replace")
        self._file.write(json.dumps(letter, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(slots=True)
class IngestTally:
    """The counts of a running ingest.

    `again` holds ids of products to read and write once more, `without` those of products sent without a point.
    """

    written: int = 0
    skipped: int = 0
    empty: int = 0
    failed: int = 0
    again: list[str] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    failures: list[IngestFailure] = field(default_factory=list)
    dead: DeadLetters | None = None
    started: float = field(default_factory=time.perf_counter)

    def marked(self, action: BulkAction) -> BulkAction:
        """The same action, of which it is known that it brings no point."""
        self.without.add(action["_id"])
        return action

    def succeed(self, product: str) -> None:
        """Count a product that was written, by whether it has a point now."""
        if product in self.without:
            self.without.discard(product)
            self.empty += 1
        else:
            self.written += 1

    def fail(self, product: str, reason: str) -> None:
        """Count a failure, write it to the dead letters, and keep it while there are few."""
        self.failed += 1
        if self.dead:
            self.dead.add({"id": product, "reason": reason})
        if len(self.failures) < MAX_LISTED_FAILURES:
            self.failures.append(IngestFailure(product, reason))

    def report(self) -> IngestReport:
        """Counts so far, as a value."""
        seconds = time.perf_counter() - self.started
        counts = (self.written, self.skipped, self.empty, self.failed, len(self.again))
        return IngestReport(*counts, seconds, tuple(self.failures))


@dataclass(frozen=True, slots=True)
class IndexSurvey:
    """What an ingest will find, and what it will cost.

    Attributes:
        index: Name of the index.
        products: Products in it.
        stale: Those with a point of another model.
        missing: Those without a point.
        bytes_each: Size of one point in the index.
    """

    index: str
    products: int
    stale: int
    missing: int
    bytes_each: int

    def __str__(self) -> str:
        megabytes = self.missing * self.bytes_each / 1e6
        stale = f", {self.stale} with one of another model, which is replaced" if self.stale else ""
        found = f"{self.index}: {self.products} products, {self.missing} without a vector{stale}."
        if not self.missing + self.stale:
            return found
        return (
            f"{found}\nA vector takes about {self.bytes_each} bytes, so this adds about {megabytes:.1f} MB to each "
            "copy of the index, and as much to a default _source.\n"
            "Lexical scores move slightly until segments merge: until then an updated product counts twice."
        )
