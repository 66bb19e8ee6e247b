"""Measures of a run, and the comparison of two runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anthem_core.errors import DataError
from anthem_evaluation.metrics import (
    compare_runs,
    informative_queries,
    measure_per_query,
    measures_for,
    paired_t_test,
    relevant_grade,
)
from anthem_evaluation.runs import rank_scores, ranked_ids

PRODUCTS = [f"p{number}" for number in range(8)]
grades = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 3), min_size=1)
judgments = st.dictionaries(st.sampled_from(["q1", "q2", "q3", "q4"]), grades, min_size=1)
orders = st.permutations(PRODUCTS)
no_deadline = settings(deadline=None)  # the first call loads trec_eval
runs = st.fixed_dictionaries({query: orders.map(rank_scores) for query in ("q1", "q2", "q3")})


def test_values_computed_by_hand():
    """Linear-gain nDCG, AP, RR, recall and the judged share match values computed by hand."""
    qrels = {"q": {"a": 3, "b": 2, "c": 1, "d": 0, "e": 2}}
    run = {"q": rank_scores(["d", "b", "x", "a", "c"])}
    values = {name: value["q"] for name, value in measure_per_query(run, qrels, measures_for(2)).items()}
    ideal = [3, 2 / math.log2(3), 2 / 2, 1 / math.log2(5)]
    gains = [0, 2 / math.log2(3), 0, 3 / math.log2(5), 1 / math.log2(6)]
    assert values == pytest.approx(
        {
            "nDCG@3": sum(gains[:3]) / sum(ideal[:3]),
            "nDCG@5": sum(gains) / sum(ideal),
            "nDCG@10": sum(gains) / sum(ideal),
            "AP(rel=2)": (1 / 2 + 2 / 4) / 3,
            "RR(rel=2)": 1 / 2,
            "R(rel=2)@10": 2 / 3,
            "R(rel=2)@100": 2 / 3,
            "Judged@10": 4 / 5,
        }
    )


@no_deadline
@given(grades.filter(lambda judged: any(judged.values())))
def test_the_ideal_order_has_ndcg_1(judged):
    """The nDCG of the products sorted by grade is 1 at every cut-off."""
    values = measure_per_query({"q": rank_scores(ranked_ids(judged))}, {"q": judged}, measures_for(1))
    assert [values[f"nDCG@{cut}"]["q"] for cut in (3, 5, 10)] == pytest.approx([1, 1, 1])


@no_deadline
@given(runs, judgments)
def test_a_run_ties_with_itself(run, qrels):
    """Comparing a run with itself gives difference 0, p 1 and only ties."""
    for measure in compare_runs(run, run, qrels).measures:
        assert (measure.difference, measure.p, measure.wins, measure.losses) == (0, 1, 0, 0)
        assert measure.ties == len(qrels)
        assert measure.interval in {None, (0.0, 0.0)}


@no_deadline
@given(runs, runs, judgments)
def test_swapping_the_runs_changes_the_sign(run, other, qrels):
    """Swapping baseline and reranked negates differences and intervals, swaps wins and losses, and keeps p."""
    for there, back in zip(
        compare_runs(run, other, qrels).measures, compare_runs(other, run, qrels).measures, strict=True
    ):
        assert there.difference == pytest.approx(-back.difference)
        assert there.p == pytest.approx(back.p)
        assert (there.wins, there.ties, there.losses) == (back.losses, back.ties, back.wins)
        if there.interval and back.interval:
            assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


@no_deadline
@given(runs, judgments, st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_only_the_order_counts(run, qrels, factor, shift):
    """A strictly increasing function of the scores changes no measure."""
    mapped = {query: {p: factor * (score + shift) for p, score in scores.items()} for query, scores in run.items()}
    assert measure_per_query(mapped, qrels, measures_for(2)) == measure_per_query(run, qrels, measures_for(2))


@no_deadline
@given(orders, st.floats(-1e3, 1e3))
def test_equal_scores_keep_the_order_given(order, score):
    """A run of equal scores is measured in the order of its entries, not of its ids."""
    qrels = {"q": {PRODUCTS[0]: 1}}
    reciprocal_rank = measure_per_query({"q": dict.fromkeys(order, score)}, qrels, measures_for(1))["RR"]["q"]
    assert reciprocal_rank == pytest.approx(1 / (order.index(PRODUCTS[0]) + 1))


def test_scores_closer_than_float32_are_kept_apart():
    """trec_eval compares in float32, in which these scores are equal; the measures must not."""
    run = {"q": {"a": 1 + 1e-12, "b": 1.0}}
    assert measure_per_query(run, {"q": {"a": 1}}, measures_for(1))["RR"]["q"] == 1


@pytest.mark.parametrize("run", [{}, {"q": {}}, {"other": {"a": 1.0}}])
def test_an_unanswered_query_counts_as_zero(run):
    """A judged query that is missing or empty in the run has 0 everywhere, and no query is added."""
    assert all(value == {"q": 0.0} for value in measure_per_query(run, {"q": {"a": 1}}, measures_for(1)).values())


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30).filter(lambda values: len(set(values)) > 1))
def test_the_paired_t_test(values):
    """Interval and p follow from `t = mean / (s / √n)` with n − 1 degrees of freedom."""
    differences = np.array(values) / 50
    interval, p = paired_t_test(differences)
    mean, error, t = differences.mean(), stats.sem(differences), stats.t(len(differences) - 1)
    margin = t.ppf(0.975) * error
    assert p == pytest.approx(2 * t.sf(abs(mean) / error))
    assert interval == pytest.approx((mean - margin, mean + margin), abs=1e-12)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.0, 0.0], ((0.0, 0.0), 1.0)), ([0.5], (None, 1.0)), ([0.25, 0.25], ((0.25, 0.25), 0.0))],
)
def test_p_is_a_number_where_t_is_not(differences, expected):
    """Equal differences or a single query give a defined interval and p, never NaN."""
    assert paired_t_test(np.array(differences)) == expected


def test_rounding_errors_are_no_spread():
    """Differences that are equal except for rounding are treated as equal, where scipy would warn."""
    interval, p = paired_t_test(np.array([0.25, 0.25 + 1e-16]))
    assert (interval, p) == (pytest.approx((0.25, 0.25)), 0.0)


@pytest.mark.parametrize(("top", "relevant"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)])
def test_the_upper_half_of_the_grades_is_relevant(top, relevant):
    """The threshold is (highest grade + 1) // 2, and grade 0 is never relevant."""
    assert relevant_grade({"q": {"a": top, "b": 0}}) == relevant


@no_deadline
@given(judgments)
def test_queries_are_measured_or_left_out(qrels):
    """The numbers add up; each measured query has two judged products and a relevant one."""
    relevant = relevant_grade(qrels)
    kept = informative_queries(qrels, relevant)
    assert all(len(judged) > 1 and max(judged.values()) >= relevant for judged in kept.values())
    if kept:
        result = compare_runs({}, {}, qrels, leave_out=True)
        assert (result.queries, result.left_out) == (len(kept), len(qrels) - len(kept))


def test_nothing_to_compare_is_refused():
    """Judgments by which all orders are equally good are refused, not averaged to NaN."""
    with pytest.raises(DataError, match="None of the 1 judged queries can be compared"):
        compare_runs({}, {}, {"q": {"a": 3}}, leave_out=True)
