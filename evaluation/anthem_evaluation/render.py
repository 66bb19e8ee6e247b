"""A report as a self-contained HTML page, as text for a terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anthem_core.console import printable
from anthem_evaluation import formatting
from anthem_evaluation.charts import change_bars, forest_plot
from anthem_evaluation.formatting import (
    format_containment,
    format_correlation,
    format_count,
    format_grade,
    format_interval,
    format_megabytes,
    format_movement,
    format_p_value,
    format_percent,
    format_signals,
    format_signed,
    nested_sentence,
    text_table,
)
from anthem_evaluation.metrics import HEADLINE_MEASURE, SIGNIFICANCE_LEVEL
from anthem_evaluation.templates import load_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_evaluation.metrics import MeasureComparison
    from anthem_evaluation.report import Example, Report, ResultSummary

MAX_TEXT_EXAMPLES = 5  # more than these are only in the page
LARGEST_USUAL_MISSING_SHARE = 0.1  # of the judged products; if more are missing, a sentence follows the headline


def render_html(report: Report) -> str:
    """The report as one HTML page that loads nothing; every text in it is escaped."""
    headline = report.comparison[HEADLINE_MEASURE]
    return load_template("report.html.j2").render(
        report=report,
        summary=summarise(report),
        headline=headline,
        forest=forest_plot(report.comparison.measures),
        bars=change_bars(headline.changes),
        gains=_largest_changes(report, 1),
        losses=_largest_changes(report, -1),
        fmt=formatting,
    )


def report_to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, with the sentences of the summary as `verdict`.

    Raises:
        ValueError: A number in it is not finite.
    """
    value: dict[str, Any] = json.loads(json.dumps({**asdict(report), "verdict": summarise(report)}, allow_nan=False))
    return value


def render_text(report: Report) -> str:
    """The main results as plain text for a terminal."""
    examples = [_example_text(example, report.dataset.top_grade) for example in report.examples]
    if len(examples) > MAX_TEXT_EXAMPLES:
        examples = [f"The HTML report shows {len(examples)} searches side by side."]
    limits = ["What this does not show", *(f"  - {limit}" for limit in report.limits)] if report.limits else []
    parts = (
        _header_text(report),
        *summarise(report),
        _measures_table(report),
        _results_table("mode", report.modes),
        _results_table("set of signals", report.signal_sets),
        _results_table("queries", report.slices),
        _cost_text(report),
        _generality_text(report),
        _changes_text(report),
        *examples,
        "\n".join(limits),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def summarise(report: Report) -> list[str]:
    """The result in sentences that hold whether reranking won or lost."""
    headline, queries = report.comparison[HEADLINE_MEASURE], report.comparison.queries
    if not (headline.wins or headline.losses):
        same = f"{HEADLINE_MEASURE} is {headline.baseline:.3f} before and after: no search changed in quality."
        return [same, *_missing_sentence(report)]
    rounded = round(headline.difference, 3)
    direction = "rose" if rounded > 0 else "fell" if rounded < 0 else "stayed"
    change = (
        f"{HEADLINE_MEASURE} {direction} from {headline.baseline:.3f} to {headline.reranked:.3f} "
        f"({format_signed(headline.difference)}, 95 % interval {format_interval(headline.interval)}, "
        f"p {format_p_value(headline.p, '= ')})."
    )
    searches = f"{format_count(queries)} {'search' if queries == 1 else 'searches'}"
    sides = f"Of {searches}, {headline.wins} improved, {headline.ties} did not change, {headline.losses} got worse."
    significance = _significance_sentence(headline, is_corrected=report.is_corrected)
    return [change, *_missing_sentence(report), sides, significance]


def _missing_sentence(report: Report) -> list[str]:
    """That many judged products are not in the index, so that the values of both orders are too low."""
    found = report.missing
    if found is None or found.missing <= LARGEST_USUAL_MISSING_SHARE * found.judged:
        return []
    return [
        f"{found} The values before and after are therefore too low. Check that the judgments belong to this index."
    ]


def _significance_sentence(headline: MeasureComparison, *, is_corrected: bool) -> str:
    if headline.interval is None:
        return "A single search cannot show whether the difference is due to chance."
    if is_corrected:
        likely = "unlikely to be" if headline.p < SIGNIFICANCE_LEVEL else "possibly"
        return f"With Holm's correction for everything that is compared, the difference is {likely} due to chance."
    return _interval_sentence(headline.interval)


def _interval_sentence(interval: tuple[float, float]) -> str:
    low, high = interval
    if low <= 0 <= high:
        return "The interval includes zero: the difference may be due to chance."
    return "The interval excludes zero: the difference is unlikely to be due to chance."


def _largest_changes(report: Report, sign: int, count: int = 5) -> list[tuple[str, float]]:
    """Queries with the largest gains (sign 1) or losses (sign −1), with their change."""
    changes = report.comparison[HEADLINE_MEASURE].changes.items()
    extreme = sorted((item for item in changes if item[1] * sign > 0), key=lambda item: -sign * item[1])[:count]
    return [(report.queries.get(query, query), change) for query, change in extreme]


def _header_text(report: Report) -> str:
    data, bundle = report.dataset, report.bundle
    counts = f"{data.products:,} products, {data.queries:,} queries, {data.judgments:,} judgments"
    rows = (
        ("date", report.date),
        ("machine", report.machine),
        ("cluster", report.cluster),
        ("data", f"{data.name}: {counts}"),
        ("bundle", f"{bundle.name}, model {bundle.model_id}, {format_megabytes(bundle.size)}"),
        ("signals", format_signals(report.signals)),
    )
    return "\n".join((report.title, "", *(f"{name:<9}{value}" for name, value in rows)))


def _measures_table(report: Report) -> str:
    heads = ("measure", "before", "after", "change", "95 % interval", "p", "better", "same", "worse")
    rows = (
        (m.name, f"{m.baseline:.4f}", f"{m.reranked:.4f}", format_signed(m.difference, 4), format_interval(m.interval),
         format_p_value(m.p), str(m.wins), str(m.ties), str(m.losses))
        for m in report.comparison.measures
    )  # fmt: skip
    return text_table(heads, *rows)


def _results_table(head: str, results: Sequence[ResultSummary]) -> str:
    heads = (head, "queries", "before", "after", "change", "95 % interval", "p", "better", "worse")
    rows = (
        (r.name, str(r.queries), f"{r.baseline:.4f}", f"{r.reranked:.4f}", format_signed(r.difference, 4),
         format_interval(r.interval), format_p_value(r.p), str(r.wins), str(r.losses))
        for r in results
    )  # fmt: skip
    return f"{HEADLINE_MEASURE} by {head}\n{text_table(heads, *rows)}" if results else ""


def _cost_text(report: Report) -> str:
    latencies = [(row.name, *(f"{value:.1f}" for value in (row.p50, row.p95, row.p99))) for row in report.latencies]
    timings = [(row.step, f"{row.seconds:.1f}") for row in report.timings]
    parts = [text_table(("latency, ms", "p50", "p95", "p99"), *latencies) if latencies else ""]
    parts += [text_table(("step", "seconds"), *timings) if timings else ""]
    if report.contained is not None:
        parts.append(
            f"contained: {format_percent(report.contained.relevant)} of relevant products, "
            f"{format_percent(report.contained.irrelevant)} of those below grade {report.comparison.relevant:g}"
        )
    return "\n\n".join(part for part in parts if part)


def _generality_text(report: Report) -> str:
    if report.generality is None:
        return ""
    heads = ("more general (Spearman)", "queries", "size", "fewer words", "lower mean IDF", "at most")
    rows = (
        (row.against, format_count(row.queries), *map(format_correlation, (row.size, row.words, row.idf, row.ceiling)))
        for row in report.generality.correlations
    )
    parts = (text_table(heads, *rows), nested_sentence(report.generality.nested))
    return "\n\n".join(part for part in parts if part)


def _changes_text(report: Report) -> str:
    sides = (("most gained", _largest_changes(report, 1)), ("most lost", _largest_changes(report, -1)))
    return "\n\n".join(
        "\n".join([f"{head} ({HEADLINE_MEASURE})", *(f"  {format_signed(c)}  {printable(query)}" for query, c in rows)])
        for head, rows in sides
        if rows
    )


def _example_text(example: Example, top_grade: float) -> str:
    rows = (
        (str(rank), format_movement(hit.was, rank), format_grade(hit.grade, top_grade),
         format_containment(hit.contained), printable(hit.title)[:70])
        for rank, hit in enumerate(example.after, 1)
    )  # fmt: skip
    table = text_table(("#", "moved", "grade", "region", "after reranking"), *rows, left=4)
    return f"search: {printable(example.query)}\n{table}"
