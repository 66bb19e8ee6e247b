"""Calibration on validation queries: the slack, and the fusion of every set of signals."""

import math
import random
from dataclasses import fields, replace
from itertools import product

import ir_measures
import numpy as np
import pytest
from ir_measures import nDCG

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_ATTENTION, LEXICAL_CONTAINMENT
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.fusion import fuse, model_shift

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import (
    CONTAINED_FRACTION,
    CONTAINMENT_SPREAD_RATIO,
    LEXICAL_OFFSET_FACTORS,
    MIN_GAIN_FRACTION,
    MIN_GAIN_FRACTION_WITH_ATTENTION,
    SIGNAL_SETS,
    WEIGHT_RATIOS,
    FusionCandidate,
    ScoredPool,
    balance_spread,
    calibrate,
    choose_fusion,
    measure_scale,
    validation_quality,
)
from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.trainer.validation import POOL_PARTS, mean_ndcg, pool_ndcg

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

every_set = pytest.mark.parametrize("signals", SIGNAL_SETS.values(), ids=SIGNAL_SETS.keys())
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


def scale_signal(pools, signal, factor):
    """Pools with one signal in another unit."""
    return [replace(pool, **{signal: factor * getattr(pool, signal)}) for pool in pools]


def smallest_gain(groups, candidate):
    """Smallest gain of any shop in nDCG@10 over the lexical order, summed over both parts of the pools."""
    return min(
        sum(
            pool_ndcg(pools, [candidate.log_score(pool) for pool in pools], part)
            - pool_ndcg(pools, [pool.lexical for pool in pools], part)
            for part in POOL_PARTS
        )
        for pools in groups
    )


def test_every_set_of_signals_has_weights():
    """The sets are those of the bundle's manifest: each signal of the model with the lexical score, and both."""
    assert SIGNAL_SETS == {
        LEXICAL_CONTAINMENT: ("containment",),
        LEXICAL_ATTENTION: ("attention",),
        ALL_SIGNALS: ("containment", "attention"),
    }


@every_set
def test_only_signals_of_the_set_have_weight(signals):
    """If all signals help, the set has a positive weight; a signal outside it has none."""
    fusion = choose_fusion([HELPFUL], signals).weights
    weights = {"containment": fusion.containment, "attention": fusion.attention}
    assert max(weights.values()) > 0
    assert {signal for signal, weight in weights.items() if weight > 0} <= set(signals)
    assert fusion.lexical_offset > 0
    assert all(np.isfinite(list(fusion.to_dict().values())))


@every_set
def test_medians_are_those_of_the_signals(signals):
    """A missing signal is replaced by its median; the lexical offset is a fraction of the median lexical score."""
    fusion, joined = choose_fusion([HELPFUL], signals).weights, join_pools(HELPFUL)
    assert fusion.median_distance == pytest.approx(float(joined.distance.median()))
    assert fusion.median_attention == pytest.approx(float(joined.attention.median()))
    offsets = [factor * float(joined.lexical.median()) for factor in LEXICAL_OFFSET_FACTORS]
    assert min(abs(fusion.lexical_offset - offset) for offset in offsets) < 1e-6


@every_set
def test_the_log_score_is_the_logarithm_of_the_fused_score(signals):
    """The torch formula of calibration is the logarithm of the served numpy formula, with missing attention too."""
    candidate, joined = choose_fusion([HELPFUL], signals), join_pools(HELPFUL)
    joined.attention[::7] = torch.nan
    lexical, distance, attention = (
        getattr(joined, name).numpy().astype(float) for name in ("lexical", "distance", "attention")
    )
    fused = fuse(lexical, model_shift(distance, attention, candidate.weights), candidate.weights)
    np.testing.assert_allclose(candidate.log_score(joined).numpy(), np.log(fused), atol=1e-5)


@every_set
@pytest.mark.parametrize("misleading", [None, "distance", "attention"])
def test_the_chosen_weights_have_the_least_containment_among_those_good_enough(signals, misleading):
    """Of all weights with a required fraction of the largest gain, those chosen have the least containment."""
    groups = [HELPFUL[:3]] + ([build_misleading_pools(range(6, 8), misleading)] if misleading else [])
    scale = measure_scale([pool for pools in groups for pool in pools])
    ratios = [WEIGHT_RATIOS if signal in signals else (0.0,) for signal in ("containment", "attention")]
    candidates = [
        FusionCandidate(scale.median_score * factor, *weights, scale)
        for factor, *weights in product(LEXICAL_OFFSET_FACTORS, *ratios)
    ]
    gains = {candidate: smallest_gain(groups, candidate) for candidate in candidates}
    fraction = MIN_GAIN_FRACTION_WITH_ATTENTION if "attention" in signals else MIN_GAIN_FRACTION
    required = fraction * max(gains.values())
    chosen = choose_fusion(groups, signals)
    assert gains[chosen] >= required - 1e-6
    for candidate, gain in gains.items():
        if gain > required + 1e-6:
            weights, least = (candidate.containment, candidate.attention), (chosen.containment, chosen.attention)
            assert weights >= least


@every_set
@pytest.mark.parametrize("signal", ["distance", "attention"])
def test_a_misleading_signal_has_no_weight(signal, signals):
    """A signal with the wrong sign has no weight or the smallest one."""
    candidate = choose_fusion([build_misleading_pools(range(6), signal)], signals)
    weights = {"distance": candidate.containment, "attention": candidate.attention}
    assert weights[signal] in WEIGHT_RATIOS[:2]
    assert min(weights.values()) >= 0


@every_set
@pytest.mark.parametrize("signal", ["distance", "attention"])
def test_fusion_is_not_worse_than_lexical_in_any_shop(signal, signals):
    """With a shop in which a signal helps and one in which it misleads, both have at least the lexical nDCG."""
    groups = [HELPFUL, build_misleading_pools(range(6, 12), signal)]
    candidate = choose_fusion(groups, signals)
    for pools in groups:
        quality = validation_quality(pools, 0.0, {"chosen": candidate})
        lexical = quality["pool_lexical"] + quality["window_lexical"]
        assert quality["pool_chosen"] + quality["window_chosen"] >= lexical - 1e-3


def test_all_signals_gain_what_attention_alone_gains():
    """The smallest gain of any shop with both signals is at least the required fraction of that with attention."""
    groups = [HELPFUL, build_misleading_pools(range(6, 12), "distance")]
    attention, both = (
        smallest_gain(groups, choose_fusion(groups, SIGNAL_SETS[name])) for name in (LEXICAL_ATTENTION, ALL_SIGNALS)
    )
    assert attention > 0
    assert both >= MIN_GAIN_FRACTION_WITH_ATTENTION * attention - 1e-6


@every_set
@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("signal", ["attention", "distance"])
def test_the_unit_of_a_signal_does_not_matter(factor, signal, signals):
    """A signal of the model in another unit gives the same ratios and the same fused scores."""
    rescaled = scale_signal(HELPFUL, signal, factor)
    found, expected = (choose_fusion([pools], signals) for pools in (rescaled, HELPFUL))
    assert (found.containment, found.attention) == (expected.containment, expected.attention)
    torch.testing.assert_close(found.log_score(rescaled[0]), expected.log_score(HELPFUL[0]), atol=1e-3, rtol=1e-3)


@every_set
@pytest.mark.parametrize("factor", [2.2, 1e3])
def test_the_scale_of_lexical_scores_does_not_matter(factor, signals):
    """Lexical scores 2.2 times as high, as before OpenSearch 3.0, give the same weights and 2.2 times the offset."""
    rescaled = scale_signal(HELPFUL, "lexical", factor)
    found, expected = (choose_fusion([pools], signals) for pools in (rescaled, HELPFUL))
    assert found.weights.to_dict() == pytest.approx(
        replace(expected.weights, lexical_offset=factor * expected.lexical_offset).to_dict()
    )
    torch.testing.assert_close(
        found.log_score(rescaled[0]), expected.log_score(HELPFUL[0]) + math.log(factor), atol=1e-4, rtol=1e-4
    )


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
    """The calibrated slack contains 90 % of the relevant validation products, and no weight is negative."""
    calibration = calibrate(ranker, [build_shop()])
    contained = calibration.quality["tiny"]["relevant_contained"]
    assert CONTAINED_FRACTION - 1 / len(TITLES) <= contained <= CONTAINED_FRACTION + 1 / len(TITLES)
    assert calibration.fusion.keys() == SIGNAL_SETS.keys()
    for fusion in calibration.fusion.values():
        assert min(fusion.containment, fusion.attention) >= 0
    assert calibration.fusion[LEXICAL_CONTAINMENT].attention == calibration.fusion[LEXICAL_ATTENTION].containment == 0


def test_quality_is_measured_for_every_set_of_signals(ranker):
    """A shop's measures include nDCG@10 of each signal alone and of each set of signals, of the pool and the window."""
    measures = calibrate(ranker, [build_shop()]).quality["tiny"]
    names = ["lexical", "containment", "attention", *SIGNAL_SETS]
    assert list(measures) == [
        *(f"{part}_{name}" for part in ("pool", "window") for name in names),
        "relevant_contained",
        "irrelevant_contained",
    ]
    assert all(0 <= value <= 1 for value in measures.values())


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
        TrainingShop("judged signs", ["!?"], [JudgedQuery("red", (0,), (1.0,))]),
        TrainingShop("a sign", [*TITLES, "!?"], [JudgedQuery("red", (0, len(TITLES)), (1.0, 0.0))]),
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
        "a judged title without words",
        "one of many titles without words",
        "no titles",
    ],
)
def test_an_unusual_shop_gives_finite_weights(ranker, shop):
    """Whatever a shop lacks, slack, weights and measures are finite, and the lexical offset is positive."""
    calibration = calibrate(ranker, [shop])
    measures = [value for quality in calibration.quality.values() for value in quality.values()]
    for fusion in calibration.fusion.values():
        assert all(np.isfinite([calibration.slack, *fusion.to_dict().values(), *measures]))
        assert fusion.lexical_offset > 0


def test_calibration_without_judgments(ranker):
    """Without judgments, the slack contains 90 % of the titles with all query words, and all signals have weight."""
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
    for name, signals in SIGNAL_SETS.items():
        fusion = calibration.fusion[name]
        assert (fusion.containment > 0) == ("containment" in signals)
        assert (fusion.attention > 0) == ("attention" in signals)


@every_set
def test_spreads_are_balanced_without_judgments(signals):
    """Attention spreads the candidates as far as the logarithm of the lexical score, and containment .3 of that."""
    fusion, joined = balance_spread([HELPFUL], signals).weights, join_pools(HELPFUL)
    spread = (joined.lexical + fusion.lexical_offset).log().std()
    assert CONTAINMENT_SPREAD_RATIO == 0.3
    torch.testing.assert_close(fusion.containment * joined.distance.std(), 0.3 * spread * ("containment" in signals))
    torch.testing.assert_close(fusion.attention * joined.attention.std(), spread * ("attention" in signals))
