"""The time budget: what this process may spend on encoding and scoring one search."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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
