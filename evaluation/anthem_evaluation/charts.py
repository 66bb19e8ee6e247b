"""Geometry of the report's charts: positions in percent of the drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_evaluation.formatting import format_signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anthem_evaluation.metrics import MeasureComparison


@dataclass(frozen=True)
class IntervalMark:
    """One row of the forest plot: a mean and the ends of its interval."""

    name: str
    place: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class ForestPlot:
    """Differences with their intervals; zero is at 50 %, the edges are ± `reach`."""

    reach: float
    marks: tuple[IntervalMark, ...]


@dataclass(frozen=True)
class ChangeBar:
    """One query in the chart of changes: left edge, width, top, height, and the CSS class of its direction."""

    x: float
    width: float
    y: float
    height: float
    kind: str


def forest_plot(measures: Iterable[MeasureComparison]) -> ForestPlot:
    """Differences and their intervals on one scale, symmetric about zero; Judged is left out, as it is not quality."""
    rows = [(m, m.interval or (m.difference, m.difference)) for m in measures if not m.name.startswith("Judged")]
    reach = _axis_limit(max((abs(end) for _, interval in rows for end in interval), default=0.0))
    marks = (
        IntervalMark(
            m.name,
            _position(m.difference, reach),
            _position(low, reach),
            _position(high, reach),
            format_signed(m.difference),
        )
        for m, (low, high) in rows
    )
    return ForestPlot(reach, tuple(marks))


def change_bars(changes: Mapping[str, float]) -> tuple[ChangeBar, ...]:
    """One bar per query from the middle, largest gain first; the largest change fills its half."""
    ordered = sorted(changes.values(), reverse=True)
    largest = max((abs(change) for change in ordered), default=0.0) or 1.0
    width = 100 / max(1, len(ordered))
    return tuple(_change_bar(number * width, width, 50 * change / largest) for number, change in enumerate(ordered))


def _change_bar(x: float, width: float, rise: float) -> ChangeBar:
    kind = "gain" if rise > 0 else "loss" if rise < 0 else "level"
    return ChangeBar(round(x, 3), round(width, 3), round(50 - max(rise, 0.0), 2), round(max(abs(rise), 0.5), 2), kind)


def _position(value: float, reach: float) -> float:
    return round(50 + 50 * value / reach, 2)


def _axis_limit(value: float) -> float:
    """The smallest of 1, 2, 5 × 10ⁿ that is not below `value`; at least 0.01."""
    value = max(value, 0.01)
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 5, 10, 20) if step * unit >= value)
