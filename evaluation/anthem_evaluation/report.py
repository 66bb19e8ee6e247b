"""One evaluation told three ways: a self-contained HTML page, plain text, JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from anthem_core.text import printable
from anthem_evaluation import views
from anthem_evaluation.metrics import HEADLINE

if TYPE_CHECKING:
    from anthem_evaluation.metrics import Comparison


@dataclass(frozen=True)
class Dataset:
    """What was searched and who judged it: a name, counts, and the highest grade of its scale."""

    name: str
    products: int
    queries: int
    judgments: int
    top_grade: int


@dataclass(frozen=True)
class Bundle:
    """The bundle that reranked: name, model id, size of the folder in bytes."""

    name: str
    model_id: str
    size: int


@dataclass(frozen=True)
class Timing:
    """How long one step took, in seconds."""

    step: str
    seconds: float


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile of a search, in milliseconds."""

    name: str
    p50: float
    p95: float


@dataclass(frozen=True)
class Contained:
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
class Nested:
    """Pairs of queries, one holding all words of the other and more: share in which the shorter is the larger."""

    pairs: int
    larger: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Generality:
    """Whether larger queries are more general; None stands for no nested pairs."""

    correlations: tuple[Correlation, ...]
    nested: Nested | None


@dataclass(frozen=True)
class Hit:
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
    before: tuple[Hit, ...]
    after: tuple[Hit, ...]


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
    dataset: Dataset
    cluster: str
    bundle: Bundle
    comparison: Comparison
    queries: dict[str, str] = field(default_factory=dict)
    timings: tuple[Timing, ...] = ()
    latencies: tuple[Latency, ...] = ()
    contained: Contained | None = None
    generality: Generality | None = None
    examples: tuple[Example, ...] = ()
    limits: tuple[str, ...] = ()


def render(report: Report) -> str:
    """The report as one HTML page that loads nothing; every text in it is escaped."""
    return _page().render(
        report=report,
        verdict=verdict(report),
        headline=report.comparison[HEADLINE],
        forest=views.forest(report.comparison.measures),
        bars=views.bars(report.comparison[HEADLINE].changes),
        best=_named(report, 1),
        worst=_named(report, -1),
        views=views,
    )


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, with the verdict's sentences added.

    Raises:
        ValueError: A number in it is not finite.
    """
    value: dict[str, Any] = json.loads(json.dumps({**asdict(report), "verdict": verdict(report)}, allow_nan=False))
    return value


def text(report: Report) -> str:
    """The essentials as plain text for a terminal."""
    parts = (_about(report), *verdict(report), _measures(report), _times(report), _sizes(report), _changes(report))
    examples = (_example(report, example) for example in report.examples)
    limits = (
        "\n".join(("What this does not show", *(f"  - {limit}" for limit in report.limits))) if report.limits else ""
    )
    return "\n\n".join(part for part in (*parts, *examples, limits) if part) + "\n"


def verdict(report: Report) -> list[str]:
    """What the numbers say, in sentences that stay true when reranking lost."""
    headline, queries = report.comparison[HEADLINE], report.comparison.queries
    shown = round(headline.difference, 3)
    direction = "rose" if shown > 0 else "fell" if shown < 0 else "stayed"
    change = (
        f"{HEADLINE} {direction} from {headline.baseline:.3f} to {headline.reranked:.3f} "
        f"({views.signed(headline.difference)}, 95 % interval {views.interval(headline.interval)}, "
        f"p {views.p_value(headline.p, '= ')})."
    )
    sides = (
        f"Of {views.count(queries)} {'search' if queries == 1 else 'searches'}, {headline.wins} got better, "
        f"{headline.ties} stayed level, {headline.losses} got worse."
    )
    return [change, sides, _certainty(headline.interval)]


def _certainty(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "One search cannot show whether this is chance."
    low, high = interval
    if low <= 0 <= high:
        return "The interval includes zero: these searches cannot tell the difference from chance."
    return "The interval excludes zero: a difference of this kind is unlikely to be chance."


def _named(report: Report, sign: int, most: int = 5) -> list[tuple[str, float]]:
    changes = report.comparison[HEADLINE].changes.items()
    extreme = sorted((pair for pair in changes if pair[1] * sign > 0), key=lambda pair: -sign * pair[1])[:most]
    return [(report.queries.get(query, query), change) for query, change in extreme]


@cache
def _page() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files("anthem_evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _about(report: Report) -> str:
    data, bundle = report.dataset, report.bundle
    counts = f"{data.products:,} products, {data.queries:,} queries, {data.judgments:,} judgments"
    rows = (
        ("date", report.date),
        ("machine", report.machine),
        ("cluster", report.cluster),
        ("data", f"{data.name}: {counts}"),
        ("bundle", f"{bundle.name}, model {bundle.model_id}, {views.size(bundle.size)}"),
    )
    return "\n".join((report.title, "", *(f"{name:<9}{value}" for name, value in rows)))


def _measures(report: Report) -> str:
    heads = ("measure", "before", "after", "change", "95 % interval", "p", "better", "same", "worse")
    rows = (
        (m.name, f"{m.baseline:.4f}", f"{m.reranked:.4f}", views.signed(m.difference, 4), views.interval(m.interval),
         views.p_value(m.p), str(m.wins), str(m.ties), str(m.losses))
        for m in report.comparison.measures
    )  # fmt: skip
    return _table(heads, *rows)


def _times(report: Report) -> str:
    latencies = [(row.name, f"{row.p50:.1f}", f"{row.p95:.1f}") for row in report.latencies]
    timings = [(row.step, f"{row.seconds:.1f}") for row in report.timings]
    tables = [_table(("latency, ms", "p50", "p95"), *latencies) if latencies else ""]
    tables += [_table(("step", "seconds"), *timings) if timings else ""]
    if report.contained is not None:
        tables.append(
            f"contained: {views.percent(report.contained.relevant)} of relevant products, "
            f"{views.percent(report.contained.irrelevant)} of those below grade {report.comparison.relevant}"
        )
    return "\n\n".join(table for table in tables if table)


def _sizes(report: Report) -> str:
    if report.generality is None:
        return ""
    rows = (
        (row.against, views.count(row.queries), views.correlation(row.size), views.correlation(row.words),
         views.correlation(row.idf), views.correlation(row.ceiling))
        for row in report.generality.correlations
    )  # fmt: skip
    heads = ("more general (Spearman)", "queries", "size", "fewer words", "lower mean IDF", "at most")
    parts = (_table(heads, *rows), views.nested(report.generality.nested))
    return "\n\n".join(part for part in parts if part)


def _changes(report: Report) -> str:
    sides = ((f"most gained ({HEADLINE})", _named(report, 1)), (f"most lost ({HEADLINE})", _named(report, -1)))
    lines = [
        f"{head}\n" + "\n".join(f"  {views.signed(c)}  {printable(query)}" for query, c in rows)
        for head, rows in sides
        if rows
    ]
    return "\n\n".join(lines)


def _example(report: Report, example: Example) -> str:
    rows = (
        (str(rank), views.movement(hit.was, rank), views.grade(hit.grade, report.dataset.top_grade),
         views.inside(hit.contained), printable(hit.title)[:70])
        for rank, hit in enumerate(example.after, 1)
    )  # fmt: skip
    return f"search: {printable(example.query)}\n" + _table(
        ("#", "moved", "grade", "region", "after reranking"), *rows, left=4
    )


def _table(heads: tuple[str, ...], *rows: tuple[str, ...], left: int = 0) -> str:
    """Columns as wide as their widest cell; numbers to the right, column `left` to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{'<' if i == left else '>'}{widths[i]}}" for i, cell in enumerate(row)).rstrip()
        for row in (heads, *rows)
    )
