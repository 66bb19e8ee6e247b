"""Fusion of a product's signals into one score, in numpy; the Painless twin is `anthem_plugin.painless`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.lorentz import Array

# Weight of the lexical score beside the fused one, which lies in [1, 2]: it orders what the window leaves out.
QUERY_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of `lexical + containment`, learned on training judgments; `half_saturation` differs per shop."""

    bias: float
    lexical: float
    containment: float
    half_saturation: float
    median_distance: float

    def to_dict(self) -> dict[str, float]:
        """Weights by name, as the manifest keeps them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Fusion:
        """Weights from the manifest; a missing or unknown name raises TypeError."""
        return cls(**{name: float(value) for name, value in values.items()})


def saturate(lexical: Array, half: float) -> Array:
    """Lexical score on a bounded scale, `s / (s + h)`, in [0, 1); half at `s = h`."""
    return lexical / (lexical + half)


def fuse(lexical: Array, distance: Array, fusion: Fusion) -> Array:
    """Fused score, `σ(b + w_l·s/(s+h) − w_c·d)`, in [0, 1]; `(N,)` to `(N,)`.

    A distance that is not a number stands for a product without a vector and counts as the bundle's median.
    """
    known = np.where(np.isnan(distance), fusion.median_distance, distance)
    logit = (
        fusion.bias
        + fusion.lexical * saturate(lexical, fusion.half_saturation)
        - fusion.containment * known
    )  # fmt: skip
    fused: Array = expit(logit)
    return fused


def window_score(lexical: Array, fused: Array) -> Array:
    """Score of a product in the window, `1 + fused + 1e-6·s`, in float32 as OpenSearch keeps it."""
    score: Array = ((1 + fused).astype(np.float32) + np.float32(QUERY_WEIGHT) * lexical.astype(np.float32)).astype(
        np.float32
    )
    return score
