"""Calibration of a model that was adapted without judgments: that of its base, carried over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anthem_model.calibration import Calibration, fit_slack, measure_scale, score_unjudged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.fusion import FusionWeights
    from anthem_model.anthem_ranker import AnthemRanker
    from anthem_model.calibration import SignalScale
    from anthem_model.data.training_shop import TrainingShop


def carry_calibration(
    base: Calibration, base_ranker: AnthemRanker, ranker: AnthemRanker, shops: Sequence[TrainingShop]
) -> Calibration:
    """Slack and fusion weights that have the same effect in a ranker as those of `base` in the base's ranker.

    Both rankers score pseudo-queries of the shops, on which a signal has the medians m and m' and the standard
    deviations σ and σ'. Its weight w becomes `w' = w·σ/σ'`, and the value M that leaves a score as it is becomes
    `M' = m' + (M − m)·σ'/σ`. The slack changes by as much as the slack fitted to these pseudo-queries does.
    """
    before = [pools for pools in score_unjudged(base_ranker, shops) if pools]
    after = [pools for pools in score_unjudged(ranker, shops) if pools]
    if not before:
        return base
    scales = [measure_scale([pool for pools in groups for pool in pools]) for groups in (before, after)]
    slacks = [max(fit_slack(pools) for pools in groups) for groups in (before, after)]
    fusion = {name: _carry_weights(weights, *scales) for name, weights in base.fusion.items()}
    return Calibration(base.slack + slacks[1] - slacks[0], fusion)


def _carry_weights(weights: FusionWeights, before: SignalScale, after: SignalScale) -> FusionWeights:
    distance = after.distance_deviation / before.distance_deviation
    attention = after.attention_deviation / before.attention_deviation
    median_distance = after.median_distance + (weights.median_distance - before.median_distance) * distance
    return replace(
        weights,
        containment=weights.containment / distance,
        median_distance=max(0.0, median_distance),
        attention=weights.attention / attention,
        median_attention=after.median_attention + (weights.median_attention - before.median_attention) * attention,
    )
