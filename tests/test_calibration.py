"""Calibration on validation queries: the slack, and the fusion of two and of three signals."""

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
    CONTAINMENT_SPREAD_RATIO,
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

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

both_fusions = pytest.mark.parametrize("attention", [False, True], ids=["two signals", "three signals"])
TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
VOCABULARY = Vocabulary(("#re", "red"), buckets=47)


def build_pool(seed, count=30):
    """A pool in which all three signals correlate with relevance."""
    rng = torch.Generator().manual_seed(seed)
    gains = torch.randint(0, 2, (count,), generator=rng).float()
    noise = torch.randn(3, count, generator=rng)
    lexical = (5 + 3 * gains + 2 * noise[0]).clamp_min(0.1)
    distance = (3 - gains + 0.7 * noise[1]).clamp_min(0)
    flags = torch.ones(count, dtype=torch.bool)
    return ScoredPool(lexical, distance, distance - 1, 7 * gains + 5 * noise[2] - 20, gains, flags, flags)


HELPFUL = [build_pool(seed) for seed in range(6)]


def build_misleading_pools(seeds, signal):
    """Pools in which one signal has the wrong sign."""
    return [replace(pool, **{signal: -getattr(pool, signal)}) for pool in map(build_pool, seeds)]


def join_pools(pools):
    """All candidates of some pools in one."""
    return ScoredPool(*(torch.cat([getattr(pool, field.name) for pool in pools]) for field in fields(ScoredPool)))


@both_fusions
def test_every_helpful_signal_has_weight(attention):
    """If all signals help, all have a positive weight; attention has none in the fusion of two signals."""
    fusion = scale_fusion([HELPFUL], choose_fusion([HELPFUL], attention=attention))
    assert fusion.lexical > 0
    assert fusion.containment > 0
    assert fusion.half_saturation > 0
    assert (fusion.attention > 0) == attention
    assert all(np.isfinite(list(fusion.to_dict().values())))


@both_fusions
def test_medians_are_those_of_the_signals(attention):
    """The replacement of a missing signal is its median, and 0 for attention without a weight."""
    fusion = scale_fusion([HELPFUL], choose_fusion([HELPFUL], attention=attention))
    joined = join_pools(HELPFUL)
    assert fusion.median_distance == pytest.approx(float(joined.distance.median()))
    assert fusion.median_attention == pytest.approx(float(joined.attention.median()) if attention else 0)


@both_fusions
@pytest.mark.parametrize("signal", ["distance", "attention"])
def test_a_misleading_signal_has_no_weight(signal, attention):
    """A signal with the wrong sign has no weight or the smallest one."""
    candidate = choose_fusion([build_misleading_pools(range(6), signal)], attention=attention)
    weights = {"distance": candidate.containment, "attention": candidate.attention}
    assert weights.pop(signal) in WEIGHT_RATIOS[:2]
    assert min(weights.values()) >= 0
    assert scale_fusion([HELPFUL], candidate).lexical > 0


@both_fusions
@pytest.mark.parametrize("signal", ["distance", "attention"])
def test_fusion_is_not_worse_than_lexical_in_any_shop(signal, attention):
    """With a shop in which a signal helps and one in which it misleads, both have at least the lexical nDCG."""
    groups = [HELPFUL, build_misleading_pools(range(6, 12), signal)]
    candidate = choose_fusion(groups, attention=attention)
    fused = "fused_with_attention" if attention else "fused"
    for pools in groups:
        quality = validation_quality(pools, 0.0, candidate, candidate)
        lexical = quality["pool_lexical"] + quality["window_lexical"]
        assert quality[f"pool_{fused}"] + quality[f"window_{fused}"] >= lexical - 1e-3


def test_three_signals_are_not_worse_than_two():
    """The smallest gain of any shop is not smaller with three signals than with two."""
    groups = [HELPFUL, build_misleading_pools(range(6, 12), "distance")]
    without_attention, with_attention = choose_fusion(groups, attention=False), choose_fusion(groups, attention=True)
    qualities = [validation_quality(pools, 0.0, without_attention, with_attention) for pools in groups]
    gains = {
        name: min(quality[f"pool_{name}"] - quality["pool_lexical"] for quality in qualities)
        for name in ("fused", "fused_with_attention")
    }
    assert gains["fused_with_attention"] >= gains["fused"] - 1e-4


@both_fusions
def test_the_fused_logit_is_centred_and_scaled(attention):
    """Scaling gives the served logit a median of 0 and a fixed deviation, and keeps the order."""
    candidate, joined = choose_fusion([HELPFUL], attention=attention), join_pools(HELPFUL)
    fusion = scale_fusion([HELPFUL], candidate)
    lexical, distance, attention_scores = (
        getattr(joined, name).numpy().astype(float) for name in ("lexical", "distance", "attention")
    )
    scores = fuse(lexical, distance, fusion, attention_scores)
    logit = np.log(scores / (1 - scores))
    assert np.median(logit) == pytest.approx(0, abs=0.05)
    assert logit.std(ddof=1) == pytest.approx(LOGIT_DEVIATION, abs=1e-2)
    unscaled = candidate.logit(joined).numpy()
    assert np.corrcoef(logit, unscaled)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_unit_of_attention_does_not_matter(factor):
    """Attention in another unit gives the same weight and the same fused logit."""
    rescaled = [replace(pool, attention=factor * pool.attention) for pool in HELPFUL]
    found, expected = (choose_fusion([pools], attention=True) for pools in (rescaled, HELPFUL))
    assert found.attention == expected.attention
    torch.testing.assert_close(found.logit(rescaled[0]), expected.logit(HELPFUL[0]), atol=1e-3, rtol=1e-3)


def test_mean_ndcg_equals_ir_measures():
    """The nDCG@10 of validation is that of ir-measures."""
    pairs = [(str(q), str(p), pool) for q, pool in enumerate(HELPFUL) for p in range(len(pool.gains))]
    qrels = [ir_measures.Qrel(q, p, int(pool.gains[int(p)])) for q, p, pool in pairs]
    run = [ir_measures.ScoredDoc(q, p, float(pool.lexical[int(p)])) for q, p, pool in pairs]
    expected = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    ndcg = mean_ndcg([pool.gains for pool in HELPFUL], [pool.lexical for pool in HELPFUL])
    assert ndcg == pytest.approx(expected, abs=1e-6)


def test_products_that_are_not_ranked_are_missed():
    """A relevant product with score −∞ takes no rank, but the ideal order contains it."""
    gains, scores = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([-math.inf, 2.0, 1.0])
    assert mean_ndcg([gains], [scores]) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


@pytest.fixture(scope="module")
def ranker():
    """A tiny ranker with random weights."""
    torch.manual_seed(0)
    return AnthemRanker(VOCABULARY, Anthem(ModelShape(ids=len(VOCABULARY), dimension=8, grid=8))).eval()


def build_shop(gain=1.0):
    """A shop whose queries are its titles, each with one relevant and one irrelevant product."""
    queries = [JudgedQuery(title, (row, (row + 1) % len(TITLES)), (gain, 0.0)) for row, title in enumerate(TITLES)]
    return TrainingShop("tiny", TITLES, queries)


def test_the_slack_contains_the_required_fraction(ranker):
    """The calibrated slack contains 93 % of the relevant validation products, and no weight is negative."""
    calibration = calibrate(ranker, [build_shop()])
    contained = calibration.quality["tiny"]["relevant_contained"]
    assert CONTAINED_FRACTION - 1 / len(TITLES) <= contained <= CONTAINED_FRACTION + 1 / len(TITLES)
    for fusion in (calibration.fusion, calibration.attention_fusion):
        assert min(fusion.lexical, fusion.containment, fusion.attention) >= 0
    assert calibration.fusion.attention == 0


def test_a_shop_without_judgments_changes_nothing(ranker):
    """Calibration is reproducible, and a shop without judgments is ignored if another one has some."""
    expected = calibrate(ranker, [build_shop()])
    assert calibrate(ranker, [TrainingShop("other", TITLES, []), build_shop()]) == expected


@pytest.mark.parametrize(
    "shop",
    [
        replace(build_shop(), judged_queries=[]),
        build_shop(gain=0.0),
        replace(build_shop(), judged_queries=[replace(query, text="zzzz") for query in build_shop().judged_queries]),
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
def test_an_unusual_shop_gives_finite_weights(ranker, shop):
    """Whatever a shop lacks, slack and weights are finite, and the lexical score has weight."""
    calibration = calibrate(ranker, [shop])
    for fusion in (calibration.fusion, calibration.attention_fusion):
        assert all(np.isfinite([calibration.slack, *fusion.to_dict().values()]))
        assert fusion.lexical > 0


def test_calibration_without_judgments(ranker):
    """Without judgments, the slack contains 93 % of the titles with all query words, and all signals have weight."""
    shop = replace(build_shop(), judged_queries=[])
    calibration = calibrate(ranker, [shop])
    excess = [
        float(value)
        for query in sample_pseudo_queries(TITLES, random.Random(1), 100)
        for value in ranker.compute_signals(query, TITLES, ranker.encode_titles(TITLES)).excess[
            shop.rows_containing(query)
        ]
    ]
    assert calibration.slack > 0
    assert np.mean(np.array(excess) <= calibration.slack) == pytest.approx(CONTAINED_FRACTION, abs=0.1)
    assert calibration.quality == {}
    with_attention = calibration.attention_fusion
    assert min(calibration.fusion.containment, with_attention.containment, with_attention.attention) > 0
    assert calibration.fusion.attention == 0


@both_fusions
def test_spreads_are_balanced_without_judgments(attention):
    """Attention spreads the candidates as far as the lexical score, and containment .3 of that."""
    candidate = balance_spread([HELPFUL], attention=attention)
    joined = join_pools(HELPFUL)
    spread = (joined.lexical / (joined.lexical + candidate.half_saturation)).std()
    assert CONTAINMENT_SPREAD_RATIO == 0.3
    torch.testing.assert_close(candidate.containment * joined.distance.std(), 0.3 * spread)
    attention_weight = candidate.attention / candidate.attention_deviation
    torch.testing.assert_close(attention_weight * joined.attention.std(), spread * attention)
