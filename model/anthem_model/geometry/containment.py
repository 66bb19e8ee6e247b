"""Containment of products in hyperboloids, in torch; the numpy twin is `anthem_core.geometry.containment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anthem_model.geometry import lorentz
from anthem_model.geometry.lorentz import norm

if TYPE_CHECKING:
    from types import ModuleType


def outside_part(seen: Tensor, limits: Tensor) -> Tensor:
    """Part of every coordinate beyond its limit, `max(|z| − l, 0)`; shapes `(..., D)` to `(..., D)`."""
    return (seen.abs() - limits).clamp_min(0)


def hyperboloid_distance(seen: Tensor, limits: Tensor, gamma: float) -> Tensor:
    """Distance to one hyperboloid, `d = ‖max(|z| − l, 0)‖ + γ‖min(|z|, l)‖`; shapes `(..., D)` to `(...)`."""
    inside = torch.minimum(seen.abs(), limits)
    return (norm(outside_part(seen, limits)) + gamma * norm(inside)).squeeze(-1)


def query_distance(
    centres: Tensor,
    limits: Tensor,
    weights: Tensor,
    points: Tensor,
    gamma: float,
    space: ModuleType = lorentz,
) -> Tensor:
    """Distance of products to queries, `d = −log Σ w_k exp(−d_k)`.

    Shapes: centres `(B, K, D+1)`, limits `(B, K, D)`, weights `(B, K)`, points `(N, D+1)`; result `(B, N)`.
    """
    seen = space.seen_pairwise(centres, points)
    each = hyperboloid_distance(seen, limits[:, None], gamma)
    return union_distance(each, weights)


def union_distance(each: Tensor, weights: Tensor) -> Tensor:
    """Distances to several hyperboloids as one, `−log Σ w_k exp(−d_k)`; `(B,N,K)` and `(B,K)` to `(B,N)`."""
    return -torch.logsumexp(torch.log(weights.clamp_min(1e-9))[:, None] - each, dim=-1)


def excess(centres: Tensor, limits: Tensor, weights: Tensor, points: Tensor, space: ModuleType = lorentz) -> Tensor:
    """How far the worst coordinate lies beyond its limit, `min_k max_i (|z_i| − l_i)`; shapes as above, `(B, N)`."""
    seen = space.seen_pairwise(centres, points)
    worst = (seen.abs() - limits[:, None]).amax(-1)
    least: Tensor = worst.masked_fill((weights <= 0)[:, None], torch.inf).amin(-1)
    return least
