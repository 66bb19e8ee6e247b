"""The fusion weights that are tried, in units of the spread of each signal over the hits of an index."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.fusion import FusionWeights

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.tune.candidates import CandidateList
    from anthem_plugin.scoring.params import Signals

WEIGHT_RATIOS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # per standard deviation of a signal
LEXICAL_OFFSET_RATIOS = (1 / 16, 1 / 4, 1.0)  # of the median lexical score
LEXICAL_OFFSET_RANGE = (0.01, 1e6)  # that a bundle may have
SMALLEST_DEVIATION = 1e-5  # smaller ones count as 1: a bundle's weights are at most 1e6


@dataclass(frozen=True)
class SignalSpread:
    """Medians and standard deviations of the signals over all hits; they do not depend on judgments."""

    median_score: float
    median_distance: float
    distance_deviation: float
    median_attention: float
    attention_deviation: float

    @classmethod
    def of(cls, candidates: Iterable[CandidateList]) -> SignalSpread:
        """Measure the hits of all queries; a missing signal has median 0 and deviation 1."""
        lists = list(candidates)
        scores = np.concatenate([each.lexical for each in lists])
        distance = _finite([each.distance for each in lists])
        attention = _finite([each.attention for each in lists])
        positive = scores[scores > 0]
        return cls(float(np.median(positive)) if len(positive) else 1.0, *_describe(distance), *_describe(attention))

    def weights(self, offset: float, containment: float, attention: float) -> FusionWeights:
        """Weights in units of the signals themselves."""
        return FusionWeights(
            lexical_offset=float(np.clip(offset * self.median_score, *LEXICAL_OFFSET_RANGE)),
            containment=containment / self.distance_deviation,
            median_distance=self.median_distance,
            attention=attention / self.attention_deviation,
            median_attention=self.median_attention,
        )

    def ratios(self, fusion: FusionWeights) -> tuple[float, float]:
        """Weights of containment and attention per standard deviation."""
        return fusion.containment * self.distance_deviation, fusion.attention * self.attention_deviation


def weight_grid(spread: SignalSpread, signals: Signals, current: FusionWeights) -> tuple[FusionWeights, ...]:
    """The weights that are tried: the current ones first, then the lexical order, then the grid."""
    containment = WEIGHT_RATIOS if "containment" in signals else (0.0,)
    attention = WEIGHT_RATIOS if "attention" in signals else (0.0,)
    grid = [
        spread.weights(offset, *ratios)
        for ratios in product(containment, attention)
        for offset in (LEXICAL_OFFSET_RATIOS if any(ratios) else LEXICAL_OFFSET_RATIOS[:1])
    ]
    return current, *grid


def _finite(parts: Iterable[Array | None]) -> Array:
    values = np.concatenate([np.empty(0), *(part for part in parts if part is not None)])
    finite: Array = values[np.isfinite(values)]
    return finite


def _describe(values: Array) -> tuple[float, float]:
    """Median and standard deviation."""
    deviation = float(values.std()) if len(values) > 1 else 0.0
    return float(np.median(values)) if len(values) else 0.0, deviation if deviation > SMALLEST_DEVIATION else 1.0
