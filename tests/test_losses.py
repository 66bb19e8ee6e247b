"""Laws of what training minimises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.losses import MARGIN, TEMPERATURE, boundary, listwise, taught  # noqa: E402

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

few = settings(max_examples=25)
seeds = st.integers(0, 2**31)


@few
@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_listwise_is_0_for_a_perfect_order(count, shuffler):
    """The loss vanishes as the only relevant product runs ahead, and is log N where nothing is known."""
    best = shuffler.randrange(count)
    gains = torch.zeros(1, count)
    gains[0, best] = 1
    everyone = torch.ones(1, count, dtype=torch.bool)
    assert listwise(1e4 * gains, gains, everyone) == 0
    torch.testing.assert_close(listwise(torch.zeros(1, count), gains, everyone), torch.tensor(float(count)).log())


def test_listwise_ignores_what_is_not_allowed():
    """Logit and gain of a product that is not allowed change neither loss nor gradient."""
    gains = torch.tensor([[1.0, 0.0, -1.0]])
    allowed = torch.tensor([[True, True, False]])
    logits = torch.tensor([[0.3, 0.7, 0.0]], requires_grad=True)
    value = listwise(logits, gains, allowed)
    value.backward()
    assert logits.grad[0, 2] == 0
    for odd in (-50.0, 50.0):
        other = torch.tensor([[0.3, 0.7, odd]])
        assert listwise(other, torch.tensor([[1.0, 0.0, odd]]), allowed) == value.detach()


def test_listwise_is_finite_without_gains():
    """Queries without a relevant product, without products, or with one alone, add nothing, and no NaN."""
    logits = torch.zeros(3, 2, requires_grad=True)
    gains = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    allowed = torch.tensor([[True, True], [False, False], [True, False]])
    value = listwise(logits, gains, allowed)
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def lesson(seed, count=5, lists=3):
    """Cosines of some lists, and logits that know nothing of them."""
    generator = torch.Generator().manual_seed(seed)
    cosines, logits = torch.rand(2, lists, count, generator=generator, dtype=torch.float64) * 2 - 1
    return cosines, 10 * logits


@few
@given(seeds, st.floats(-5, 5))
def test_a_lesson_is_learned_when_logits_are_the_teachers(seed, shift):
    """No logits lose less than `15·cosine`, whatever is added to all of a list, and there the gradient is 0."""
    cosines, logits = lesson(seed)
    best = (TEMPERATURE * cosines + shift).requires_grad_()
    least = taught(best, cosines)
    least.backward()
    torch.testing.assert_close(best.grad, torch.zeros_like(best))
    assert TEMPERATURE == 15
    assert taught(logits, cosines) >= least.detach() - 1e-12


@few
@given(seeds)
def test_a_list_without_a_lesson_counts_for_nothing(seed):
    """Lists whose cosines are no numbers, or one of them is none, change neither loss nor gradient."""
    cosines, logits = lesson(seed)
    wanted = taught(logits[:1], cosines[:1])
    cosines[1] = torch.nan
    cosines[2, 0] = torch.nan
    logits.requires_grad_()
    value = taught(logits, cosines)
    value.backward()
    torch.testing.assert_close(value.detach(), wanted)
    assert (logits.grad[1:] == 0).all()
    assert torch.isfinite(logits.grad).all()


def test_without_a_teacher_nothing_is_lost():
    """A batch without any lesson gives 0, and a gradient of zeros."""
    logits = torch.ones(2, 3, requires_grad=True)
    value = taught(logits, torch.full((2, 3), torch.nan))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def test_golden_boundary():
    """Relevant 0.3 outside costs 0.3; irrelevant 0.2 outside lacks 0.3 of the margin, half for all, half for judged."""
    beyond = torch.tensor([[0.3, 0.2, 0.5, 0.0]])
    gains = torch.tensor([[1.0, 0.0, 0.0, -1.0]])
    judged = torch.tensor([[True, True, False, False]])
    assert MARGIN == 0.5
    wanted = 0.3 + 0.5 * (0.3 + 0.0) / 2 + 0.5 * 0.3
    assert boundary(beyond, gains, judged).item() == pytest.approx(wanted)


def test_the_boundary_of_nothing_is_0():
    """What nobody knows about costs nothing, wherever it lies."""
    unknown = torch.full((1, 3), -1.0)
    assert boundary(torch.tensor([[0.0, 1.0, 9.0]]), unknown, torch.zeros(1, 3, dtype=torch.bool)) == 0
