"""Laws of what training minimises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.trainer.losses import BOUNDARY_MARGIN, boundary_loss, listwise_loss

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
    assert listwise_loss(1e4 * gains, gains, everyone) == 0
    torch.testing.assert_close(listwise_loss(torch.zeros(1, count), gains, everyone), torch.tensor(float(count)).log())


def test_listwise_ignores_what_is_not_allowed():
    """Logit and gain of a product that is not allowed change neither loss nor gradient."""
    gains = torch.tensor([[1.0, 0.0, -1.0]])
    allowed = torch.tensor([[True, True, False]])
    logits = torch.tensor([[0.3, 0.7, 0.0]], requires_grad=True)
    value = listwise_loss(logits, gains, allowed)
    value.backward()
    assert logits.grad[0, 2] == 0
    for odd in (-50.0, 50.0):
        other = torch.tensor([[0.3, 0.7, odd]])
        assert listwise_loss(other, torch.tensor([[1.0, 0.0, odd]]), allowed) == value.detach()


def test_listwise_is_finite_without_gains():
    """Queries without a relevant product, without products, or with one alone, add nothing, and no NaN."""
    logits = torch.zeros(3, 2, requires_grad=True)
    gains = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    allowed = torch.tensor([[True, True], [False, False], [True, False]])
    value = listwise_loss(logits, gains, allowed)
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def test_golden_boundary():
    """Relevant 0.3 outside costs 0.3; irrelevant 0.2 outside lacks 0.3 of the margin, half for all, half for judged."""
    beyond = torch.tensor([[0.3, 0.2, 0.5, 0.0]])
    gains = torch.tensor([[1.0, 0.0, 0.0, -1.0]])
    judged = torch.tensor([[True, True, False, False]])
    assert BOUNDARY_MARGIN == 0.5
    wanted = 0.3 + 0.5 * (0.3 + 0.0) / 2 + 0.5 * 0.3
    assert boundary_loss(beyond, gains, judged).item() == pytest.approx(wanted)


def test_the_boundary_of_nothing_is_0():
    """What nobody knows about costs nothing, wherever it lies."""
    unknown = torch.full((1, 3), -1.0)
    assert boundary_loss(torch.tensor([[0.0, 1.0, 9.0]]), unknown, torch.zeros(1, 3, dtype=torch.bool)) == 0


def test_what_is_half_relevant_lies_where_it_likes():
    """A gain above 0 and below .5 is neither drawn in nor pushed out, wherever the product lies."""
    gains, judged = torch.tensor([[0.3]]), torch.tensor([[True]])
    for beyond in (0.0, 0.2, 5.0):
        assert boundary_loss(torch.tensor([[beyond]]), gains, judged) == 0
