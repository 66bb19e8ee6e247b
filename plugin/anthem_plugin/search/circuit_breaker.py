"""Two limits on the cost of reranking: a circuit breaker for all searches, and a time budget for each."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class CircuitBreaker:
    """Skips reranking for `pause` seconds after `failures` in a row, then lets one search try.

    Safe to share between threads.
    """

    failures: int = 5
    pause: float = 30.0
    clock: Callable[[], float] = time.monotonic
    _failures_in_a_row: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    @property
    def open(self) -> bool:
        """Whether reranking is skipped."""
        return self._failures_in_a_row >= self.failures

    def refusal(self) -> str | None:
        """Reason to skip the next search, or None if it may be reranked."""
        with self._lock:
            seconds_left = self._open_until - self.clock()
            if not self.open:
                return None
            if seconds_left > 0:
                failures = self._failures_in_a_row
                return f"reranking failed {failures} times in a row; the next try is in {seconds_left:.0f} s"
            self._open_until = self.clock() + self.pause  # this search tries; the others wait for its result
            return None

    def record_success(self) -> None:
        """Close the breaker after a search was reranked."""
        with self._lock:
            if self.open:
                _log.warning("Searches are reranked again")
            self._failures_in_a_row = 0

    def record_failure(self) -> None:
        """Count a failure; the breaker opens once there were `failures` in a row."""
        with self._lock:
            self._failures_in_a_row += 1
            self._open_until = self.clock() + self.pause
            if self._failures_in_a_row == self.failures:
                _log.warning(
                    "Reranking failed %d times in a row; it is paused for %g s", self._failures_in_a_row, self.pause
                )


@dataclass(slots=True)
class TimeBudget:
    """Seconds that this process may spend on one search, and has spent; `seconds` is None if there is no limit."""

    seconds: float | None
    used: float = 0.0

    @classmethod
    def of_milliseconds(cls, milliseconds: float | None) -> TimeBudget:
        """A budget in milliseconds."""
        return cls(None if milliseconds is None else milliseconds / 1000)

    @property
    def exceeded(self) -> bool:
        """Whether more time was spent than the budget allows."""
        return self.seconds is not None and self.used > self.seconds

    def spend(self, work: Callable[[], T]) -> T:
        """Run some work and count its time."""
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.used += time.perf_counter() - started

    def __str__(self) -> str:
        return f"encoding and scoring took {self.used * 1000:.1f} ms; the budget is {(self.seconds or 0) * 1000:g} ms"
