"""How a report writes numbers, grades and ranks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_evaluation.report import NestedPairs

MISSING_VALUE = "–"

_MEASURE_QUESTIONS = {
    "nDCG": "Are the best products first?",
    "AP": "Are the relevant products near the top, all the way down?",
    "RR": "How soon does the first relevant product come?",
    "R": "What share of the relevant products is ranked this high?",
    "Judged": "What share of the hits was judged? Neither high nor low is better.",
}


def measure_question(measure: str) -> str:
    """The question that a measure answers, in plain words."""
    return _MEASURE_QUESTIONS.get(re.split("[@(]", measure, maxsplit=1)[0], "")


def format_signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; a value that rounds to zero has no sign."""
    rounded = f"{abs(value):.{digits}f}"
    sign = "" if float(rounded) == 0 else "+" if value > 0 else "−"
    return sign + rounded


def format_interval(value: tuple[float, float] | None) -> str:
    """A confidence interval, or a dash."""
    return MISSING_VALUE if value is None else f"{format_signed(value[0])} to {format_signed(value[1])}"


def format_p_value(p: float, equals: str = "") -> str:
    """A p-value with three digits after `equals`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{equals}{p:.3f}"


def format_count(value: int) -> str:
    """A whole number with thousands separators."""
    return f"{value:,}"


def format_percent(share: float) -> str:
    """A share between 0 and 1 as a percentage."""
    return f"{100 * share:.1f} %"


def format_megabytes(size: int) -> str:
    """A size in bytes as MB of a million bytes."""
    return f"{size / 1e6:.1f} MB"


def format_signal(value: float | None) -> str:
    """A signal with three significant digits, or a dash."""
    return MISSING_VALUE if value is None else f"{value:#.3g}".rstrip(".").replace("-", "−")


def format_signals(searches: Mapping[str, int]) -> str:
    """The signals that ranked the searches; with the number of searches of each if they differ."""
    if len(searches) < 2:
        return "".join(searches).replace(",", ", ") or "none"
    counts = (f"{signals.replace(',', ', ')} ({format_count(count)})" for signals, count in searches.items())
    return "; ".join(counts)


def format_share(share: float) -> str:
    """A share between 0 and 1 with two digits, `.07`; a dot for one that rounds to nothing."""
    if share < 0.005:
        return "·"
    return f"{share:.2f}".removeprefix("0")


def format_correlation(value: float | None) -> str:
    """A correlation with its sign, or a dash."""
    return MISSING_VALUE if value is None else format_signed(value, 2)


def nested_sentence(nested: NestedPairs | None) -> str:
    """A sentence on how often the shorter of two nested queries is larger; empty if there are no pairs."""
    if nested is None:
        return ""
    low, high = nested.interval
    pairs = f"{format_count(nested.pairs)} {'pair' if nested.pairs == 1 else 'pairs'}"
    return (
        f"Where one query has all words of another and more, the shorter one is larger in "
        f"{format_percent(nested.larger)} of {pairs} (95 % interval {format_percent(low)} to {format_percent(high)}, "
        "treating pairs as independent)."
    )


def format_grade(value: float | None, top: float) -> str:
    """A grade and the top of its scale, or `unjudged`."""
    return "unjudged" if value is None else f"{value:g} of {top:g}"


def grade_class(value: float | None, relevant: float) -> str:
    """CSS class of a grade: `none` (unjudged), `good` (relevant), `fair` (above 0) or `poor` (0)."""
    if value is None:
        return "none"
    return "good" if value >= relevant else "fair" if value > 0 else "poor"


def format_containment(contained: bool | None) -> str:
    """Whether a product lies inside the query's region, or a dash."""
    return MISSING_VALUE if contained is None else "● inside" if contained else "○ outside"


def format_movement(was: int | None, rank: int) -> str:
    """How far a hit moved: `▲3` up three ranks, `▼2` down two, `=` not at all, `new` if it was not a candidate."""
    if was is None:
        return "new"
    return "=" if was == rank else f"▲{was - rank}" if was > rank else f"▼{rank - was}"


def describe_movement(was: int | None, rank: int) -> str:
    """How far a hit moved, in words for screen readers."""
    if was is None:
        return "not among the candidates before"
    return "same rank" if was == rank else f"{'up' if was > rank else 'down'} {abs(was - rank)}, was {was}"


def text_table(heads: tuple[str, ...], *rows: tuple[str, ...], left: int = 0) -> str:
    """Columns as wide as their widest cell, right-aligned except for column `left`."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{'<' if i == left else '>'}{widths[i]}}" for i, cell in enumerate(row)).rstrip()
        for row in (heads, *rows)
    )
