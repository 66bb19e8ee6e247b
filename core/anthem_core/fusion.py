"""Fusion of a product's signals into one score, in numpy.

It has three twins: the Painless script in `anthem_plugin.scoring.painless_source`, the torch formulas with which
`anthem_model.calibration` chooses the weights, and `fusion.js` of the page to try it. Tests check that all agree.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.geometry.lorentz import Array

# Largest ratio of two products' factors: a product that the caller's boost raises by more stays first.
MAX_FACTOR_RATIO = 50.0
MAX_SHIFT = math.log(MAX_FACTOR_RATIO) / 2
# `query_weight` of OpenSearch's rescore. It is so small that products outside the window stay below it, in lexical
# order, and that the lexical score, which the fused one already contains, adds nothing inside it.
QUERY_WEIGHT = 1e-12


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """Weights for one set of signals, learned from training judgments; a signal outside the set has weight 0.

    Attributes:
        lexical_offset: h, in units of the lexical score; smaller differences between low scores count little.
        containment: Weight of the distance.
        median_distance: Distance at which containment changes nothing; a product without a vector has it.
        attention: Weight of the attention score.
        median_attention: Attention score that changes nothing; a product without trigrams has it.
    """

    lexical_offset: float
    containment: float = 0.0
    median_distance: float = 0.0
    attention: float = 0.0
    median_attention: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Weights by name, as the manifest stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> FusionWeights:
        """Weights from the manifest.

        Raises:
            TypeError: A weight is missing or unknown.
        """
        return cls(**{name: float(value) for name, value in values.items()})


def model_shift(distance: Array | None, attention: Array | None, fusion: FusionWeights) -> Array:
    """What the model says about products, `m = w_a·(a − median_a) − w_c·(d − median_d)`; `(N,)` each.

    NaN marks a product without the signal, None a signal that no product has: it changes nothing.
    """
    attended = _deviation(attention, fusion.median_attention)
    contained = _deviation(distance, fusion.median_distance)
    shift: Array = fusion.attention * attended - fusion.containment * contained
    return shift


def fuse(lexical: Array, shift: Array, fusion: FusionWeights) -> Array:
    """Score of products, `(s + h)·exp(B·tanh(m/B))`, `(N,)`: the lexical score times a factor between 1/7 and 7.

    Its logarithm is `log(h) + log1p(s/h) + B·tanh(m/B)`, so only ratios of lexical scores count: their scale hardly
    matters, and a product whose `s + h` is more than 50 times as high as another's is ranked above it.
    """
    scores: Array = (lexical + fusion.lexical_offset) * np.exp(MAX_SHIFT * np.tanh(shift / MAX_SHIFT))
    return scores


def relevance(shift: Array) -> Array:
    """Relevance of products without a lexical score, `σ(m) = 1 / (1 + exp(−m))`, in [0, 1]; `(N,)` to `(N,)`."""
    exponential = np.exp(-np.abs(shift))  # the exponent is never positive, so nothing overflows
    result: Array = np.where(shift >= 0, 1, exponential) / (1 + exponential)
    return result


def _deviation(values: Array | None, median: float) -> Array:
    if values is None:
        return np.zeros(())
    return np.where(np.isfinite(values), values - median, 0.0)
