"""The training losses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.losses import BOUNDARY_MARGIN, boundary_loss, listwise_loss

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

few_examples = settings(max_examples=25)


@few_examples
@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_listwise_loss_is_0_for_a_perfect_order(count, shuffler):
    """The loss is 0 if the only relevant product is far ahead, and log N if all N logits are equal."""
    relevant = shuffler.randrange(count)
    gains = torch.zeros(1, count)
    gains[0, relevant] = 1
    allowed = torch.ones(1, count, dtype=torch.bool)
    assert listwise_loss(1e4 * gains, gains, allowed) == 0
    torch.testing.assert_close(listwise_loss(torch.zeros(1, count), gains, allowed), torch.tensor(float(count)).log())


def test_listwise_loss_ignores_products_that_are_not_allowed():
    """Logit and gain of a product that is not allowed change neither the loss nor the gradient."""
    gains = torch.tensor([[1.0, 0.0, -1.0]])
    allowed = torch.tensor([[True, True, False]])
    logits = torch.tensor([[0.3, 0.7, 0.0]], requires_grad=True)
    loss = listwise_loss(logits, gains, allowed)
    loss.backward()
    assert logits.grad[0, 2] == 0
    for value in (-50.0, 50.0):
        changed = torch.tensor([[0.3, 0.7, value]])
        assert listwise_loss(changed, torch.tensor([[1.0, 0.0, value]]), allowed) == loss.detach()


def test_listwise_loss_is_finite_without_gains():
    """Queries without relevant products, without products, or with a single one add 0 to the loss, never NaN."""
    logits = torch.zeros(3, 2, requires_grad=True)
    gains = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    allowed = torch.tensor([[True, True], [False, False], [True, False]])
    loss = listwise_loss(logits, gains, allowed)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_golden_boundary_loss():
    """A relevant product 0.3 outside costs 0.3; an irrelevant one 0.2 outside lacks 0.3 of the margin."""
    outside_norm = torch.tensor([[0.3, 0.2, 0.5, 0.0]])
    gains = torch.tensor([[1.0, 0.0, 0.0, -1.0]])
    judged = torch.tensor([[True, True, False, False]])
    assert BOUNDARY_MARGIN == 0.5
    expected = 0.3 + 0.5 * (0.3 + 0.0) / 2 + 0.5 * 0.3
    assert boundary_loss(outside_norm, gains, judged).item() == pytest.approx(expected)


def test_boundary_loss_ignores_unknown_gains():
    """Products whose gain is unknown cost nothing, wherever they are."""
    unknown = torch.full((1, 3), -1.0)
    assert boundary_loss(torch.tensor([[0.0, 1.0, 9.0]]), unknown, torch.zeros(1, 3, dtype=torch.bool)) == 0


def test_boundary_loss_ignores_gains_below_one_half():
    """A gain above 0 and below .5 is neither drawn inside nor pushed outside, wherever the product is."""
    gains, judged = torch.tensor([[0.3]]), torch.tensor([[True]])
    for outside_norm in (0.0, 0.2, 5.0):
        assert boundary_loss(torch.tensor([[outside_norm]]), gains, judged) == 0
