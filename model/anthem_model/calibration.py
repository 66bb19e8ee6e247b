"""What is chosen on the validation part once the model is trained: slack, medians, fusion weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import torch

from anthem_core.fusion import FusionWeights
from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.trainer.validation import build_pools, pool_ndcg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from anthem_model.anthem_ranker import AnthemRanker

WEIGHT_RATIOS = (0.0, *(round(0.01 * 1.8**step, 4) for step in range(12)))  # of a signal's weight to the lexical one
HALF_SATURATION_FACTORS = (0.5, 1.0, 2.0, 4.0)  # of the median lexical score, as half-saturation
DEFAULT_HALF_SATURATION = 10.0  # half-saturation of a lexical score where nothing matches
CONTAINED_FRACTION = 0.93  # share of the relevant validation products that the default slack contains
MIN_RELEVANT_GAIN = 0.5  # gain from which a product counts as relevant
LOGIT_DEVIATION = 1.5  # standard deviation of the fused logit: wide enough to order, narrow enough for float32 near 1
MIN_GAIN_FRACTION_WITH_ATTENTION = 0.85  # of the largest gain
MIN_GAIN_FRACTION = (
    1 / 3
)  # of it without attention: what one point a product gains in a shop it knows is no promise elsewhere
MAX_CALIBRATION_QUERIES = 600  # validation queries a shop
CONTAINMENT_SPREAD_RATIO = 0.3  # spread of the containment where nobody judged, of the lexical score's
MAX_UNJUDGED_TITLES, MAX_UNJUDGED_QUERIES = 4000, 300  # of a catalogue that nobody judged, titles and pseudo-queries
MODEL_SIGNALS = ("distance", "attention")


@dataclass(frozen=True)
class ScoredPool:
    """A validation query's window and judged products: signals, gains, which are judged, which in the window."""

    lexical: Tensor
    distance: Tensor
    excess: Tensor
    attention: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


_ONE, _TRUE = torch.ones(1), torch.ones(1, dtype=torch.bool)
_EMPTY_POOL = ScoredPool(_ONE, _ONE, 0 * _ONE, -_ONE, _ONE, _TRUE, _TRUE)  # where there are no words to ask for


@dataclass(frozen=True)
class FusionCandidate:
    """A fusion before it is scaled: the half-saturation, and weights where that of the lexical signal is 1.

    Attention is counted in standard deviations, so that a weight means the same in every model.
    """

    half: float
    containment: float
    attention: float
    deviation: float

    def logit(self, one: ScoredPool) -> Tensor:
        """Fused logit, `s/(s+h) − c·d + a·attention/σ`, `(N,)`."""
        lexical = one.lexical / (one.lexical + self.half)
        return lexical - self.containment * one.distance + self.attention / self.deviation * one.attention


@dataclass(frozen=True)
class Calibration:
    """Slack of the containment, fusion without and with attention, and by shop what they gave on validation queries."""

    slack: float
    fusion: FusionWeights
    attentive: FusionWeights
    quality: dict[str, dict[str, float]] = field(default_factory=dict)


def calibrate(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> Calibration:
    """Choose slack and fusion on the shops' validation queries: what is enough in every shop, and harms none.

    Without judgments (a catalogue alone) pseudo-queries are asked, the titles that hold all their words are what the
    slack is to contain, and the signals spread alike.
    """
    groups = {shop.name: list(_score_pools(ranker, shop)) for shop in shops if shop.judged}
    if not groups:
        return _calibrate_unjudged(ranker, shops)
    slack = max(fit_slack(group) for group in groups.values())
    every = list(groups.values())
    two, three = choose_fusion(every, attention=False), choose_fusion(every, attention=True)
    found = {name: validation_quality(group, slack, two, three) for name, group in groups.items()}
    return Calibration(slack, scale_fusion(every, two), scale_fusion(every, three), found)


def _calibrate_unjudged(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> Calibration:
    asked = (list(_score_pools(ranker, _with_pseudo_queries(shop))) for shop in shops if shop.titles)
    groups = [group for group in asked if group] or [[_EMPTY_POOL]]
    two, three = (scale_fusion(groups, balance_spread(groups, attention=attention)) for attention in (False, True))
    return Calibration(max(fit_slack(group) for group in groups), two, three)


def fit_slack(group: Sequence[ScoredPool]) -> float:
    """Smallest slack that contains the wanted share of a shop's relevant products; 0 where none is relevant."""
    beyond = _judged_excess(group, relevant=True)
    return float(torch.quantile(beyond, CONTAINED_FRACTION)) if len(beyond) else 0.0


def choose_fusion(groups: Sequence[Sequence[ScoredPool]], *, attention: bool) -> FusionCandidate:
    """The most lexical weights that gain nearly the most over lexical alone, in the shop that gains least.

    Weight 0 for a signal gains nothing anywhere, so on these queries no shop is worse off than before. Shops are not
    averaged: a catalogue made by a program gains much, and would pay for losses in a real one. Nearly the most is
    enough, without attention a third of it, for the next shop is another one, and what is sure there is its lexical
    order.
    """
    every = [one for group in groups for one in group]
    middle = _median_score(every)
    deviation = _standard_deviation(torch.cat([one.attention for one in every]))
    before = [_ndcg_sum(group, [one.lexical for one in group]) for group in groups]
    ratios = WEIGHT_RATIOS if attention else (0.0,)
    tried = [
        FusionCandidate(middle * share, containment, looked, deviation)
        for share, containment, looked in product(HALF_SATURATION_FACTORS, WEIGHT_RATIOS, ratios)
    ]
    gains = [_smallest_gain(groups, before, weights) for weights in tried]
    wanted = (MIN_GAIN_FRACTION_WITH_ATTENTION if attention else MIN_GAIN_FRACTION) * max(gains)
    enough = [weights for weights, gain in zip(tried, gains, strict=True) if gain >= wanted]
    return min(enough, key=lambda weights: _model_influence(every, weights))


def balance_spread(groups: Sequence[Sequence[ScoredPool]], *, attention: bool) -> FusionCandidate:
    """Weights by which attention spreads candidates as far as the lexical score does, and containment .3 of that."""
    every = [one for group in groups for one in group]
    half = _median_score(every)
    lexical = _standard_deviation(torch.cat([one.lexical / (one.lexical + half) for one in every]))
    distance, attended = (
        _standard_deviation(torch.cat([getattr(one, name) for one in every])) for name in MODEL_SIGNALS
    )
    return FusionCandidate(half, CONTAINMENT_SPREAD_RATIO * lexical / distance, lexical if attention else 0.0, attended)


def _median_score(every: Sequence[ScoredPool]) -> float:
    """Median lexical score of what matches at all."""
    matching = torch.cat([one.lexical[one.lexical > 0] for one in every])
    return float(matching.median()) if len(matching) else DEFAULT_HALF_SATURATION


def _with_pseudo_queries(shop: TrainingShop) -> TrainingShop:
    """A shop's titles, or some thousands of them, asked for by words of their own; relevant is what holds them all."""
    chance = Random(0)
    some = TrainingShop(shop.name, chance.sample(shop.titles, min(len(shop.titles), MAX_UNJUDGED_TITLES)), [])
    asked = ((text, some.holding(text)) for text in sample_pseudo_queries(some.titles, chance, MAX_UNJUDGED_QUERIES))
    return replace(some, judged=[JudgedQuery(text, tuple(rows), (1.0,) * len(rows)) for text, rows in asked])


def _model_influence(every: Sequence[ScoredPool], weights: FusionCandidate) -> float:
    """How far the other signals spread the candidates, in terms of how far the lexical one does."""
    lexical = _standard_deviation(torch.cat([one.lexical / (one.lexical + weights.half) for one in every]))
    distance = _standard_deviation(torch.cat([one.distance for one in every]))
    return (weights.attention + distance * weights.containment) / lexical


def _smallest_gain(groups: Sequence[Sequence[ScoredPool]], before: Sequence[float], weights: FusionCandidate) -> float:
    after = [_ndcg_sum(group, [weights.logit(one) for one in group]) for group in groups]
    return min(then - first for then, first in zip(after, before, strict=True))


def _ndcg_sum(group: Sequence[ScoredPool], scores: Sequence[Tensor]) -> float:
    """Sum of nDCG@10 over the judged products and over the lexical window."""
    return sum(pool_ndcg(group, scores, part) for part in ("judged", "window"))


def scale_fusion(groups: Sequence[Sequence[ScoredPool]], weights: FusionCandidate) -> FusionWeights:
    """Weights of the same order, whose logits spread as wide as wanted around 0."""
    every = [one for group in groups for one in group]
    logits = torch.cat([weights.logit(one) for one in every])
    scale = LOGIT_DEVIATION / _standard_deviation(logits)
    distance, attention = (float(torch.cat([getattr(one, name) for one in every]).median()) for name in MODEL_SIGNALS)
    attentive = weights.attention > 0
    return FusionWeights(
        -scale * float(logits.median()),
        scale,
        scale * weights.containment,
        weights.half,
        distance,
        scale * weights.attention / weights.deviation,
        attention if attentive else 0.0,
    )


def _standard_deviation(values: Tensor) -> float:
    """Standard deviation; 1 where values do not differ, as of one alone."""
    found = float(values.std()) if len(values) > 1 else 0.0
    return found if found > 1e-6 else 1.0


def _score_pools(ranker: AnthemRanker, shop: TrainingShop) -> Iterator[ScoredPool]:
    points = ranker.points(shop.titles)
    for one in build_pools(shop, MAX_CALIBRATION_QUERIES):
        if not one.rows:  # asked for by nobody's judgment, and by no word but stop words
            continue
        found = ranker.signals(one.text, [shop.titles[row] for row in one.rows], points[one.rows])
        yield ScoredPool(one.lexical, *found, one.gains, one.judged, one.window)


def validation_quality(
    group: Sequence[ScoredPool], slack: float, two: FusionCandidate, three: FusionCandidate
) -> dict[str, float]:
    """What a calibration gives on the queries it was chosen on: nDCG@10 of judged pool and window, shares contained."""
    orders = {
        "lexical": [one.lexical for one in group],
        "containment": [-one.distance for one in group],
        "attention": [one.attention for one in group],
        "fused": [two.logit(one) for one in group],
        "fused_with_attention": [three.logit(one) for one in group],
    }
    found = {
        f"{shown}_{name}": pool_ndcg(group, scores, part)
        for shown, part in (("pool", "judged"), ("window", "window"))
        for name, scores in orders.items()
    }
    found["relevant_contained"] = _true_fraction(_judged_excess(group, relevant=True) <= slack)
    found["irrelevant_contained"] = _true_fraction(_judged_excess(group, relevant=False) <= slack)
    return {name: round(value, 4) for name, value in found.items()}


def _judged_excess(group: Sequence[ScoredPool], *, relevant: bool) -> Tensor:
    """Excess of all judged products of one kind."""
    return torch.cat([one.excess[one.judged & ((one.gains >= MIN_RELEVANT_GAIN) == relevant)] for one in group])


def _true_fraction(flags: Tensor) -> float:
    return float(flags.float().mean()) if len(flags) else 0.0
