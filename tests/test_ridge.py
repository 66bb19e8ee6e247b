"""Ridge regression on sparse inputs: the closed form, the prior, and what the penalty does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.train
sparse = pytest.importorskip("scipy.sparse", reason="the extra `train` is not installed")

from anthem_model.initialisation.ridge import TOLERANCE, solve_ridge

seeds = st.integers(0, 2**31)
penalties = st.floats(0.1, 10)


def build_problem(seed, rows=30, columns=12, targets=4, empty_columns=2):
    """Sparse inputs whose last columns are zero, targets and a prior."""
    rng = np.random.default_rng(seed)
    inputs = sparse.random(rows, columns - empty_columns, density=0.3, random_state=rng, dtype=np.float32)
    inputs = sparse.hstack([inputs, sparse.csr_matrix((rows, empty_columns), dtype=np.float32)]).tocsr()
    target_rows, prior = rng.normal(size=(rows, targets)), rng.normal(size=(columns, targets))
    return inputs, target_rows.astype(np.float32), prior.astype(np.float32)


def solve_densely(inputs, targets, penalty, prior):
    """The closed form, `P + (XᵀX + λI)⁻¹Xᵀ(Y − XP)`."""
    dense = inputs.toarray().astype(float)
    return prior + np.linalg.solve(
        dense.T @ dense + penalty * np.eye(dense.shape[1]), dense.T @ (targets - dense @ prior)
    )


def allowed_error(inputs, targets, penalty, prior):
    """The error that the residual's tolerance allows, as no eigenvalue of `XᵀX + λI` is below λ, and rounding."""
    return TOLERANCE * np.linalg.norm(inputs.T @ (targets - inputs @ prior)) / penalty + 1e-4


@given(seeds, penalties, st.booleans())
def test_the_weights_equal_the_closed_form(seed, penalty, has_prior):
    """Conjugate gradients find the weights of the dense closed form, with a prior and without."""
    inputs, targets, prior = build_problem(seed)
    weights = solve_ridge(inputs, targets, penalty, prior if has_prior else None)
    prior = prior if has_prior else np.zeros_like(prior)
    assert weights.dtype == np.float32
    error = np.linalg.norm(weights - solve_densely(inputs, targets, penalty, prior))
    assert error <= allowed_error(inputs, targets, penalty, prior)


@given(seeds, penalties)
def test_an_unused_column_keeps_its_prior(seed, penalty):
    """The weights of a column of zeros are those of the prior, bit for bit; without a prior they are 0."""
    inputs, targets, prior = build_problem(seed, empty_columns=3)
    np.testing.assert_array_equal(solve_ridge(inputs, targets, penalty, prior)[-3:], prior[-3:])
    assert not solve_ridge(inputs, targets, penalty)[-3:].any()


@given(seeds)
def test_a_large_penalty_keeps_the_prior(seed):
    """The change falls in proportion to the penalty, as far as the prior itself for an infinite one."""
    inputs, targets, prior = build_problem(seed)
    changes = [np.linalg.norm(solve_ridge(inputs, targets, penalty, prior) - prior) for penalty in (1, 1e2, 1e8)]
    assert changes[0] > changes[1] > changes[2]
    assert changes[2] < 1e-5


@given(seeds, penalties)
def test_a_prior_that_predicts_the_targets_is_the_solution(seed, penalty):
    """If the prior predicts the targets exactly, nothing changes."""
    inputs, _, prior = build_problem(seed)
    np.testing.assert_array_equal(solve_ridge(inputs, inputs @ prior, penalty, prior), prior)


@given(seeds, penalties, st.floats(0.1, 10))
def test_targets_are_solved_independently_of_their_scale(seed, penalty, factor):
    """The weights are linear in the targets: another unit of the targets is another unit of the weights."""
    inputs, targets, prior = build_problem(seed)
    scaled = solve_ridge(inputs, (factor * targets).astype(np.float32), penalty)
    error = np.linalg.norm(scaled / factor - solve_ridge(inputs, targets, penalty))
    assert error <= 2 * allowed_error(inputs, targets, penalty, np.zeros_like(prior))


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1e-3, 1e3)])
def test_frequent_and_rare_columns_are_solved_alike(scales):
    """Columns of very different sizes, as common and rare words are, converge within the iterations."""
    inputs, targets, prior = build_problem(0, rows=400, columns=60, empty_columns=1)
    factors = np.geomspace(*scales, 60) if scales[0] < 1 else np.ones(60)
    inputs = (inputs @ sparse.diags(factors)).tocsr().astype(np.float32)
    weights = solve_ridge(inputs, targets, 0.3, np.zeros_like(prior))
    expected = solve_densely(inputs, targets, 0.3, np.zeros_like(prior))
    dense = inputs.toarray().astype(float)
    fits = [
        np.linalg.norm(targets - dense @ found) ** 2 + 0.3 * np.linalg.norm(found) ** 2 for found in (weights, expected)
    ]
    assert fits[0] <= 1.001 * fits[1]


def test_inputs_without_texts_give_the_prior():
    """Without any rows, the weights are the prior."""
    empty, targets, prior = sparse.csr_matrix((0, 5), dtype=np.float32), np.zeros((0, 2), np.float32), np.ones((5, 2))
    np.testing.assert_array_equal(solve_ridge(empty, targets, 1.0, prior.astype(np.float32)), prior)
