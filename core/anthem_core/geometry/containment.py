"""Containment of products in a query's hyperboloids, in numpy: what orders, and what decides.

Queries join to regions: `a | b` is either, `a & b` is both. The torch twin of a single query is
`anthem_model.geometry.containment`; the Painless twin is `anthem_plugin.scoring.painless`. Tests hold the three equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anthem_core.geometry.lorentz import Array


def hyperboloid_distance(seen: Array, limits: Array, gamma: float) -> Array:
    """Distance to one hyperboloid, `d = ‖outside‖ + γ‖inside‖`; shapes `(..., D)` and `(..., D)` to `(...)`.

    `outside = max(|z| − l, 0)`, `inside = min(|z|, l)`, where `z` is the product as seen from the centre.
    """
    away = np.abs(seen)
    outside = np.linalg.norm(np.maximum(away - limits, 0), axis=-1)
    inside = np.linalg.norm(np.minimum(away, limits), axis=-1)
    total: Array = outside + gamma * inside
    return total
