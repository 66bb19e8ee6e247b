"""Calibration of a trained model on its validation queries: the slack of containment and the weights of fusion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import torch

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_ATTENTION, LEXICAL_CONTAINMENT
from anthem_core.fusion import MAX_SHIFT, FusionWeights
from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.trainer.validation import POOL_PARTS, build_pools, pool_ndcg

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from torch import Tensor

    from anthem_model.anthem_ranker import AnthemRanker

WEIGHT_RATIOS = (0.0, *(round(0.02 * 1.5**step, 4) for step in range(10)))  # per standard deviation of a signal
LEXICAL_OFFSET_FACTORS = (1 / 16, 1 / 4)  # of the median lexical score; the smaller, the less its scale matters
DEFAULT_LEXICAL_SCORE = 10.0  # if no lexical score is above 0
CONTAINED_FRACTION = 0.9  # of the relevant validation products, which the slack must contain
MIN_RELEVANT_GAIN = 0.5
# A fusion is good enough with this fraction of the largest gain; without attention, which carries over best to other
# catalogues, with less.
MIN_GAIN_FRACTION_WITH_ATTENTION = 0.85
MIN_GAIN_FRACTION = 1 / 3
MAX_CALIBRATION_QUERIES = 600  # per shop
# With fewer judged queries, chance decides which weights seem best. A model that started from a teacher then
# gets fixed weights per standard deviation of a signal, which suit shops that it never saw (docs/lab-notebook.md).
MIN_CALIBRATION_QUERIES = 100
TAUGHT_RATIOS = {
    LEXICAL_CONTAINMENT: (0.4, 0.0),
    LEXICAL_ATTENTION: (0.0, 0.6),
    ALL_SIGNALS: (0.6, 0.6),
}
CONTAINMENT_SPREAD_RATIO = 0.3  # spread of containment relative to the lexical score, without judgments
MAX_UNJUDGED_TITLES = 4000  # that a catalogue without judgments is calibrated on
MAX_UNJUDGED_QUERIES = 300
SIGNAL_SETS = {
    LEXICAL_CONTAINMENT: ("containment",),
    LEXICAL_ATTENTION: ("attention",),
    ALL_SIGNALS: ("containment", "attention"),
}
MIN_DEVIATION = 1e-6  # smaller standard deviations count as 0


@dataclass(frozen=True)
class ScoredPool:
    """Candidates of a validation query with their signals and gains, and flags of the judged and of the window.

    The attention of a title without letters or digits is NaN.
    """

    lexical: Tensor
    distance: Tensor
    excess: Tensor
    attention: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


@dataclass(frozen=True)
class SignalScale:
    """Medians and standard deviations of the signals over all candidates."""

    median_score: float
    median_distance: float
    distance_deviation: float
    median_attention: float
    attention_deviation: float


@dataclass(frozen=True)
class FusionCandidate:
    """Fusion weights in units of the signals' standard deviations, so that one has the same effect in every model."""

    lexical_offset: float
    containment: float
    attention: float
    scale: SignalScale

    @property
    def weights(self) -> FusionWeights:
        """The weights in units of the signals themselves."""
        scale = self.scale
        return FusionWeights(
            lexical_offset=self.lexical_offset,
            containment=self.containment / scale.distance_deviation,
            median_distance=scale.median_distance,
            attention=self.attention / scale.attention_deviation,
            median_attention=scale.median_attention,
        )

    def log_score(self, pool: ScoredPool) -> Tensor:
        """Logarithm of the fused score, `log(s + h) + B·tanh(m/B)`, `(N,)`; the twin of `anthem_core.fusion.fuse`."""
        weights = self.weights
        attended = (pool.attention - weights.median_attention).nan_to_num(0.0)  # a missing score counts as the median
        shift = weights.attention * attended - weights.containment * (pool.distance - weights.median_distance)
        return torch.log(pool.lexical + weights.lexical_offset) + MAX_SHIFT * torch.tanh(shift / MAX_SHIFT)


@dataclass(frozen=True)
class Calibration:
    """Slack of containment, fusion weights by set of signals, and validation measures by shop."""

    slack: float
    fusion: dict[str, FusionWeights]
    quality: dict[str, dict[str, float]] = field(default_factory=dict)


def calibrate(ranker: AnthemRanker, shops: Sequence[TrainingShop], *, is_taught: bool = False) -> Calibration:
    """Choose slack and fusion on the judged queries of the shops, so that they are good enough in every shop.

    With fewer than 100 queries, a ranker that a teacher started, itself or its base (`is_taught`), gets fixed weights.
    Without judgments, pseudo-queries replace judged ones for the slack, with the titles that contain all their words as
    relevant products, and the fusion gives the signals fixed relative spreads.
    """
    groups = {shop.name: list(_score_pools(ranker, shop)) for shop in shops if shop.judged_queries}
    if not groups:
        return _calibrate_unjudged(ranker, shops)
    slack = max(fit_slack(pools) for pools in groups.values())
    if is_taught and sum(map(len, groups.values())) < MIN_CALIBRATION_QUERIES:
        chosen = taught_fusion([pool for pools in groups.values() for pool in pools])
    else:
        chosen = {name: choose_fusion(list(groups.values()), signals) for name, signals in SIGNAL_SETS.items()}
    quality = {name: validation_quality(pools, slack, chosen) for name, pools in groups.items()}
    return Calibration(slack, _final_weights(chosen), quality)


def _calibrate_unjudged(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> Calibration:
    groups = [pools for pools in score_unjudged(ranker, shops) if pools] or [[_placeholder_pool()]]
    balanced = {name: balance_spread(groups, signals) for name, signals in SIGNAL_SETS.items()}
    return Calibration(max(fit_slack(pools) for pools in groups), _final_weights(balanced))


def score_unjudged(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> list[list[ScoredPool]]:
    """Candidates of pseudo-queries of each shop that has titles."""
    return [list(_score_pools(ranker, _with_pseudo_queries(shop))) for shop in shops if shop.titles]


def _final_weights(candidates: Mapping[str, FusionCandidate]) -> dict[str, FusionWeights]:
    return {name: candidate.weights for name, candidate in candidates.items()}


def _placeholder_pool() -> ScoredPool:
    """Pool of a single candidate, for a catalogue without words."""
    one, flag = torch.ones(1), torch.ones(1, dtype=torch.bool)
    return ScoredPool(one, one, torch.zeros(1), -one, one, flag, flag)


def fit_slack(pools: Sequence[ScoredPool]) -> float:
    """Smallest slack that contains 90 % of a shop's relevant products; 0 if no product is relevant."""
    excess = _judged_excess(pools, relevant=True)
    return float(torch.quantile(excess, CONTAINED_FRACTION, interpolation="higher")) if len(excess) else 0.0


def choose_fusion(groups: Sequence[Sequence[ScoredPool]], signals: Collection[str]) -> FusionCandidate:
    """Among the weights that are good enough, those with the least containment, and of these with the least attention.

    Weights are rated by their smallest gain in nDCG@10 over the lexical order in any shop; a fraction of the largest
    such gain is good enough. With the mean over shops, gains in a generated catalogue could outweigh losses in a real
    one. Since zero weights are among the candidates, no shop loses on its validation queries. Containment comes first
    because its gain on a known catalogue promises little for another one.
    """
    scale = measure_scale([pool for group in groups for pool in group])
    lexical_ndcg = [_ndcg_sum(group, [pool.lexical for pool in group]) for group in groups]
    candidates = [
        FusionCandidate(scale.median_score * factor, containment, attention, scale)
        for factor, containment, attention in product(
            LEXICAL_OFFSET_FACTORS,
            WEIGHT_RATIOS if "containment" in signals else (0.0,),
            WEIGHT_RATIOS if "attention" in signals else (0.0,),
        )
    ]
    gains = [_smallest_gain(groups, lexical_ndcg, candidate) for candidate in candidates]
    required = (MIN_GAIN_FRACTION_WITH_ATTENTION if "attention" in signals else MIN_GAIN_FRACTION) * max(gains)
    good_enough = [candidate for candidate, gain in zip(candidates, gains, strict=True) if gain >= required]
    return min(good_enough, key=lambda candidate: (candidate.containment, candidate.attention))


def taught_fusion(pools: Sequence[ScoredPool]) -> dict[str, FusionCandidate]:
    """Weights that are fixed per standard deviation of a signal, for each set of signals."""
    scale = measure_scale(pools)
    offset = scale.median_score * LEXICAL_OFFSET_FACTORS[0]
    return {name: FusionCandidate(offset, *ratios, scale) for name, ratios in TAUGHT_RATIOS.items()}


def balance_spread(groups: Sequence[Sequence[ScoredPool]], signals: Collection[str]) -> FusionCandidate:
    """Weights that spread candidates by attention as far as by the lexical score, and by containment .3 of that."""
    pools = [pool for group in groups for pool in group]
    scale = measure_scale(pools)
    offset = scale.median_score * LEXICAL_OFFSET_FACTORS[-1]
    lexical = _standard_deviation(torch.cat([torch.log(pool.lexical + offset) for pool in pools]))
    containment = CONTAINMENT_SPREAD_RATIO * lexical if "containment" in signals else 0.0
    return FusionCandidate(offset, containment, lexical if "attention" in signals else 0.0, scale)


def measure_scale(pools: Sequence[ScoredPool]) -> SignalScale:
    """Medians and standard deviations of all candidates; the median score is that of the scores above 0.

    Candidates without an attention score do not count for its median and deviation.
    """
    matching = torch.cat([pool.lexical[pool.lexical > 0] for pool in pools])
    distance = torch.cat([pool.distance for pool in pools])
    attention = torch.cat([pool.attention[pool.attention.isfinite()] for pool in pools])
    return SignalScale(
        median_score=float(matching.median()) if len(matching) else DEFAULT_LEXICAL_SCORE,
        median_distance=float(distance.median()),
        distance_deviation=_standard_deviation(distance),
        median_attention=float(attention.median()) if len(attention) else 0.0,
        attention_deviation=_standard_deviation(attention),
    )


def _with_pseudo_queries(shop: TrainingShop) -> TrainingShop:
    """Up to 4,000 titles of a shop with pseudo-queries, for which titles with all their words are relevant."""
    random = Random(0)
    titles = random.sample(shop.titles, min(len(shop.titles), MAX_UNJUDGED_TITLES))
    sampled = TrainingShop(shop.name, titles, [])
    queries = sample_pseudo_queries(titles, random, MAX_UNJUDGED_QUERIES)
    relevant = ((text, tuple(sampled.rows_containing(text))) for text in queries)
    return replace(sampled, judged_queries=[JudgedQuery(text, rows, (1.0,) * len(rows)) for text, rows in relevant])


def _smallest_gain(
    groups: Sequence[Sequence[ScoredPool]], lexical_ndcg: Sequence[float], candidate: FusionCandidate
) -> float:
    fused_ndcg = [_ndcg_sum(group, [candidate.log_score(pool) for pool in group]) for group in groups]
    return min(fused - lexical for fused, lexical in zip(fused_ndcg, lexical_ndcg, strict=True))


def _ndcg_sum(pools: Sequence[ScoredPool], scores: Sequence[Tensor]) -> float:
    """Sum of nDCG@10 over the judged products and nDCG@10 over the lexical window."""
    return sum(pool_ndcg(pools, scores, part) for part in POOL_PARTS)


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
    pools: Sequence[ScoredPool], slack: float, fusions: Mapping[str, FusionCandidate]
) -> dict[str, float]:
    """Measures of a shop's validation queries: nDCG@10 of the judged pool and the window, and fractions contained."""
    scores = {
        "lexical": [pool.lexical for pool in pools],
        "containment": [-pool.distance for pool in pools],
        "attention": [pool.attention.nan_to_num(-torch.inf) for pool in pools],
    }
    scores |= {name: [candidate.log_score(pool) for pool in pools] for name, candidate in fusions.items()}
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
