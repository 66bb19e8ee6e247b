"""Laws of what is chosen on the validation part: slack, and the fusion of two signals and of three."""

import math
import random
from dataclasses import fields, replace

import ir_measures
import numpy as np
import pytest
from ir_measures import nDCG

from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.fusion import fuse

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import (
    CONTAINED_FRACTION,
    LOGIT_DEVIATION,
    WEIGHT_RATIOS,
    ScoredPool,
    balance_spread,
    calibrate,
    choose_fusion,
    scale_fusion,
    validation_quality,
)
from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.trainer.validation import mean_ndcg

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

both = pytest.mark.parametrize("attention", [False, True], ids=["two signals", "three signals"])
TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
VOCABULARY = Vocabulary(("#re", "red"), buckets=47)


def candidates(seed, count=30):
    """Made-up candidates in which all three signals help."""
    rng = torch.Generator().manual_seed(seed)
    gains = torch.randint(0, 2, (count,), generator=rng).float()
    noise = torch.randn(3, count, generator=rng)
    lexical = (5 + 3 * gains + 2 * noise[0]).clamp_min(0.1)
    distance = (3 - gains + 0.7 * noise[1]).clamp_min(0)
    every = torch.ones(count, dtype=torch.bool)
    return ScoredPool(lexical, distance, distance - 1, 7 * gains + 5 * noise[2] - 20, gains, every, every)


HELPS = [candidates(seed) for seed in range(6)]


def misleading(seeds, name):
    """Candidates of which one signal is the wrong way round."""
    return [replace(one, **{name: -getattr(one, name)}) for one in map(candidates, seeds)]


@both
def test_every_signal_that_helps_gets_weight(attention):
    """Where all signals help all get a positive weight; attention that is not asked for gets none."""
    fusion = scale_fusion([HELPS], choose_fusion([HELPS], attention=attention))
    assert fusion.lexical > 0
    assert fusion.containment > 0
    assert fusion.half_saturation > 0
    assert (fusion.attention > 0) == attention
    assert all(np.isfinite(list(fusion.to_dict().values())))


@both
def test_medians_are_those_of_the_signals(attention):
    """What stands for a missing signal is the median of it; a signal without weight needs none."""
    fusion = scale_fusion([HELPS], choose_fusion([HELPS], attention=attention))
    every = joined(HELPS)
    assert fusion.median_distance == pytest.approx(float(every.distance.median()))
    assert fusion.median_attention == pytest.approx(float(every.attention.median()) if attention else 0)


@both
@pytest.mark.parametrize("name", ["distance", "attention"])
def test_a_signal_that_misleads_gets_no_weight(name, attention):
    """A distance that rises with relevance, or an attention that falls with it, gets no weight or the least."""
    weights = choose_fusion([misleading(range(6), name)], attention=attention)
    wrong, right = (weights.containment, weights.attention)[:: 1 if name == "distance" else -1]
    assert wrong in WEIGHT_RATIOS[:2]
    assert right >= 0
    assert scale_fusion([HELPS], weights).lexical > 0


@both
@pytest.mark.parametrize("name", ["distance", "attention"])
def test_the_fusion_leaves_no_shop_worse_than_lexical(name, attention):
    """Fitted on a shop where a signal helps and one where it misleads, fused is nowhere behind lexical."""
    groups = [HELPS, misleading(range(6, 12), name)]
    weights = choose_fusion(groups, attention=attention)
    fused = "fused_with_attention" if attention else "fused"
    for group in groups:
        found = validation_quality(group, 0.0, weights, weights)
        before = found["pool_lexical"] + found["window_lexical"]
        assert found[f"pool_{fused}"] + found[f"window_{fused}"] >= before - 1e-3


def test_a_third_signal_takes_nothing_away():
    """The three signals' fusion gains no less in the shop that gains least than that of two."""
    groups = [HELPS, misleading(range(6, 12), "distance")]
    two, three = choose_fusion(groups, attention=False), choose_fusion(groups, attention=True)
    least = {}
    for name in ("fused", "fused_with_attention"):
        found = [validation_quality(group, 0.0, two, three) for group in groups]
        least[name] = min(one[f"pool_{name}"] - one["pool_lexical"] for one in found)
    assert least["fused_with_attention"] >= least["fused"] - 1e-4


def joined(group):
    """All candidates of a group as one."""
    return ScoredPool(*(torch.cat([getattr(one, field.name) for one in group]) for field in fields(ScoredPool)))


@both
def test_the_fused_logit_is_spread_around_0(attention):
    """Scaling centres the served logit on its median, widens it to a set spread, and keeps the order."""
    weights, every = choose_fusion([HELPS], attention=attention), joined(HELPS)
    fusion = scale_fusion([HELPS], weights)
    lexical, distance, looked = (
        getattr(every, name).numpy().astype(float) for name in ("lexical", "distance", "attention")
    )
    served = fuse(lexical, distance, fusion, looked)
    logit = np.log(served / (1 - served))
    assert np.median(logit) == pytest.approx(0, abs=0.05)
    assert logit.std(ddof=1) == pytest.approx(LOGIT_DEVIATION, abs=1e-2)
    raw = weights.logit(every).numpy()
    assert np.corrcoef(logit, raw)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_unit_of_attention_does_not_matter(factor):
    """Attention in another unit gives the same fused order and the same spread."""
    other = [replace(one, attention=factor * one.attention) for one in HELPS]
    found, wanted = (choose_fusion([group], attention=True) for group in (other, HELPS))
    assert found.attention == wanted.attention
    torch.testing.assert_close(found.logit(other[0]), wanted.logit(HELPS[0]), atol=1e-3, rtol=1e-3)


def test_ndcg_is_that_of_ir_measures():
    """The validation's nDCG@10 is the one ir-measures computes."""
    pairs = [(str(q), str(p), one) for q, one in enumerate(HELPS) for p in range(len(one.gains))]
    qrels = [ir_measures.Qrel(q, p, int(one.gains[int(p)])) for q, p, one in pairs]
    run = [ir_measures.ScoredDoc(q, p, float(one.lexical[int(p)])) for q, p, one in pairs]
    wanted = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    assert mean_ndcg([one.gains for one in HELPS], [one.lexical for one in HELPS]) == pytest.approx(wanted, abs=1e-6)


def test_what_is_not_shown_is_missed():
    """A relevant product of score −∞ takes no place, and the ideal order still has it."""
    gains, score = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([-math.inf, 2.0, 1.0])
    assert mean_ndcg([gains], [score]) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


@pytest.fixture(scope="module")
def ranker():
    """A tiny ranker with random weights."""
    torch.manual_seed(0)
    return AnthemRanker(VOCABULARY, Anthem(ModelShape(ids=len(VOCABULARY), dimension=8, grid=8))).eval()


def shop(gain=1.0):
    """A shop whose validation queries are titles, each with a product that matches and one that does not."""
    judged = [JudgedQuery(title, (row, (row + 1) % len(TITLES)), (gain, 0.0)) for row, title in enumerate(TITLES)]
    return TrainingShop("tiny", TITLES, judged)


def test_the_slack_contains_the_share_wanted(ranker):
    """At the calibrated slack 93 of 100 relevant validation products are contained, and weights are not negative."""
    found = calibrate(ranker, [shop()])
    relevant = found.quality["tiny"]["relevant_contained"]
    assert CONTAINED_FRACTION - 1 / len(TITLES) <= relevant <= CONTAINED_FRACTION + 1 / len(TITLES)
    for fusion in (found.fusion, found.attentive):
        assert min(fusion.lexical, fusion.containment, fusion.attention) >= 0
    assert found.fusion.attention == 0


def test_a_shop_without_judgments_changes_nothing(ranker):
    """Calibration twice, and with a shop beside that has no judgments, gives the same numbers."""
    wanted = calibrate(ranker, [shop()])
    assert calibrate(ranker, [TrainingShop("other", TITLES, []), shop()]) == wanted


@pytest.mark.parametrize(
    "odd",
    [
        replace(shop(), judged=[]),
        shop(gain=0.0),
        replace(shop(), judged=[replace(judged, text="zzzz") for judged in shop().judged]),
        TrainingShop("one", ["red mug"], [JudgedQuery("red", (0,), (1.0,))]),
        TrainingShop("one", ["red mug"], []),
        TrainingShop("stop words", ["the of", "and"], []),
        TrainingShop("signs", ["!?"], []),
        TrainingShop("none", [], []),
    ],
    ids=[
        "no judgments",
        "nothing relevant",
        "no lexical match",
        "one product",
        "one title",
        "stop words",
        "no words",
        "no titles",
    ],
)
def test_an_odd_shop_ends_in_numbers(ranker, odd):
    """Whatever a validation part lacks, slack and weights are numbers, and the lexical score counts."""
    found = calibrate(ranker, [odd])
    for fusion in (found.fusion, found.attentive):
        assert all(np.isfinite([found.slack, *fusion.to_dict().values()]))
        assert fusion.lexical > 0


def test_a_catalogue_alone_contains_what_holds_the_words(ranker):
    """Without judgments the slack lets 93 of 100 titles in where all their words are asked for; all signals weigh."""
    alone = replace(shop(), judged=[])
    found = calibrate(ranker, [alone])
    inside = [
        float(one)
        for query in sample_pseudo_queries(TITLES, random.Random(1), 100)
        for one in ranker.signals(query, TITLES, ranker.points(TITLES)).excess[alone.holding(query)]
    ]
    assert found.slack > 0
    assert np.mean(np.array(inside) <= found.slack) == pytest.approx(CONTAINED_FRACTION, abs=0.1)
    assert found.quality == {}
    assert min(found.fusion.containment, found.attentive.containment, found.attentive.attention) > 0
    assert found.fusion.attention == 0


@both
def test_signals_spread_alike_where_nobody_judged(attention):
    """Attention spreads the candidates as far as the lexical score does, containment so and so much of that."""
    weights = balance_spread([HELPS], attention=attention)
    lexical, distance, attended = (
        torch.cat([getattr(one, name) for one in HELPS]) for name in ("lexical", "distance", "attention")
    )
    spread = (lexical / (lexical + weights.half)).std()
    torch.testing.assert_close(weights.containment * distance.std(), 0.3 * spread)
    torch.testing.assert_close(weights.attention / weights.deviation * attended.std(), spread * attention)
