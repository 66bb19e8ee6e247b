"""Counts of an ingest: a tally while it runs, a report when it is done, and the dead-letter file for its failures."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import FileIO
from typing import TYPE_CHECKING, Any

from anthem_core.console import count_of, format_bytes, printable
from anthem_core.errors import DataError
from anthem_core.files import is_standard_output, write_line
from anthem_ingest.actions import shorten_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.actions import BulkAction

COUNT_FIELDS = ("written", "skipped", "empty", "failed", "conflicts")
NOUN_OF_VALUE = {"containment": "a vector", "attention": "trigrams"}  # by signal
MAX_LISTED_FAILURES = 10  # failures listed in a report; further ones are only counted


@dataclass(frozen=True, slots=True)
class IngestFailure:
    """A product that could not be written, and the reason."""

    id: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{shorten_id(self.id)}: {self.reason}")


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Number of products by outcome; each product is in exactly one of the five counts.

    Attributes:
        written: Products written with their values.
        skipped: Products whose values were already current.
        empty: Products whose text fields are empty or have no letter or digit, which therefore have no values.
        failed: Products that the cluster refused; the first of them are in `failures`.
        conflicts: Products that changed during both attempts to write them; the next run writes them.
        seconds: Wall time.
        lost_text: Products of a file whose rows had no text in a field in which the index had some, by field.
        written_without_values: Those of `empty` that were written, as a load does.
    """

    written: int
    skipped: int
    empty: int
    failed: int
    conflicts: int
    seconds: float
    failures: tuple[IngestFailure, ...] = ()
    lost_text: Mapping[str, int] = field(default_factory=dict)
    written_without_values: int = 0

    def __add__(self, other: IngestReport) -> IngestReport:
        """Sum of the reports of two ingests that ran one after the other."""
        counts: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in COUNT_FIELDS}
        failures = (self.failures + other.failures)[:MAX_LISTED_FAILURES]
        lost_text = dict(Counter(self.lost_text) + Counter(other.lost_text))
        counts |= {"written_without_values": self.written_without_values + other.written_without_values}
        return IngestReport(**counts, seconds=self.seconds + other.seconds, failures=failures, lost_text=lost_text)

    @property
    def products(self) -> int:
        """Number of products read."""
        return sum(getattr(self, name) for name in COUNT_FIELDS)

    def to_dict(self) -> dict[str, Any]:
        """Report as a JSON object."""
        return {**asdict(self), "failures": [asdict(failure) for failure in self.failures]}

    def __str__(self) -> str:
        written = self.written + self.written_without_values
        rate = written / max(self.seconds, 1e-3)
        counts = f"{written} written, {self.skipped} skipped, {self.failed} failed"
        lines = [f"{counts} in {self.seconds:.1f} s ({rate:.0f} products/s)"]
        if self.empty:
            reason = f"{'its' if self.empty == 1 else 'their'} text fields are empty or have no letter or digit"
            lines.append(f"{count_of(self.empty)} without values, because {reason}")
        if self.conflicts:
            lines.append(f"{self.conflicts} changed during ingest and were skipped; run ingest again")
        lines += [
            f"{count_of(number, 'product')} lost the text in {name}: a row replaces the whole product, and "
            f"{'its row has' if number == 1 else 'their rows have'} none; --partial keeps the fields that a row lacks"
            for name, number in self.lost_text.items()
        ]
        return "\n".join(lines)


EMPTY_REPORT = IngestReport(0, 0, 0, 0, 0, 0.0)


class IngestInterruptError(KeyboardInterrupt):
    """An ingest was interrupted; `report` has its counts until then."""

    def __init__(self, report: IngestReport) -> None:
        super().__init__()
        self.report = report


class DeadLetters:
    """File of failures, one JSON object per line, each written at once; created at the first failure.

    `-` is standard output.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self.path = path
        self.name = "standard output" if is_standard_output(path) else str(path)
        self._mode = "a" if append else "w"
        self._file: FileIO | None = None

    def add(self, letter: Mapping[str, Any]) -> None:
        """Append one line.

        Raises:
            DataError: The file cannot be written; it then ends with the last whole line.
        """
        line = (json.dumps(letter, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        try:
            self._write(line)
        except OSError as error:
            raise DataError(
                f"{self.path} could not be written ({error.strerror}), so products that fail cannot be recorded. "
                f"Stopped at {printable(json.dumps(letter, ensure_ascii=False))[:300]}. Free some space or name "
                "another file with --dead-letter, then run the command again; what was written stays written."
            ) from error

    def _write(self, line: bytes) -> None:
        if is_standard_output(self.path):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        if self._file is None:
            self._file = FileIO(self.path, self._mode)
        write_line(self._file, line, is_shared=self._mode == "a")

    def close(self) -> None:
        """Close the file if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(slots=True)
class IngestTally:
    """Counts of a running ingest.

    Attributes:
        written: See `IngestReport`, as for the next three.
        skipped: Products whose values were already current.
        empty: Products without values.
        failed: Products that the cluster refused.
        retry_ids: Ids of products that changed while they were encoded, to be read and written once more.
        ids_without_values: Ids of products sent without values whose result is not known yet.
        written_without_values: See `IngestReport`.
        failures: The first failures.
        dead_letters: File that gets every failure.
        lost_text: See `IngestReport`.
        started: When the ingest started, by `time.perf_counter`.
    """

    written: int = 0
    skipped: int = 0
    empty: int = 0
    failed: int = 0
    retry_ids: list[str] = field(default_factory=list)
    ids_without_values: set[str] = field(default_factory=set)
    written_without_values: int = 0
    failures: list[IngestFailure] = field(default_factory=list)
    dead_letters: DeadLetters | None = None
    lost_text: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)

    def mark_without_values(self, action: BulkAction) -> BulkAction:
        """Return the same action, noting that it writes no values: its product will count as empty."""
        self.ids_without_values.add(action["_id"])
        return action

    def count_written(self, product_id: str) -> None:
        """Count a product that was written, as `written` or `empty`."""
        if product_id in self.ids_without_values:
            self.ids_without_values.discard(product_id)
            self.empty += 1
            self.written_without_values += 1
        else:
            self.written += 1

    def count_failed(self, product_id: str, reason: str) -> None:
        """Count a failure, write it to the dead letters, and list it if it is one of the first."""
        self.failed += 1
        if self.dead_letters:
            self.dead_letters.add({"id": product_id, "reason": reason})
        if len(self.failures) < MAX_LISTED_FAILURES:
            self.failures.append(IngestFailure(product_id, reason))

    def report(self) -> IngestReport:
        """Report of the counts so far."""
        seconds = time.perf_counter() - self.started
        counts = (self.written, self.skipped, self.empty, self.failed, len(self.retry_ids))
        lost_text, blank = dict(self.lost_text), self.written_without_values
        return IngestReport(*counts, seconds, tuple(self.failures), lost_text, blank)


@contextmanager
def keep_counts(tally: IngestTally) -> Iterator[None]:
    """Make an interrupt carry the counts so far.

    Raises:
        IngestInterruptError: The ingest was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise IngestInterruptError(tally.report()) from interrupt


def interrupted_report(interrupt: KeyboardInterrupt) -> IngestReport:
    """Counts until an interrupt; zeros if nothing had been counted."""
    return interrupt.report if isinstance(interrupt, IngestInterruptError) else EMPTY_REPORT


@dataclass(frozen=True, slots=True)
class IndexSurvey:
    """How many products of an index need values, and what these will cost.

    Attributes:
        index: Name of the index.
        products: Number of products in it.
        stale: Products with values of another model.
        missing: Products without the value of each signal that is written, by signal.
        bytes_per_value: Size of one value in the index, by signal.
        is_new: Whether the index does not exist yet.
        file: Name of the file with the products; empty if they are those of the index.
    """

    index: str
    products: int
    stale: int
    missing: Mapping[ModelSignal, int]
    bytes_per_value: Mapping[ModelSignal, int]
    is_new: bool = False
    file: str = ""

    def __str__(self) -> str:
        if self.file:
            note = "the index is new" if self.is_new else "those that the index already has unchanged are skipped"
            return self._add_cost(f"{self.index}: {count_of(self.products)} in {self.file}; {note}.")
        missing = (f"{number} without {NOUN_OF_VALUE[signal]}" for signal, number in self.missing.items())
        stale = f"{self.stale} with values of another model, which will be replaced"
        counts = [count_of(self.products), *missing, *([stale] if self.stale else [])]
        summary = f"{self.index}: {', '.join(counts)}."
        return self._add_cost(summary) if self.stale or any(self.missing.values()) else summary

    def _add_cost(self, summary: str) -> str:
        sizes = (f"about {self.bytes_per_value[signal]} bytes for {NOUN_OF_VALUE[signal]}" for signal in self.missing)
        total = sum(number * self.bytes_per_value[signal] for signal, number in self.missing.items())
        cost = (
            f"{summary}\nA product takes {' and '.join(sizes)}, so each copy of the index grows by "
            f"{'at most' if self.file and not self.is_new else 'about'} {format_bytes(total)}, more than half of it in "
            "_source."
        )
        shift = "Lexical scores shift slightly until segments merge: until then an updated product counts twice."
        return cost if self.is_new else f"{cost}\n{shift}"
