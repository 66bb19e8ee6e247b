"""Fusion of a product's signals into one score, in numpy.

It has two twins: the Painless script of `anthem_plugin.scoring.painless`, and the torch formulas with which
`anthem_model.calibration` chooses the weights. Tests check that numpy and Painless give the same scores.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.geometry.lorentz import Array

# `query_weight` of OpenSearch's rescore. The fused part of a score lies in [1, 2]; the lexical score is added with this
# weight, so that it breaks ties and products outside the rescore window keep their lexical order.
QUERY_WEIGHT = 1e-6
_OPTIONAL_WEIGHTS = ("attention", "median_attention")  # the script does not use them, and older manifests lack them


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """Weights for one set of signals, learned from training judgments; `half_saturation` depends on the catalogue.

    The medians replace a signal that a product lacks. With an attention weight of 0, attention has no effect.
    """

    bias: float
    lexical: float
    containment: float
    half_saturation: float
    median_distance: float
    attention: float = 0.0
    median_attention: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Weights by name, as the manifest stores them; optional weights are omitted where they are 0."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL_WEIGHTS}

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> FusionWeights:
        """Weights from the manifest.

        Raises:
            TypeError: A weight is missing or unknown.
        """
        return cls(**{name: float(value) for name, value in values.items()})


def saturate(lexical: Array, half: float) -> Array:
    """Lexical score on a bounded scale, `s / (s + h)`, in [0, 1); it is 0.5 at `s = h`."""
    return lexical / (lexical + half)


def fuse(lexical: Array, distance: Array, fusion: FusionWeights, attention: Array | None = None) -> Array:
    """Fused score, `σ(b + w_l·s/(s+h) − w_c·d + w_a·a)`, in [0, 1]; `(N,)` to `(N,)`.

    A NaN distance marks a product without a vector, a NaN attention one without a title: the bundle's medians are used
    in their place. Without any attention, every product gets the median.
    """
    known = np.where(np.isnan(distance), fusion.median_distance, distance)
    attended = fusion.median_attention if attention is None else _replace_non_finite(attention, fusion.median_attention)
    return _sigmoid(
        fusion.bias
        + fusion.lexical * saturate(lexical, fusion.half_saturation)
        - fusion.containment * known
        + fusion.attention * attended
    )


def rescore_window_score(lexical: Array, fused: Array) -> Array:
    """Score of a product in the rescore window, `1 + fused + 1e-6·s`, in float32 as OpenSearch computes it."""
    score: Array = ((1 + fused).astype(np.float32) + np.float32(QUERY_WEIGHT) * lexical.astype(np.float32)).astype(
        np.float32
    )
    return score


def _sigmoid(x: Array) -> Array:
    """Logistic function, `1 / (1 + exp(−x))`; the exponent is never positive, so nothing overflows."""
    exponential = np.exp(-np.abs(x))
    result: Array = np.where(x >= 0, 1, exponential) / (1 + exponential)
    return result


def _replace_non_finite(values: Array, replacement: float) -> Array:
    return np.where(np.isfinite(values), values, replacement)
