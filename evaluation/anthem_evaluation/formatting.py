"""How numbers are written and where the report's drawings put their marks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anthem_evaluation.metrics import MeasureComparison
    from anthem_evaluation.report import NestedPairs

MISSING_VALUE = "–"

_MEASURE_QUESTIONS = {
    "nDCG": "Are the best products first?",
    "AP": "Are the relevant products high, all the way down?",
    "RR": "How soon comes the first relevant product?",
    "R": "What share of the relevant products is this high?",
    "Judged": "What share of the hits did anybody judge? Neither high nor low is better.",
}


@dataclass(frozen=True)
class IntervalMark:
    """One row of the chart of differences; places in percent of its width."""

    name: str
    place: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class ForestPlot:
    """The chart of differences; zero is at 50 %, the edges are ± `reach`."""

    reach: float
    marks: tuple[IntervalMark, ...]


@dataclass(frozen=True)
class ChangeBar:
    """One query of the chart of changes: left edge, width, top and height in percent, and which way it went."""

    x: float
    width: float
    y: float
    height: float
    kind: str


def measure_question(measure: str) -> str:
    """The question a measure answers, in plain words."""
    return _MEASURE_QUESTIONS.get(re.split("[@(]", measure, maxsplit=1)[0], "")


def format_signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; what rounds to zero has none."""
    rounded = f"{abs(value):.{digits}f}"
    sign = "" if float(rounded) == 0 else "+" if value > 0 else "−"
    return sign + rounded


def format_interval(value: tuple[float, float] | None) -> str:
    """A confidence interval, or a dash where there is none."""
    return MISSING_VALUE if value is None else f"{format_signed(value[0])} to {format_signed(value[1])}"


def format_p_value(p: float, equals: str = "") -> str:
    """A p with three digits after `equals`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{equals}{p:.3f}"


def format_count(value: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{value:,}"


def format_percent(share: float) -> str:
    """A share of 1 in percent."""
    return f"{100 * share:.1f} %"


def format_megabytes(octets: int) -> str:
    """A size in MB of a million bytes."""
    return f"{octets / 1e6:.1f} MB"


def format_signal(value: float | None) -> str:
    """A signal with three significant digits, or a dash."""
    return MISSING_VALUE if value is None else f"{value:#.3g}".rstrip(".").replace("-", "−")


def format_correlation(value: float | None) -> str:
    """A correlation with its sign, or a dash."""
    return MISSING_VALUE if value is None else format_signed(value, 2)


def nested_sentence(pairs: NestedPairs | None) -> str:
    """What nested pairs of queries showed, as a sentence; empty where there is none."""
    if pairs is None:
        return ""
    low, high = pairs.interval
    return (
        f"Where one query holds all words of another and more, the shorter one is larger in {format_percent(pairs.larger)} "
        f"of {format_count(pairs.pairs)} {'pair' if pairs.pairs == 1 else 'pairs'} (95 % interval {format_percent(low)} to "
        f"{format_percent(high)}, counting pairs as independent)."
    )


def format_grade(value: int | None, top: int) -> str:
    """A judgment beside the top of its scale, or `unjudged`."""
    return "unjudged" if value is None else f"{value} of {top}"


def grade_colour(value: int | None, relevant: int) -> str:
    """How a grade is coloured: none, good (relevant), poor (not at all), fair (between)."""
    if value is None:
        return "none"
    return "good" if value >= relevant else "fair" if value > 0 else "poor"


def format_containment(contained: bool | None) -> str:
    """Whether a product lies in the query's region."""
    return MISSING_VALUE if contained is None else "● inside" if contained else "○ outside"


def format_movement(was: int | None, rank: int) -> str:
    """How far a hit moved: `▲3` up three places, `▼2` down two, `=` not at all, `new` from beyond the candidates."""
    if was is None:
        return "new"
    return "=" if was == rank else f"▲{was - rank}" if was > rank else f"▼{rank - was}"


def describe_movement(was: int | None, rank: int) -> str:
    """The same for those who hear the page."""
    if was is None:
        return "not among the candidates before"
    return "same place" if was == rank else f"{'up' if was > rank else 'down'} {abs(was - rank)}, was {was}"


def forest_plot(measures: Iterable[MeasureComparison]) -> ForestPlot:
    """Differences with their intervals on one scale, symmetric about zero; Judged is no measure of quality."""
    shown = [(m, m.interval or (m.difference, m.difference)) for m in measures if not m.name.startswith("Judged")]
    reach = _axis_limit(max((abs(end) for _, ends in shown for end in ends), default=0.0))
    marks = (
        IntervalMark(
            m.name,
            _position(m.difference, reach),
            _position(low, reach),
            _position(high, reach),
            format_signed(m.difference),
        )
        for m, (low, high) in shown
    )
    return ForestPlot(reach, tuple(marks))


def change_bars(changes: Mapping[str, float]) -> tuple[ChangeBar, ...]:
    """Every query's change as a bar from the middle, greatest gain first; the largest change fills its half."""
    ordered = sorted(changes.values(), reverse=True)
    largest = max((abs(change) for change in ordered), default=0.0) or 1.0
    width = 100 / max(1, len(ordered))
    return tuple(_change_bar(place * width, width, 50 * change / largest) for place, change in enumerate(ordered))


def _change_bar(x: float, width: float, rise: float) -> ChangeBar:
    kind = "gain" if rise > 0 else "loss" if rise < 0 else "level"
    return ChangeBar(round(x, 3), round(width, 3), round(50 - max(rise, 0.0), 2), round(max(abs(rise), 0.5), 2), kind)


def _position(value: float, reach: float) -> float:
    return round(50 + 50 * value / reach, 2)


def _axis_limit(value: float) -> float:
    """The next of 1, 2, 5 × 10ⁿ that is not below `value`, at least 0.01."""
    value = max(value, 0.01)
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 5, 10, 20) if step * unit >= value)
