"""Fusion of a product's signals into one score, in numpy; the Painless twin is `anthem_plugin.scoring.painless`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.geometry.lorentz import Array

# Weight of the lexical score beside the fused one, which lies in [1, 2]: it orders what the window leaves out.
QUERY_WEIGHT = 1e-6
_OPTIONAL_WEIGHTS = ("attention", "median_attention")  # the script and older manifests do not know them


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """Weights of one set of signals, learned on training judgments; `half_saturation` differs per shop.

    The medians stand for what a product lacks. Without a weight for it attention counts for nothing.
    """

    bias: float
    lexical: float
    containment: float
    half_saturation: float
    median_distance: float
    attention: float = 0.0
    median_attention: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Weights by name, as the manifest keeps them; a 0 that goes without saying is left out."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL_WEIGHTS}

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> FusionWeights:
        """Weights from the manifest; a missing or unknown name raises TypeError."""
        return cls(**{name: float(value) for name, value in values.items()})


def saturate(lexical: Array, half: float) -> Array:
    """Lexical score on a bounded scale, `s / (s + h)`, in [0, 1); half at `s = h`."""
    return lexical / (lexical + half)


def fuse(lexical: Array, distance: Array, fusion: FusionWeights, attention: Array | None = None) -> Array:
    """Fused score, `σ(b + w_l·s/(s+h) − w_c·d + w_a·a)`, in [0, 1]; `(N,)` to `(N,)`.

    A distance that is not a number stands for a product without a vector, an attention that is none for one without a
    title: each counts as the bundle's median. Without any attention all products have that.
    """
    known = np.where(np.isnan(distance), fusion.median_distance, distance)
    attended = fusion.median_attention if attention is None else _replace_non_finite(attention, fusion.median_attention)
    logit = (
        fusion.bias
        + fusion.lexical * saturate(lexical, fusion.half_saturation)
        - fusion.containment * known
        + fusion.attention * attended
    )  # fmt: skip
    fused: Array = expit(logit)
    return fused


def _replace_non_finite(values: Array, otherwise: float) -> Array:
    return np.where(np.isfinite(values), values, otherwise)


def window_score(lexical: Array, fused: Array) -> Array:
    """Score of a product in the window, `1 + fused + 1e-6·s`, in float32 as OpenSearch keeps it."""
    score: Array = ((1 + fused).astype(np.float32) + np.float32(QUERY_WEIGHT) * lexical.astype(np.float32)).astype(
        np.float32
    )
    return score
