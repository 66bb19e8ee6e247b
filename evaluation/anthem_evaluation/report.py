"""One evaluation told three ways: a self-contained HTML page, plain text, JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from anthem_core.console import printable
from anthem_evaluation import formatting
from anthem_evaluation.metrics import HEADLINE_MEASURE

if TYPE_CHECKING:
    from anthem_evaluation.metrics import Comparison


@dataclass(frozen=True)
class DatasetSummary:
    """What was searched and who judged it: a name, counts, and the highest grade of its scale."""

    name: str
    products: int
    queries: int
    judgments: int
    top_grade: int


@dataclass(frozen=True)
class BundleSummary:
    """The bundle that reranked: name, model id, size of the folder in bytes."""

    name: str
    model_id: str
    size: int


@dataclass(frozen=True)
class StepTiming:
    """How long one step took, in seconds."""

    step: str
    seconds: float


@dataclass(frozen=True)
class SearchLatency:
    """Median and 95th percentile of a search, in milliseconds."""

    name: str
    p50: float
    p95: float


@dataclass(frozen=True)
class ContainmentShares:
    """Shares (0 to 1) of judged products, relevant and not, that lie inside their query's region at default slack."""

    relevant: float
    irrelevant: float


@dataclass(frozen=True)
class Correlation:
    """Spearman correlations of queries' sizes, and of what size has to beat, with how general the queries are.

    Attributes:
        against: What tells how general a query is, in words.
        queries: Number of queries.
        size: Correlation of the size.
        words: Correlation of fewer words; None where all queries have as many.
        idf: Correlation of a lower mean inverse document frequency; None where all have the same.
        ceiling: The most that ties allow.
    """

    against: str
    queries: int
    size: float
    words: float | None
    idf: float | None
    ceiling: float


@dataclass(frozen=True)
class NestedPairs:
    """Pairs of queries, one holding all words of the other and more: share in which the shorter is the larger."""

    pairs: int
    larger: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Generality:
    """Whether larger queries are more general; None stands for no nested pairs."""

    correlations: tuple[Correlation, ...]
    nested: NestedPairs | None


@dataclass(frozen=True)
class ExampleHit:
    """One product in a list of hits; None stands for what is not known.

    Attributes:
        product: Its id.
        title: Its title.
        grade: Its judgment.
        contained: Whether it lies inside the query's region.
        lexical: The lexical score.
        containment: The containment signal.
        attention: The attention signal.
        was: Its rank before reranking, from 1; None when it was not among the candidates shown to us.
    """

    product: str
    title: str
    grade: int | None = None
    contained: bool | None = None
    lexical: float | None = None
    containment: float | None = None
    attention: float | None = None
    was: int | None = None


@dataclass(frozen=True)
class Example:
    """One search, its first hits before and after reranking, best first."""

    query_id: str
    query: str
    before: tuple[ExampleHit, ...]
    after: tuple[ExampleHit, ...]


@dataclass(frozen=True)
class Report:
    """Everything a report says; it computes nothing beyond rounding, sorting and drawing.

    Attributes:
        title: The heading.
        date: The day, as it shall be printed.
        machine: The machine in words.
        dataset: What was searched.
        cluster: Product and version of the cluster.
        bundle: The bundle that reranked.
        comparison: Lexical (baseline) against reranked.
        queries: Query id to text, for the queries named by their change; an id without text stands for itself.
        timings: The steps of the run.
        latencies: One row a kind of search.
        contained: Shares contained; None where not measured.
        generality: Size of the queries against their generality; None where not measured.
        examples: Searches side by side.
        limits: What this does not show, a sentence each.
    """

    title: str
    date: str
    machine: str
    dataset: DatasetSummary
    cluster: str
    bundle: BundleSummary
    comparison: Comparison
    queries: dict[str, str] = field(default_factory=dict)
    timings: tuple[StepTiming, ...] = ()
    latencies: tuple[SearchLatency, ...] = ()
    contained: ContainmentShares | None = None
    generality: Generality | None = None
    examples: tuple[Example, ...] = ()
    limits: tuple[str, ...] = ()


def render_html(report: Report) -> str:
    """The report as one HTML page that loads nothing; every text in it is escaped."""
    return _page_template().render(
        report=report,
        verdict=summarise(report),
        headline=report.comparison[HEADLINE_MEASURE],
        forest=formatting.forest_plot(report.comparison.measures),
        bars=formatting.change_bars(report.comparison[HEADLINE_MEASURE].changes),
        best=_largest_changes(report, 1),
        worst=_largest_changes(report, -1),
        views=formatting,
    )


def report_to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, with the verdict's sentences added.

    Raises:
        ValueError: A number in it is not finite.
    """
    value: dict[str, Any] = json.loads(json.dumps({**asdict(report), "verdict": summarise(report)}, allow_nan=False))
    return value


def render_text(report: Report) -> str:
    """The essentials as plain text for a terminal."""
    parts = (
        _header_text(report),
        *summarise(report),
        _measures_table(report),
        _cost_text(report),
        _generality_text(report),
        _changes_text(report),
    )
    examples = (_example_text(report, example) for example in report.examples)
    limits = (
        "\n".join(("What this does not show", *(f"  - {limit}" for limit in report.limits))) if report.limits else ""
    )
    return "\n\n".join(part for part in (*parts, *examples, limits) if part) + "\n"


def summarise(report: Report) -> list[str]:
    """What the numbers say, in sentences that stay true when reranking lost."""
    headline, queries = report.comparison[HEADLINE_MEASURE], report.comparison.queries
    shown = round(headline.difference, 3)
    direction = "rose" if shown > 0 else "fell" if shown < 0 else "stayed"
    change = (
        f"{HEADLINE_MEASURE} {direction} from {headline.baseline:.3f} to {headline.reranked:.3f} "
        f"({formatting.format_signed(headline.difference)}, 95 % interval {formatting.format_interval(headline.interval)}, "
        f"p {formatting.format_p_value(headline.p, '= ')})."
    )
    sides = (
        f"Of {formatting.format_count(queries)} {'search' if queries == 1 else 'searches'}, {headline.wins} got better, "
        f"{headline.ties} stayed level, {headline.losses} got worse."
    )
    return [change, sides, _significance_sentence(headline.interval)]


def _significance_sentence(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "One search cannot show whether this is chance."
    low, high = interval
    if low <= 0 <= high:
        return "The interval includes zero: these searches cannot tell the difference from chance."
    return "The interval excludes zero: a difference of this kind is unlikely to be chance."


def _largest_changes(report: Report, sign: int, most: int = 5) -> list[tuple[str, float]]:
    changes = report.comparison[HEADLINE_MEASURE].changes.items()
    extreme = sorted((pair for pair in changes if pair[1] * sign > 0), key=lambda pair: -sign * pair[1])[:most]
    return [(report.queries.get(query, query), change) for query, change in extreme]


@cache
def _page_template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files("anthem_evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _header_text(report: Report) -> str:
    data, bundle = report.dataset, report.bundle
    counts = f"{data.products:,} products, {data.queries:,} queries, {data.judgments:,} judgments"
    rows = (
        ("date", report.date),
        ("machine", report.machine),
        ("cluster", report.cluster),
        ("data", f"{data.name}: {counts}"),
        ("bundle", f"{bundle.name}, model {bundle.model_id}, {formatting.format_megabytes(bundle.size)}"),
    )
    return "\n".join((report.title, "", *(f"{name:<9}{value}" for name, value in rows)))


def _measures_table(report: Report) -> str:
    heads = ("measure", "before", "after", "change", "95 % interval", "p", "better", "same", "worse")
    rows = (
        (m.name, f"{m.baseline:.4f}", f"{m.reranked:.4f}", formatting.format_signed(m.difference, 4), formatting.format_interval(m.interval),
         formatting.format_p_value(m.p), str(m.wins), str(m.ties), str(m.losses))
        for m in report.comparison.measures
    )  # fmt: skip
    return _text_table(heads, *rows)


def _cost_text(report: Report) -> str:
    latencies = [(row.name, f"{row.p50:.1f}", f"{row.p95:.1f}") for row in report.latencies]
    timings = [(row.step, f"{row.seconds:.1f}") for row in report.timings]
    tables = [_text_table(("latency, ms", "p50", "p95"), *latencies) if latencies else ""]
    tables += [_text_table(("step", "seconds"), *timings) if timings else ""]
    if report.contained is not None:
        tables.append(
            f"contained: {formatting.format_percent(report.contained.relevant)} of relevant products, "
            f"{formatting.format_percent(report.contained.irrelevant)} of those below grade {report.comparison.relevant}"
        )
    return "\n\n".join(table for table in tables if table)


def _generality_text(report: Report) -> str:
    if report.generality is None:
        return ""
    rows = (
        (row.against, formatting.format_count(row.queries), formatting.format_correlation(row.size), formatting.format_correlation(row.words),
         formatting.format_correlation(row.idf), formatting.format_correlation(row.ceiling))
        for row in report.generality.correlations
    )  # fmt: skip
    heads = ("more general (Spearman)", "queries", "size", "fewer words", "lower mean IDF", "at most")
    parts = (_text_table(heads, *rows), formatting.nested_sentence(report.generality.nested))
    return "\n\n".join(part for part in parts if part)


def _changes_text(report: Report) -> str:
    sides = (
        (f"most gained ({HEADLINE_MEASURE})", _largest_changes(report, 1)),
        (f"most lost ({HEADLINE_MEASURE})", _largest_changes(report, -1)),
    )
    lines = [
        f"{head}\n" + "\n".join(f"  {formatting.format_signed(c)}  {printable(query)}" for query, c in rows)
        for head, rows in sides
        if rows
    ]
    return "\n\n".join(lines)


def _example_text(report: Report, example: Example) -> str:
    rows = (
        (str(rank), formatting.format_movement(hit.was, rank), formatting.format_grade(hit.grade, report.dataset.top_grade),
         formatting.format_containment(hit.contained), printable(hit.title)[:70])
        for rank, hit in enumerate(example.after, 1)
    )  # fmt: skip
    return f"search: {printable(example.query)}\n" + _text_table(
        ("#", "moved", "grade", "region", "after reranking"), *rows, left=4
    )


def _text_table(heads: tuple[str, ...], *rows: tuple[str, ...], left: int = 0) -> str:
    """Columns as wide as their widest cell; numbers to the right, column `left` to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{'<' if i == left else '>'}{widths[i]}}" for i, cell in enumerate(row)).rstrip()
        for row in (heads, *rows)
    )
