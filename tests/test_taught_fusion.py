"""Fusion of a model that started from a teacher: fixed weights, unless there are enough judgments to choose them."""

import pytest

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_CONTAINMENT
from anthem_core.encoding.tokenizer import Vocabulary

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import (
    LEXICAL_OFFSET_FACTORS,
    MIN_CALIBRATION_QUERIES,
    SIGNAL_SETS,
    TAUGHT_RATIOS,
    calibrate,
    score_unjudged,
    taught_fusion,
)
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
VOCABULARY = Vocabulary(("#re", "red"), buckets=47)


@pytest.fixture(scope="module")
def ranker():
    """A tiny ranker with random weights."""
    torch.manual_seed(0)
    return AnthemRanker(VOCABULARY, Anthem(ModelShape(ids=len(VOCABULARY), dimension=8, grid=8))).eval()


@pytest.mark.parametrize("name", SIGNAL_SETS)
def test_a_taught_model_has_fixed_ratios(ranker, name):
    """The weights are the same per standard deviation of a signal in every shop, and 0 outside the set of signals."""
    (pools,) = score_unjudged(ranker, [TrainingShop("tiny", TITLES, [])])
    fusion = taught_fusion(pools)[name].weights
    distance, attention, lexical = (
        torch.cat([getattr(pool, signal) for pool in pools]) for signal in ("distance", "attention", "lexical")
    )
    spreads = [float(fusion.containment * distance.std()), float(fusion.attention * attention.std())]
    assert spreads == pytest.approx(TAUGHT_RATIOS[name])
    assert [spread > 0 for spread in spreads] == [
        signal in SIGNAL_SETS[name] for signal in ("containment", "attention")
    ]
    assert fusion.lexical_offset == pytest.approx(float(lexical[lexical > 0].median()) * LEXICAL_OFFSET_FACTORS[0])


@pytest.mark.parametrize("count", [MIN_CALIBRATION_QUERIES - 1, MIN_CALIBRATION_QUERIES])
def test_few_judgments_choose_no_weights_of_a_taught_model(ranker, count):
    """With fewer than 100 judged queries a taught model has fixed weights; with more, they are chosen on these."""
    rows = [number % len(TITLES) for number in range(count)]
    queries = [JudgedQuery(TITLES[row], (row, (row + 1) % len(TITLES)), (1.0, 0.0)) for row in rows]
    shop = TrainingShop("tiny", TITLES, queries)
    taught, chosen = (calibrate(ranker, [shop], is_taught=is_taught) for is_taught in (True, False))
    assert taught.slack == chosen.slack
    assert (taught.fusion == chosen.fusion) == (count == MIN_CALIBRATION_QUERIES)
    if count < MIN_CALIBRATION_QUERIES:
        both, alone = (taught.fusion[name].containment for name in (ALL_SIGNALS, LEXICAL_CONTAINMENT))
        assert both / alone == pytest.approx(TAUGHT_RATIOS[ALL_SIGNALS][0] / TAUGHT_RATIOS[LEXICAL_CONTAINMENT][0])
