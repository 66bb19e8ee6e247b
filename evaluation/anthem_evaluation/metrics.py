"""Quality of a run against judgments, and whether one run is better than another.

ir-measures (through trec_eval) computes every measure. Its nDCG has linear gain: `DCG@k = Σ grade_i / log2(i + 1)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import ir_measures
import numpy as np
from scipy import stats

from anthem_core.errors import DataError
from anthem_evaluation.runs import Run, rank_scores, ranked_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from anthem_core.beir import Qrels
"""Query id to product id to score; the higher score comes first, equal scores keep the order of the dict."""

Measure: TypeAlias = ir_measures.measures.Measure
HEADLINE_MEASURE = "nDCG@10"
_ROUNDING_TOLERANCE = 1e-12  # differences below this are rounding, not a change of order


@dataclass(frozen=True)
class MeasureComparison:
    """One measure of two runs over the same queries.

    Attributes:
        name: The measure's name as ir-measures writes it.
        baseline: Mean of the first run.
        reranked: Mean of the second run.
        difference: Mean of reranked − baseline.
        interval: 95 % confidence interval of the difference; None below two queries.
        p: Two-sided p of the paired t-test; 1 when no query changed or there are fewer than two.
        wins: Queries the second run does better.
        ties: Queries without a change.
        losses: Queries the second run does worse.
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
        left_out: Number of judged queries left out because no order of theirs can be better than another.
        relevant: The lowest grade that AP, RR and recall count as relevant.
        measures: One entry a measure, in the order of `measures_for`.
    """

    queries: int
    left_out: int
    relevant: int
    measures: tuple[MeasureComparison, ...]

    def __getitem__(self, name: str) -> MeasureComparison:
        """The measure of this name.

        Raises:
            KeyError: It was not measured.
        """
        return {measure.name: measure for measure in self.measures}[name]


def relevant_grade(qrels: Qrels) -> int:
    """The lowest relevant grade, `max(1, (top + 1) // 2)`: the upper half of the grades in use."""
    top = max((grade for grades in qrels.values() for grade in grades.values()), default=0)
    return max(1, (top + 1) // 2)


def measures_for(relevant: int) -> tuple[Measure, ...]:
    """The measures reported, with `relevant` as the lowest grade that counts where grades are cut in two."""
    m = ir_measures
    cut = (m.AP(rel=relevant), m.RR(rel=relevant), m.R(rel=relevant) @ 10, m.R(rel=relevant) @ 100)
    return (m.nDCG @ 3, m.nDCG @ 5, m.nDCG @ 10, *cut, m.Judged @ 10)


def informative_queries(qrels: Qrels, relevant: int) -> Qrels:
    """The queries whose order can be good or bad: two judged products or more, at least one of them relevant."""
    return {
        query: grades
        for query, grades in qrels.items()
        if len(grades) > 1 and any(grade >= relevant for grade in grades.values())
    }


def measure_per_query(run: Run, qrels: Qrels, measures: Iterable[Measure]) -> dict[str, dict[str, float]]:
    """Measure name to query id to value, for every query of `qrels`; one that the run does not answer has 0.

    The order given is the order measured: trec_eval compares scores in float32 and breaks ties by product id,
    so places, not scores, are passed on to it.
    """
    measures = list(measures)
    values = {str(measure): dict.fromkeys(qrels, 0.0) for measure in measures}
    places = {query: rank_scores(ranked_ids(scores)) for query, scores in run.items() if scores and query in qrels}
    for metric in ir_measures.iter_calc(measures, qrels, places):
        values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def compare_runs(baseline: Run, reranked: Run, qrels: Qrels, *, leave_out: bool = False) -> Comparison:
    """Compare two runs query by query.

    Args:
        baseline: The order before.
        reranked: The order after.
        qrels: Query id to product id to grade.
        leave_out: Leave out queries with one judged product or none relevant; how many is in the result.

    Raises:
        DataError: No query is left to compare.
    """
    relevant = relevant_grade(qrels)
    kept = informative_queries(qrels, relevant) if leave_out else qrels
    if not kept:
        raise DataError(
            f"found no query to compare among {len(qrels)} judged; wanted at least one with a relevant product "
            f"(grade {relevant} or higher) and a second judged one: check that the judgments belong to these queries"
        )
    measures = measures_for(relevant)
    before, after = (measure_per_query(run, kept, measures) for run in (baseline, reranked))
    compared = tuple(_compare_measure(name, before[name], after[name]) for name in before)
    return Comparison(len(kept), len(qrels) - len(kept), relevant, compared)


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
    """The 95 % interval of a mean difference and the two-sided p of `t = mean / (s / √n)`.

    Args:
        differences: One a query, shape `(n,)`.

    Returns:
        The interval (None when n < 2) and p (1 when n < 2 or all differences are zero, 0 when all are the same other
        number).
    """
    if len(differences) < 2:
        return None, 1.0
    mean, error = float(differences.mean()), float(stats.sem(differences))
    if error == 0:
        return (mean, mean), float(mean == 0)
    t = stats.t(len(differences) - 1)
    reach = float(t.ppf(0.975)) * error
    return (mean - reach, mean + reach), 2 * float(t.sf(abs(mean) / error))
