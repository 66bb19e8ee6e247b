"""The containment formulas of ANTHEM (Choudhary et al., WSDM 2022), in numpy.

A query is K hyperboloids: `centres (K, D+1)`, `limits (K, D)` ≥ 0 and `weights (K,)` ≥ 0 that sum to 1. A product is a
point `x (D+1)`. `query_distance` ranks products; `excess` decides whether a product is contained. The torch twin is
`anthem_model.geometry.containment`, the Painless twin `anthem_plugin.scoring.painless`. Tests check that all three give
the same numbers.
"""

from __future__ import annotations

import numpy as np

from anthem_core.geometry.lorentz import Array, logmap


def hyperboloid_distance(z: Array, limits: Array, gamma: float) -> Array:
    """Distance to one hyperboloid, `d = ‖max(|z| − l, 0)‖ + γ·‖min(|z|, l)‖`; shapes `(..., D)`, `(..., D)` to `(...)`.

    `z = logmap(c, x)` is the product relative to the centre. The first term is the part outside the limits, the second
    the part inside.
    """
    magnitude = np.abs(z)
    outside = np.linalg.norm(np.maximum(magnitude - limits, 0), axis=-1)
    inside = np.linalg.norm(np.minimum(magnitude, limits), axis=-1)
    distance: Array = outside + gamma * inside
    return distance


def query_distance(centres: Array, limits: Array, weights: Array, points: Array, gamma: float) -> Array:
    """Distance of products to a query, `d = −log Σ_k w_k·exp(−d_k)`; points `(N, D+1)` to `(N,)`."""
    z = logmap(centres[None, :, :], points[:, None, :])
    distances = hyperboloid_distance(z, limits[None, :, :], gamma)
    # Subtracting the smallest distance first keeps the exponentials from underflowing far away.
    nearest = distances.min(axis=-1, keepdims=True)
    total: Array = nearest[:, 0] - np.log(np.exp(nearest - distances) @ weights)
    return total


def excess(centres: Array, limits: Array, weights: Array, points: Array) -> Array:
    """How far the worst coordinate exceeds its limit, `min_k max_i (|z_i| − l_i)`; points `(N, D+1)` to `(N,)`.

    Negative inside. Hyperboloids of weight 0 are ignored. A product is contained when `excess ≤ slack`.
    """
    z = logmap(centres[None, :, :], points[:, None, :])
    worst = np.max(np.abs(z) - limits[None, :, :], axis=-1)
    smallest: Array = np.min(np.where(weights > 0, worst, np.inf), axis=-1)
    return smallest
