"""The containment formulas of ANTHEM in torch; the numpy twin is `anthem_core.geometry.containment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anthem_model.geometry import lorentz
from anthem_model.geometry.lorentz import norm

if TYPE_CHECKING:
    from types import ModuleType


def outside_part(z: Tensor, limits: Tensor) -> Tensor:
    """How far every coordinate exceeds its limit, `max(|z| − l, 0)`; shapes `(..., D)` to `(..., D)`."""
    return (z.abs() - limits).clamp_min(0)


def hyperboloid_distance(z: Tensor, limits: Tensor, gamma: float) -> Tensor:
    """Distance to one hyperboloid, `d = ‖max(|z| − l, 0)‖ + γ‖min(|z|, l)‖`; shapes `(..., D)` to `(...)`."""
    inside = torch.minimum(z.abs(), limits)
    return (norm(outside_part(z, limits)) + gamma * norm(inside)).squeeze(-1)


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
    z = space.pairwise_logmap(centres, points)
    return union_distance(hyperboloid_distance(z, limits[:, None], gamma), weights)


def union_distance(distances: Tensor, weights: Tensor) -> Tensor:
    """Distance to the union of a query's hyperboloids, `−log Σ w_k exp(−d_k)`; `(B,N,K)` and `(B,K)` to `(B,N)`."""
    return -torch.logsumexp(torch.log(weights.clamp_min(1e-9))[:, None] - distances, dim=-1)


def excess(centres: Tensor, limits: Tensor, weights: Tensor, points: Tensor, space: ModuleType = lorentz) -> Tensor:
    """How far the worst coordinate exceeds its limit, `min_k max_i (|z_i| − l_i)`; shapes as in `query_distance`."""
    z = space.pairwise_logmap(centres, points)
    worst = (z.abs() - limits[:, None]).amax(-1)
    smallest: Tensor = worst.masked_fill((weights <= 0)[:, None], torch.inf).amin(-1)
    return smallest
