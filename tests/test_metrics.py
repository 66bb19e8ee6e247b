"""Laws of the measures and of the comparison of two runs."""

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
relaxed = settings(deadline=None)  # the first call loads trec_eval
runs = st.fixed_dictionaries({query: orders.map(rank_scores) for query in ("q1", "q2", "q3")})


def test_golden_values_worked_out_by_hand():
    """Linear-gain nDCG, AP, RR, recall and the judged share are what pencil and paper give."""
    qrels = {"q": {"a": 3, "b": 2, "c": 1, "d": 0, "e": 2}}
    run = {"q": rank_scores(["d", "b", "x", "a", "c"])}
    values = {name: value["q"] for name, value in measure_per_query(run, qrels, measures_for(2)).items()}
    ideal = [3, 2 / math.log2(3), 2 / 2, 1 / math.log2(5)]
    found = [0, 2 / math.log2(3), 0, 3 / math.log2(5), 1 / math.log2(6)]
    assert values == pytest.approx(
        {
            "nDCG@3": sum(found[:3]) / sum(ideal[:3]),
            "nDCG@5": sum(found) / sum(ideal),
            "nDCG@10": sum(found) / sum(ideal),
            "AP(rel=2)": (1 / 2 + 2 / 4) / 3,
            "RR(rel=2)": 1 / 2,
            "R(rel=2)@10": 2 / 3,
            "R(rel=2)@100": 2 / 3,
            "Judged@10": 4 / 5,
        }
    )


@relaxed
@given(grades.filter(lambda judged: any(judged.values())))
def test_the_ideal_order_has_ndcg_one(judged):
    """The nDCG of the products sorted by grade is 1 at every cut-off."""
    values = measure_per_query({"q": rank_scores(ranked_ids(judged))}, {"q": judged}, measures_for(1))
    assert [values[f"nDCG@{cut}"]["q"] for cut in (3, 5, 10)] == pytest.approx([1, 1, 1])


@relaxed
@given(runs, judgments)
def test_a_run_is_level_with_itself(run, qrels):
    """Comparing a run with itself gives difference 0, p 1 and ties alone."""
    for measure in compare_runs(run, run, qrels).measures:
        assert (measure.difference, measure.p, measure.wins, measure.losses) == (0, 1, 0, 0)
        assert measure.ties == len(qrels)
        assert measure.interval in {None, (0.0, 0.0)}


@relaxed
@given(runs, runs, judgments)
def test_swapping_the_runs_turns_the_sign(one, other, qrels):
    """Baseline and reranked exchanged: differences and intervals turn, wins and losses change places, p stays."""
    for there, back in zip(
        compare_runs(one, other, qrels).measures, compare_runs(other, one, qrels).measures, strict=True
    ):
        assert there.difference == pytest.approx(-back.difference)
        assert there.p == pytest.approx(back.p)
        assert (there.wins, there.ties, there.losses) == (back.losses, back.ties, back.wins)
        if there.interval and back.interval:
            assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


@relaxed
@given(runs, judgments, st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_the_order_alone_counts(run, qrels, factor, shift):
    """Any rising map of the scores leaves every measure as it was."""
    mapped = {query: {p: factor * (score + shift) for p, score in scores.items()} for query, scores in run.items()}
    assert measure_per_query(mapped, qrels, measures_for(2)) == measure_per_query(run, qrels, measures_for(2))


@relaxed
@given(orders, st.floats(-1e3, 1e3))
def test_equal_scores_keep_the_order_given(order, score):
    """A run whose scores are all the same is measured in the order of its entries, not of its ids."""
    qrels = {"q": {PRODUCTS[0]: 1}}
    place = measure_per_query({"q": dict.fromkeys(order, score)}, qrels, measures_for(1))["RR"]["q"]
    assert place == pytest.approx(1 / (order.index(PRODUCTS[0]) + 1))


def test_scores_closer_than_float32_are_kept_apart():
    """trec_eval compares in float32 and would call these scores equal; the measures do not."""
    run = {"q": {"a": 1 + 1e-12, "b": 1.0}}
    assert measure_per_query(run, {"q": {"a": 1}}, measures_for(1))["RR"]["q"] == 1


@pytest.mark.parametrize("run", [{}, {"q": {}}, {"other": {"a": 1.0}}])
def test_an_unanswered_query_counts_as_zero(run):
    """A judged query that the run lacks or leaves empty has 0 everywhere, and no query is added."""
    assert all(value == {"q": 0.0} for value in measure_per_query(run, {"q": {"a": 1}}, measures_for(1)).values())


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30).filter(lambda values: len(set(values)) > 1))
def test_the_t_test_is_the_textbook_s(values):
    """Interval and p are those of scipy's one-sample t-test of the differences."""
    differences = np.array(values) / 50
    interval, p = paired_t_test(differences)
    wanted = stats.ttest_1samp(differences, 0)
    assert p == pytest.approx(wanted.pvalue)
    assert interval == pytest.approx(tuple(wanted.confidence_interval(0.95)), abs=1e-12)


@pytest.mark.parametrize(
    ("differences", "wanted"),
    [([0.0, 0.0], ((0.0, 0.0), 1.0)), ([0.5], (None, 1.0)), ([0.25, 0.25], ((0.25, 0.25), 0.0))],
)
def test_p_is_a_number_where_t_is_not(differences, wanted):
    """No spread or a single query gives a stated interval and p, never NaN."""
    assert paired_t_test(np.array(differences)) == wanted


@pytest.mark.parametrize(("top", "relevant"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)])
def test_the_upper_half_of_the_grades_is_relevant(top, relevant):
    """The threshold is (top grade + 1) // 2, and grade 0 is never relevant."""
    assert relevant_grade({"q": {"a": top, "b": 0}}) == relevant


@relaxed
@given(judgments)
def test_left_out_and_measured_make_all(qrels):
    """Queries measured and left out add up; each kept one has two judged products and a relevant one."""
    relevant = relevant_grade(qrels)
    kept = informative_queries(qrels, relevant)
    assert all(len(judged) > 1 and max(judged.values()) >= relevant for judged in kept.values())
    if kept:
        result = compare_runs({}, {}, qrels, leave_out=True)
        assert (result.queries, result.left_out) == (len(kept), len(qrels) - len(kept))


def test_nothing_to_compare_is_refused():
    """Judgments that cannot tell orders apart are refused with the reason, not averaged to NaN."""
    with pytest.raises(DataError, match="found no query to compare among 1 judged"):
        compare_runs({}, {}, {"q": {"a": 3}}, leave_out=True)
