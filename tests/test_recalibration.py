"""Calibration that is carried over from a base to the model that was adapted from it without judgments."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_ATTENTION, LEXICAL_CONTAINMENT
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.fusion import FusionWeights, fuse, model_shift

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import Calibration, score_unjudged
from anthem_model.data.training_shop import TrainingShop
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.recalibration import carry_calibration

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
VOCABULARY = Vocabulary(("#re", "red"), buckets=47)
SHOPS = [TrainingShop("tiny", TITLES, [])]
BASE = Calibration(
    0.25,
    {
        LEXICAL_CONTAINMENT: FusionWeights(4.0, 3.0, 1.0),
        LEXICAL_ATTENTION: FusionWeights(4.0, attention=2.0, median_attention=-0.5),
        ALL_SIGNALS: FusionWeights(4.0, 3.0, 1.0, 2.0, -0.5),
    },
    {"shop": {"pool_lexical": 0.5}},
)
few_examples = settings(max_examples=8)


class RescaledRanker(AnthemRanker):
    """A ranker whose distances are multiplied by a factor, and whose attention has another unit and origin."""

    def __init__(self, ranker, factor, offset=0.0, shift=0.0):
        super().__init__(ranker.vocabulary, ranker.network)
        self.factor, self.offset, self.shift = factor, offset, shift
        self.eval()

    def compute_signals(self, query, titles, points):
        """The signals in other units."""
        signals = super().compute_signals(query, titles, points)
        return signals._replace(
            distance=self.factor * signals.distance,
            excess=signals.excess + self.shift,
            attention=self.factor * signals.attention + self.offset,
        )


@pytest.fixture(scope="module")
def ranker():
    """A tiny ranker with random weights."""
    torch.manual_seed(0)
    return AnthemRanker(VOCABULARY, Anthem(ModelShape(ids=len(VOCABULARY), dimension=8, grid=8))).eval()


def fused_scores(ranker, weights):
    """Fused scores of all candidates of the shop's pseudo-queries."""
    (pools,) = score_unjudged(ranker, SHOPS)
    parts = [[values.numpy() for values in (pool.lexical, pool.distance, pool.attention)] for pool in pools]
    lexical, distance, attention = (np.concatenate(values).astype(float) for values in zip(*parts, strict=True))
    return fuse(lexical, model_shift(distance, attention, weights), weights)


def test_the_same_ranker_keeps_its_calibration(ranker):
    """A calibration that is carried over to its own ranker keeps its values, but has no measures."""
    carried = carry_calibration(BASE, ranker, ranker, SHOPS)
    assert carried.slack == BASE.slack
    assert carried.quality == {}
    assert carried.fusion.keys() == BASE.fusion.keys()
    for name, weights in carried.fusion.items():
        assert weights.to_dict() == pytest.approx(BASE.fusion[name].to_dict(), rel=1e-6)


@few_examples
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_signals_in_another_unit_give_the_same_scores(ranker, factor, offset):
    """If the signals differ in unit and origin only, every candidate keeps its fused score."""
    rescaled = RescaledRanker(ranker, factor, offset)
    carried = carry_calibration(BASE, ranker, rescaled, SHOPS)
    for name, weights in BASE.fusion.items():
        expected = fused_scores(ranker, weights)
        np.testing.assert_allclose(fused_scores(rescaled, carried.fusion[name]), expected, rtol=1e-3)


@few_examples
@given(st.floats(-2, 2))
def test_the_slack_moves_with_the_limits(ranker, shift):
    """If all products lie further outside the limits by some distance, so does the slack."""
    carried = carry_calibration(BASE, ranker, RescaledRanker(ranker, 1.0, shift=shift), SHOPS)
    assert carried.slack == pytest.approx(BASE.slack + shift, abs=1e-5)


@pytest.mark.parametrize("titles", [[], ["!?"], ["the of", "and"], ["red mug"]])
def test_a_shop_without_candidates_keeps_the_calibration(ranker, titles):
    """If nothing can be measured, weights and slack stay finite and close to those of the base."""
    carried = carry_calibration(BASE, ranker, ranker, [replace(SHOPS[0], titles=titles)])
    assert carried.slack == pytest.approx(BASE.slack)
    for name, weights in carried.fusion.items():
        assert weights.to_dict() == pytest.approx(BASE.fusion[name].to_dict())
