"""Holm's correction and the paired test of the comparison."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytestmark = pytest.mark.train

import cells
import significance
from anthem_evaluation import metrics

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def correct(p_values):
    """Corrected p-values of a list, in its order."""
    return list(metrics.correct_by_holm(dict(enumerate(p_values))).values())


def make_lines(values):
    """Lines of one model with one seed."""
    return [{"per_query": {"judged/alone": {"AP": cells.pack_values(values)}}}]


def test_holm_by_hand():
    """Sorted, .005, .01, .03 and .04 are multiplied by 4, 3, 2 and 1; the last, .04, is raised to the .06 before it."""
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([0.3, 0.9]) == pytest.approx([0.6, 0.9])
    assert correct([0.2]) == [0.2]
    assert correct([]) == []


@given(P_VALUES)
def test_corrected_p_is_at_least_p_and_at_most_bonferroni(p_values):
    """Holm's correction lies between none and Bonferroni's, and never leaves [0, 1]."""
    for p, corrected in zip(p_values, correct(p_values), strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p)


@given(P_VALUES)
def test_correction_keeps_the_order(p_values):
    """The correction keeps the order of p-values, though some may become equal; equal ones stay equal."""
    pairs = list(zip(p_values, correct(p_values), strict=True))
    for (p, corrected), (other_p, other) in itertools.product(pairs, pairs):
        if p <= other_p:
            assert corrected <= other


@given(P_VALUES, st.floats(0.001, 0.5))
def test_correction_rejects_what_the_step_down_rule_rejects(p_values, level):
    """The sorted p-values below `α/m, α/(m − 1), …` are rejected until the first that is not."""
    rejected = 0
    for rank, p in enumerate(sorted(p_values)):
        if p > level / (len(p_values) - rank):
            break
        rejected += 1
    is_close = [np.isclose(p * count, level) for p in p_values for count in range(1, len(p_values) + 1)]
    if not any(is_close):  # rounding may decide these
        assert sum(corrected <= level for corrected in correct(p_values)) == rejected


@given(P_VALUES, st.floats(0, 1))
def test_a_larger_family_never_makes_p_smaller(p_values, further):
    """One more test in the family never lowers a corrected p-value."""
    for before, after in zip(correct(p_values), correct([*p_values, further]), strict=False):
        assert before <= after


def test_p_value_of_equal_and_of_different_models():
    """A model tested against itself has p = 1, against a better one nearly 0."""
    values = np.random.default_rng(0).random(50) * 0.5
    worse, better = make_lines(values), make_lines(values + 0.3 + 0.01 * np.random.default_rng(1).random(50))
    assert significance.paired_p_value(worse, worse, "judged/alone", "AP") == 1
    assert significance.paired_p_value(worse, better, "judged/alone", "AP") < 1e-6
