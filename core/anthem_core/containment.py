"""Containment of products in a query's hyperboloids, in numpy: what orders, and what decides.

The torch twin is `anthem_model.containment`; the Painless twin is `anthem_plugin.painless`. Tests hold the three equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anthem_core.lorentz import Array, seen_from


@dataclass(frozen=True, slots=True)
class Query:
    """A query as hyperboloids: `centres (K, D+1)`, `limits (K, D)` ≥ 0, `weights (K,)` ≥ 0 that sum to 1.

    `entities (T,)` and `intersections (T, T)` are the attention that made them, for explanation alone.
    """

    centres: Array
    limits: Array
    weights: Array
    entities: Array
    intersections: Array

    @property
    def size(self) -> float:
        """Size of the query, the weighted mean of its limits; it grows with generality."""
        return float(np.sum(self.weights * self.limits.mean(axis=-1)))


def distance(seen: Array, limits: Array, gamma: float) -> Array:
    """Distance to one hyperboloid, `d = ‖outside‖ + γ‖inside‖`; shapes `(..., D)` and `(..., D)` to `(...)`.

    `outside = max(|z| − l, 0)`, `inside = min(|z|, l)`, where `z` is the product as seen from the centre.
    """
    away = np.abs(seen)
    outside = np.linalg.norm(np.maximum(away - limits, 0), axis=-1)
    inside = np.linalg.norm(np.minimum(away, limits), axis=-1)
    total: Array = outside + gamma * inside
    return total


def query_distance(query: Query, points: Array, gamma: float) -> Array:
    """Distance of products to a query, `d = −log Σ w_k exp(−d_k)`; points `(N, D+1)` to `(N,)`."""
    seen = seen_from(query.centres[None, :, :], points[:, None, :])
    each = distance(seen, query.limits[None, :, :], gamma)
    nearest = each.min(axis=-1, keepdims=True)
    total: Array = nearest[:, 0] - np.log(np.exp(nearest - each) @ query.weights)
    return total


def excess(query: Query, points: Array) -> Array:
    """How far the worst coordinate lies beyond its limit, `min_k max_i (|z_i| − l_i)`; `(N, D+1)` to `(N,)`.

    Negative inside. Hyperboloids without weight are left out. A product is contained when `excess ≤ slack`.
    """
    seen = seen_from(query.centres[None, :, :], points[:, None, :])
    worst = np.max(np.abs(seen) - query.limits[None, :, :], axis=-1)
    least: Array = np.min(np.where(query.weights > 0, worst, np.inf), axis=-1)
    return least


def contained(query: Query, points: Array, slack: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each product lies in a hyperboloid of the query, every `|z_i| ≤ l_i + slack`; `(N, D+1)` to `(N,)`."""
    inside: np.ndarray[tuple[int], np.dtype[np.bool_]] = excess(query, points) <= slack
    return inside
