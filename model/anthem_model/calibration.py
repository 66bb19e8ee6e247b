"""Calibration of a trained model on its validation queries: the slack of containment and the weights of fusion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import torch

from anthem_core.fusion import FusionWeights
from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.trainer.validation import POOL_PARTS, build_pools, pool_ndcg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from anthem_model.anthem_ranker import AnthemRanker

WEIGHT_RATIOS = (0.0, *(round(0.01 * 1.8**step, 4) for step in range(12)))  # weights relative to the lexical weight
HALF_SATURATION_FACTORS = (0.5, 1.0, 2.0, 4.0)  # of the median lexical score
DEFAULT_HALF_SATURATION = 10.0  # if no lexical score is above 0
CONTAINED_FRACTION = 0.93  # of the relevant validation products, which the slack must contain
MIN_RELEVANT_GAIN = 0.5
LOGIT_DEVIATION = 1.5  # standard deviation of the fused logit: uses the range of the sigmoid, but no score rounds to 1
# A fusion is good enough with this fraction of the largest gain. Without attention the fraction is lower, because the
# gain of containment on a known catalogue promises little for another one.
MIN_GAIN_FRACTION_WITH_ATTENTION = 0.85
MIN_GAIN_FRACTION = 1 / 3
MAX_CALIBRATION_QUERIES = 600  # per shop
CONTAINMENT_SPREAD_RATIO = 0.3  # spread of containment relative to the lexical score, without judgments
MAX_UNJUDGED_TITLES = 4000  # that a catalogue without judgments is calibrated on
MAX_UNJUDGED_QUERIES = 300
MIN_DEVIATION = 1e-6  # smaller standard deviations count as 0


@dataclass(frozen=True)
class ScoredPool:
    """Candidates of a validation query with their signals and gains, and flags of the judged and of the window."""

    lexical: Tensor
    distance: Tensor
    excess: Tensor
    attention: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


@dataclass(frozen=True)
class FusionCandidate:
    """Fusion weights before scaling: relative to a lexical weight of 1, attention in units of its standard deviation.

    Because of the unit, a weight has the same effect in every model.
    """

    half_saturation: float
    containment: float
    attention: float
    attention_deviation: float

    def logit(self, pool: ScoredPool) -> Tensor:
        """Fused logit, `s/(s+h) − c·d + a·attention/σ`, `(N,)`."""
        lexical = pool.lexical / (pool.lexical + self.half_saturation)
        return lexical - self.containment * pool.distance + self.attention / self.attention_deviation * pool.attention


@dataclass(frozen=True)
class Calibration:
    """Slack of containment, fusion weights without and with attention, and validation measures by shop."""

    slack: float
    fusion: FusionWeights
    attention_fusion: FusionWeights
    quality: dict[str, dict[str, float]] = field(default_factory=dict)


def calibrate(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> Calibration:
    """Choose slack and fusion on the judged queries of the shops, so that they are good enough in every shop.

    Without judgments, pseudo-queries replace judged ones for the slack, with the titles that contain all their words as
    relevant products, and the fusion gives the signals fixed relative spreads.
    """
    groups = {shop.name: list(_score_pools(ranker, shop)) for shop in shops if shop.judged_queries}
    if not groups:
        return _calibrate_unjudged(ranker, shops)
    slack = max(fit_slack(pools) for pools in groups.values())
    all_pools = list(groups.values())
    without_attention = choose_fusion(all_pools, attention=False)
    with_attention = choose_fusion(all_pools, attention=True)
    quality = {
        name: validation_quality(pools, slack, without_attention, with_attention) for name, pools in groups.items()
    }
    return Calibration(
        slack, scale_fusion(all_pools, without_attention), scale_fusion(all_pools, with_attention), quality
    )


def _calibrate_unjudged(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> Calibration:
    scored = (list(_score_pools(ranker, _with_pseudo_queries(shop))) for shop in shops if shop.titles)
    groups = [pools for pools in scored if pools] or [[_placeholder_pool()]]
    without_attention = scale_fusion(groups, balance_spread(groups, attention=False))
    with_attention = scale_fusion(groups, balance_spread(groups, attention=True))
    return Calibration(max(fit_slack(pools) for pools in groups), without_attention, with_attention)


def _placeholder_pool() -> ScoredPool:
    """Pool of a single candidate, for a catalogue without words."""
    one, flag = torch.ones(1), torch.ones(1, dtype=torch.bool)
    return ScoredPool(one, one, torch.zeros(1), -one, one, flag, flag)


def fit_slack(pools: Sequence[ScoredPool]) -> float:
    """Smallest slack that contains 93 % of a shop's relevant products; 0 if no product is relevant."""
    excess = _judged_excess(pools, relevant=True)
    return float(torch.quantile(excess, CONTAINED_FRACTION)) if len(excess) else 0.0


def choose_fusion(groups: Sequence[Sequence[ScoredPool]], *, attention: bool) -> FusionCandidate:
    """Among the weights that are good enough, those with the smallest influence of the model's signals.

    Weights are rated by their smallest gain in nDCG@10 over the lexical order in any shop; a fraction of the largest
    such gain is good enough. With the mean over shops, gains in a generated catalogue could outweigh losses in a real
    one. Since zero weights are among the candidates, no shop loses on its validation queries.
    """
    pools = [pool for group in groups for pool in group]
    median = _median_score(pools)
    deviation = _standard_deviation(torch.cat([pool.attention for pool in pools]))
    lexical_ndcg = [_ndcg_sum(group, [pool.lexical for pool in group]) for group in groups]
    attention_ratios = WEIGHT_RATIOS if attention else (0.0,)
    candidates = [
        FusionCandidate(median * factor, containment_weight, attention_weight, deviation)
        for factor, containment_weight, attention_weight in product(
            HALF_SATURATION_FACTORS, WEIGHT_RATIOS, attention_ratios
        )
    ]
    gains = [_smallest_gain(groups, lexical_ndcg, candidate) for candidate in candidates]
    required = (MIN_GAIN_FRACTION_WITH_ATTENTION if attention else MIN_GAIN_FRACTION) * max(gains)
    good_enough = [candidate for candidate, gain in zip(candidates, gains, strict=True) if gain >= required]
    return min(good_enough, key=lambda candidate: _model_influence(pools, candidate))


def balance_spread(groups: Sequence[Sequence[ScoredPool]], *, attention: bool) -> FusionCandidate:
    """Weights that spread candidates by attention as far as by the lexical score, and by containment .3 of that."""
    pools = [pool for group in groups for pool in group]
    half = _median_score(pools)
    lexical = _standard_deviation(torch.cat([pool.lexical / (pool.lexical + half) for pool in pools]))
    distance_deviation = _standard_deviation(torch.cat([pool.distance for pool in pools]))
    attention_deviation = _standard_deviation(torch.cat([pool.attention for pool in pools]))
    containment = CONTAINMENT_SPREAD_RATIO * lexical / distance_deviation
    return FusionCandidate(half, containment, lexical if attention else 0.0, attention_deviation)


def _median_score(pools: Sequence[ScoredPool]) -> float:
    """Median of the lexical scores above 0."""
    matching = torch.cat([pool.lexical[pool.lexical > 0] for pool in pools])
    return float(matching.median()) if len(matching) else DEFAULT_HALF_SATURATION


def _with_pseudo_queries(shop: TrainingShop) -> TrainingShop:
    """Up to 4,000 titles of a shop with pseudo-queries, for which titles with all their words are relevant."""
    random = Random(0)
    titles = random.sample(shop.titles, min(len(shop.titles), MAX_UNJUDGED_TITLES))
    sampled = TrainingShop(shop.name, titles, [])
    queries = sample_pseudo_queries(titles, random, MAX_UNJUDGED_QUERIES)
    relevant = ((text, tuple(sampled.rows_containing(text))) for text in queries)
    return replace(sampled, judged_queries=[JudgedQuery(text, rows, (1.0,) * len(rows)) for text, rows in relevant])


def _model_influence(pools: Sequence[ScoredPool], candidate: FusionCandidate) -> float:
    """Spread of the candidates by the model's signals, relative to their spread by the lexical score."""
    half = candidate.half_saturation
    lexical = _standard_deviation(torch.cat([pool.lexical / (pool.lexical + half) for pool in pools]))
    distance = _standard_deviation(torch.cat([pool.distance for pool in pools]))
    return (candidate.attention + distance * candidate.containment) / lexical


def _smallest_gain(
    groups: Sequence[Sequence[ScoredPool]], lexical_ndcg: Sequence[float], candidate: FusionCandidate
) -> float:
    fused_ndcg = [_ndcg_sum(group, [candidate.logit(pool) for pool in group]) for group in groups]
    return min(fused - lexical for fused, lexical in zip(fused_ndcg, lexical_ndcg, strict=True))


def _ndcg_sum(pools: Sequence[ScoredPool], scores: Sequence[Tensor]) -> float:
    """Sum of nDCG@10 over the judged products and nDCG@10 over the lexical window."""
    return sum(pool_ndcg(pools, scores, part) for part in POOL_PARTS)


def scale_fusion(groups: Sequence[Sequence[ScoredPool]], candidate: FusionCandidate) -> FusionWeights:
    """Weights that give the same order as a candidate, with logits of median 0 and a standard deviation of 1.5."""
    pools = [pool for group in groups for pool in group]
    logits = torch.cat([candidate.logit(pool) for pool in pools])
    scale = LOGIT_DEVIATION / _standard_deviation(logits)
    median_attention = float(torch.cat([pool.attention for pool in pools]).median())
    return FusionWeights(
        bias=-scale * float(logits.median()),
        lexical=scale,
        containment=scale * candidate.containment,
        half_saturation=candidate.half_saturation,
        median_distance=float(torch.cat([pool.distance for pool in pools]).median()),
        attention=scale * candidate.attention / candidate.attention_deviation,
        median_attention=median_attention if candidate.attention > 0 else 0.0,
    )


def _standard_deviation(values: Tensor) -> float:
    """Standard deviation; 1 if all values are equal or there is only one."""
    deviation = float(values.std()) if len(values) > 1 else 0.0
    return deviation if deviation > MIN_DEVIATION else 1.0


def _score_pools(ranker: AnthemRanker, shop: TrainingShop) -> Iterator[ScoredPool]:
    points = ranker.encode_titles(shop.titles)
    for pool in build_pools(shop, MAX_CALIBRATION_QUERIES):
        if not pool.rows:  # nothing is judged, and no title matches
            continue
        signals = ranker.compute_signals(pool.text, [shop.titles[row] for row in pool.rows], points[pool.rows])
        yield ScoredPool(pool.lexical, *signals, pool.gains, pool.judged, pool.window)


def validation_quality(
    pools: Sequence[ScoredPool], slack: float, without_attention: FusionCandidate, with_attention: FusionCandidate
) -> dict[str, float]:
    """Measures of a shop's validation queries: nDCG@10 of the judged pool and the window, and fractions contained.

    `without_attention` and `with_attention` are the fusions of two signals and of three.
    """
    scores = {
        "lexical": [pool.lexical for pool in pools],
        "containment": [-pool.distance for pool in pools],
        "attention": [pool.attention for pool in pools],
        "fused": [without_attention.logit(pool) for pool in pools],
        "fused_with_attention": [with_attention.logit(pool) for pool in pools],
    }
    measures = {f"pool_{name}": pool_ndcg(pools, values, "judged") for name, values in scores.items()}
    measures |= {f"window_{name}": pool_ndcg(pools, values, "window") for name, values in scores.items()}
    measures["relevant_contained"] = _true_fraction(_judged_excess(pools, relevant=True) <= slack)
    measures["irrelevant_contained"] = _true_fraction(_judged_excess(pools, relevant=False) <= slack)
    return {name: round(value, 4) for name, value in measures.items()}


def _judged_excess(pools: Sequence[ScoredPool], *, relevant: bool) -> Tensor:
    """Excess of all judged products that are relevant, or of all that are not."""
    return torch.cat([pool.excess[pool.judged & ((pool.gains >= MIN_RELEVANT_GAIN) == relevant)] for pool in pools])


def _true_fraction(flags: Tensor) -> float:
    return float(flags.float().mean()) if len(flags) else 0.0
