"""The circuit breaker: it skips reranking for a while after repeated failures."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

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
        """Count a failure; the breaker opens after `failures` in a row."""
        with self._lock:
            self._failures_in_a_row += 1
            self._open_until = self.clock() + self.pause
            if self._failures_in_a_row == self.failures:
                _log.warning(
                    "Reranking failed %d times in a row; it is paused for %g s", self._failures_in_a_row, self.pause
                )
