"""Two limits on what reranking may cost: a circuit breaker over all searches, and a budget for each."""

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
    """Leaves searches plain for `pause` seconds after `failures` in a row, then lets one of them try.

    Safe to share between threads.
    """

    failures: int = 5
    pause: float = 30.0
    clock: Callable[[], float] = time.monotonic
    _row: int = field(default=0, init=False)
    _until: float = field(default=0.0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    @property
    def open(self) -> bool:
        """Whether searches are left plain."""
        return self._row >= self.failures

    def refusal(self) -> str | None:
        """Why the next search is to be left plain, or None where it may be reranked."""
        with self._lock:
            left = self._until - self.clock()
            if not self.open:
                return None
            if left > 0:
                return f"reranking failed {self._row} times in a row; it is tried again in {left:.0f} s"
            self._until = self.clock() + self.pause  # this search tries, the others wait for what becomes of it
            return None

    def succeeded(self) -> None:
        """Close: a search was reranked."""
        with self._lock:
            if self.open:
                _log.warning("Searches are reranked again")
            self._row = 0

    def failed(self) -> None:
        """Count a failure, and open at the last that is borne."""
        with self._lock:
            self._row += 1
            self._until = self.clock() + self.pause
            if self._row == self.failures:
                _log.warning("Reranking failed %d times in a row; a pause of %g s", self._row, self.pause)


@dataclass(slots=True)
class TimeBudget:
    """Seconds that our own work on one search may take, and what it took; None is no limit."""

    seconds: float | None
    used: float = 0.0

    @property
    def over(self) -> bool:
        """Whether more was used than there is."""
        return self.seconds is not None and self.used > self.seconds

    def spend(self, work: Callable[[], T]) -> T:
        """Do some work and count its time."""
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.used += time.perf_counter() - started

    def __str__(self) -> str:
        return f"our own work took {self.used * 1000:.1f} ms; the budget is {(self.seconds or 0) * 1000:g} ms"
