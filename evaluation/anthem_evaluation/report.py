"""The content of an evaluation report: plain data, which `render` turns into a page, text or JSON.

The fields are the keys of `anthem demo --json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anthem_evaluation.metrics import Comparison


@dataclass(frozen=True)
class DatasetSummary:
    """The dataset: its name, counts, and the highest grade of its scale."""

    name: str
    products: int
    queries: int
    judgments: int
    top_grade: float


@dataclass(frozen=True)
class MissingProducts:
    """Number of the judged products that are not in the index, and of all judged products."""

    missing: int
    judged: int

    def __str__(self) -> str:
        return f"{self.missing:,} of {self.judged:,} judged products are not in the index."


@dataclass(frozen=True)
class BundleSummary:
    """The bundle used for reranking: its name, its model id, and the size of its folder in bytes."""

    name: str
    model_id: str
    size: int


@dataclass(frozen=True)
class StepTiming:
    """Duration of one step, in seconds."""

    step: str
    seconds: float


@dataclass(frozen=True)
class SearchLatency:
    """Median, 95th and 99th percentile of the duration of a search, in milliseconds."""

    name: str
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class ResultSummary:
    """nDCG@10 of some queries or of one mode, lexical and reranked.

    Attributes:
        name: The mode, or the group of queries.
        queries: Number of queries measured.
        baseline: Mean of the lexical order.
        reranked: Mean of the reranked order.
        difference: Mean of reranked − baseline.
        interval: 95 % confidence interval of the difference; None for fewer than two queries.
        p: Two-sided p-value of the paired t-test.
        wins: Number of queries that became better.
        losses: Number of queries that became worse.
    """

    name: str
    queries: int
    baseline: float
    reranked: float
    difference: float
    interval: tuple[float, float] | None
    p: float
    wins: int
    losses: int


@dataclass(frozen=True)
class ContainmentShares:
    """Shares (0 to 1) of the judged products inside their query's region at default slack, relevant and not."""

    relevant: float
    irrelevant: float


@dataclass(frozen=True)
class Correlation:
    """Spearman correlations of an indicator of generality with the size of queries and with simpler predictors.

    Attributes:
        against: The indicator, in words.
        queries: Number of queries.
        size: Correlation of the size.
        words: Correlation of fewer words; None if all queries have the same number.
        idf: Correlation of a lower mean inverse document frequency; None if all queries have the same.
        ceiling: The highest correlation that ties allow.
    """

    against: str
    queries: int
    size: float
    words: float | None
    idf: float | None
    ceiling: float


@dataclass(frozen=True)
class NestedPairs:
    """Pairs of queries where the longer has all words of the shorter: number, and share where the shorter is larger."""

    pairs: int
    larger: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Generality:
    """Whether larger queries are more general; `nested` is None if there are no nested pairs."""

    correlations: tuple[Correlation, ...]
    nested: NestedPairs | None


@dataclass(frozen=True)
class ExampleHit:
    """One product in a list of hits; None where a value is unknown.

    Attributes:
        product: Its id.
        title: Its title.
        grade: Its judgment.
        contained: Whether it lies inside the query's region.
        lexical: The lexical score.
        containment: The containment signal.
        attention: The attention signal.
        was: Its rank before reranking, from 1; None if it was not among the candidates.
    """

    product: str
    title: str
    grade: float | None = None
    contained: bool | None = None
    lexical: float | None = None
    containment: float | None = None
    attention: float | None = None
    was: int | None = None


@dataclass(frozen=True)
class ExampleGrid:
    """Attention between the words of a query, a row each, and those of a title, a column each, as shares."""

    title: str
    query_words: tuple[str, ...]
    title_words: tuple[str, ...]
    cells: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class MapSpot:
    """A hit on the map of an example: its rank after reranking, and where its point and its number are drawn."""

    rank: int
    title: str
    grade: float | None
    place: tuple[float, ...]
    label: tuple[float, ...]
    inside: bool
    moved_up: bool


@dataclass(frozen=True)
class ExampleMap:
    """The region of a query with and without its slack, as radii around the middle, and the hits after reranking.

    The picture is 200 units wide; places are `(x, y)` from its middle, y downwards. `errors` says how true the map is.
    """

    radius: float
    core: float
    spots: tuple[MapSpot, ...]
    errors: str
    description: str


@dataclass(frozen=True)
class Example:
    """One search with its first hits before and after reranking, best first, a grid and a map of the latter."""

    query_id: str
    query: str
    before: tuple[ExampleHit, ...]
    after: tuple[ExampleHit, ...]
    grid: ExampleGrid | None = None
    map: ExampleMap | None = None


@dataclass(frozen=True)
class Report:
    """Everything a report shows. Rendering only rounds, sorts and draws.

    Attributes:
        title: The heading.
        date: The day, as printed.
        machine: The machine, in words.
        dataset: What was searched.
        cluster: Product and version of the cluster.
        bundle: The bundle used for reranking.
        comparison: Lexical (baseline) against reranked.
        signals: Number of searches by the signals that ranked them, such as `lexical,attention`.
        queries: Query id to text; a query without a text is shown by its id.
        timings: The steps of the run.
        latencies: One row per kind of search.
        contained: Shares of contained products; None if not measured.
        generality: Size of the queries against their generality; None if not measured.
        examples: Searches side by side.
        limits: What the report does not show, one sentence each.
        modes: The headline measure of every mode that was tried, if there were several.
        signal_sets: The headline measure of every set of signals, if the index has several.
        slices: The headline measure of groups of queries.
        missing: Judged products that the index lacks; None if not counted.
        is_corrected: Whether the p-values have Holm's correction for all measures, modes and sets of signals.
    """

    title: str
    date: str
    machine: str
    dataset: DatasetSummary
    cluster: str
    bundle: BundleSummary
    comparison: Comparison
    signals: dict[str, int] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    timings: tuple[StepTiming, ...] = ()
    latencies: tuple[SearchLatency, ...] = ()
    contained: ContainmentShares | None = None
    generality: Generality | None = None
    examples: tuple[Example, ...] = ()
    limits: tuple[str, ...] = ()
    modes: tuple[ResultSummary, ...] = ()
    signal_sets: tuple[ResultSummary, ...] = ()
    slices: tuple[ResultSummary, ...] = ()
    missing: MissingProducts | None = None
    is_corrected: bool = False
