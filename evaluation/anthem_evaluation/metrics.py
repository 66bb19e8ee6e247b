"""Quality of a run by relevance judgments, and whether one run is better than another.

ir_measures (with trec_eval) computes every measure. Its nDCG has linear gain: `DCG@k = Σ grade_i / log2(i + 1)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import ir_measures
import numpy as np
from scipy import stats

from anthem_core.errors import DataError
from anthem_evaluation.runs import rank_scores, ranked_ids

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from numpy.typing import NDArray

    from anthem_core.beir import Qrels
    from anthem_evaluation.runs import Run

Key = TypeVar("Key", bound="Hashable")
Measure: TypeAlias = ir_measures.measures.Measure
HEADLINE_MEASURE = "nDCG@10"
SIGNIFICANCE_LEVEL = 0.05
_ROUNDING_TOLERANCE = 1e-12  # smaller differences are rounding errors


@dataclass(frozen=True)
class MeasureComparison:
    """One measure of two runs over the same queries.

    Attributes:
        name: Name of the measure, as ir_measures writes it.
        baseline: Mean of the first run.
        reranked: Mean of the second run.
        difference: Mean of reranked − baseline.
        interval: 95 % confidence interval of the difference; None for fewer than two queries.
        p: Two-sided p-value of the paired t-test; 1 if no query changed or there are fewer than two.
        wins: Number of queries where the second run is better.
        ties: Number of queries without a change.
        losses: Number of queries where the second run is worse.
        changes: Query id to its difference.
    """

    name: str
    baseline: float
    reranked: float
    difference: float
    interval: tuple[float, float] | None
    p: float
    wins: int
    ties: int
    losses: int
    changes: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Two runs compared over the same queries.

    Attributes:
        queries: Number of queries measured.
        left_out: Number of judged queries left out because all orders of their products are equally good.
        relevant: The lowest grade that AP, RR and recall count as relevant.
        measures: One entry per measure, in the order of `measures_for`.
    """

    queries: int
    left_out: int
    relevant: float
    measures: tuple[MeasureComparison, ...]

    def __getitem__(self, name: str) -> MeasureComparison:
        """The measure of this name.

        Raises:
            KeyError: It was not measured.
        """
        return {measure.name: measure for measure in self.measures}[name]


def relevant_grade(qrels: Qrels) -> int:
    """The lowest relevant grade, `max(1, (top + 1) // 2)`: the upper half of the grades in use is relevant."""
    top = max((grade for grades in qrels.values() for grade in grades.values()), default=0)
    return max(1, (top + 1) // 2)


def measures_for(relevant: int) -> tuple[Measure, ...]:
    """The measures reported; for the binary ones, `relevant` is the lowest relevant grade."""
    m = ir_measures
    binary = (m.AP(rel=relevant), m.RR(rel=relevant), m.R(rel=relevant) @ 10, m.R(rel=relevant) @ 100)
    return (m.nDCG @ 3, m.nDCG @ 5, m.nDCG @ 10, *binary, m.Judged @ 10)


def informative_queries(qrels: Qrels, relevant: int) -> Qrels:
    """Queries for which one order can be better than another: two judged products or more, at least one relevant."""
    return {
        query: grades
        for query, grades in qrels.items()
        if len(grades) > 1 and any(grade >= relevant for grade in grades.values())
    }


def measure_per_query(run: Run, qrels: Qrels, measures: Iterable[Measure]) -> dict[str, dict[str, float]]:
    """Measure name to query id to value, for every query of `qrels`; a query missing from the run has 0.

    The order of the run is measured as it is. trec_eval compares scores in float32 and breaks ties by product id, so it
    is given ranks instead of scores.
    """
    measures = list(measures)
    values = {str(measure): dict.fromkeys(qrels, 0.0) for measure in measures}
    ranks = {query: rank_scores(ranked_ids(scores)) for query, scores in run.items() if scores and query in qrels}
    for metric in ir_measures.iter_calc(measures, qrels, ranks):
        values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def compare_runs(baseline: Run, reranked: Run, qrels: Qrels, *, leave_out: bool = False) -> Comparison:
    """Compare two runs query by query.

    Args:
        baseline: The run before reranking.
        reranked: The run after reranking.
        qrels: Query id to product id to grade.
        leave_out: Leave out queries with one judged product or no relevant one; the result has their number.

    Raises:
        DataError: No query is left to compare.
    """
    relevant = relevant_grade(qrels)
    compared = informative_queries(qrels, relevant) if leave_out else qrels
    if not compared:
        raise DataError(
            f"None of the {len(qrels)} judged queries can be compared. Expected at least one with a relevant product "
            f"(grade {relevant} or higher) and a second judged product. Check that the judgments belong to these "
            "queries."
        )
    measures = measures_for(relevant)
    before, after = (measure_per_query(run, compared, measures) for run in (baseline, reranked))
    comparisons = tuple(_compare_measure(name, before[name], after[name]) for name in before)
    return Comparison(len(compared), len(qrels) - len(compared), relevant, comparisons)


def _compare_measure(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> MeasureComparison:
    changes = {query: _difference(before[query], after[query]) for query in before}
    differences = np.array(list(changes.values()))
    interval, p = paired_t_test(differences)
    return MeasureComparison(
        name,
        float(np.mean(list(before.values()))),
        float(np.mean(list(after.values()))),
        float(differences.mean()),
        interval,
        p,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        changes=changes,
    )


def _difference(before: float, after: float) -> float:
    return after - before if abs(after - before) > _ROUNDING_TOLERANCE else 0.0


def paired_t_test(differences: NDArray[np.float64]) -> tuple[tuple[float, float] | None, float]:
    """95 % confidence interval of a mean difference, and the two-sided p-value of the paired t-test.

    Args:
        differences: One per query, shape `(n,)`.

    Returns:
        The interval (None if n < 2) and p. Where t is not defined, p is 1 if n < 2 or all differences are zero, and 0
        if all are the same other number.
    """
    if len(differences) < 2:
        return None, 1.0
    mean = float(differences.mean())
    if np.ptp(differences) <= _ROUNDING_TOLERANCE:
        return (mean, mean), float(mean == 0)
    result = stats.ttest_1samp(differences, 0)
    low, high = result.confidence_interval(0.95)
    return (float(low), float(high)), float(result.pvalue)


def correct_by_holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's step-down correction of a family of m p-values, `max over j ≤ i of min(1, (m − j + 1)·p_j)`.

    The p-values are numbered from the smallest, 1 to m. If every hypothesis with a result below α is rejected, the
    probability of any wrong rejection is at most α, however the tests depend on each other.
    """
    corrected: dict[Key, float] = {}
    largest = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[key] = largest
    return {key: corrected[key] for key in p_values}
