"""How far out points lie in a query's region, in units of the region: a measure in which its box becomes a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.geometry.lorentz import logmap

if TYPE_CHECKING:
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery

_SMALLEST_LIMIT = 1e-6
_RANDOM_WAYS = 256


def gauge(query: EncodedQuery, points: Array, slack: float) -> Array:
    """How far out points lie in a query's region, `min_k max_i |z_i| / (l_i + slack)`; `(N, D+1)` to `(N,)`.

    At most 1 inside: `gauge ≤ 1` where `excess ≤ slack`. Hyperboloids of weight 0 are ignored.
    """
    limits = np.maximum(query.limits + slack, _SMALLEST_LIMIT)
    z = logmap(query.centres[None], points[:, None])
    furthest = np.where(query.weights > 0, (np.abs(z) / limits[None]).max(-1), np.inf)
    smallest: Array = furthest.min(-1)
    return smallest


def reach(query: EncodedQuery, slack: float) -> float:
    """Median distance from a query's centre at which a way in a random direction leaves its largest hyperboloid."""
    limits = np.maximum(query.limits[np.argmax(query.weights)] + slack, _SMALLEST_LIMIT)
    ways = np.random.default_rng(0).normal(size=(_RANDOM_WAYS, len(limits)))
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    return float(np.median((limits / np.abs(ways)).min(-1)))
