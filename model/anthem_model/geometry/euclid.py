"""Euclidean space behind the functions of `anthem_model.geometry.lorentz`: what E-ANTHEM, the same model with boxes, computes.

A point is `(1, xs)`, homogeneous coordinates: a weighted sum keeps the sum of the weights beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anthem_model.geometry.lorentz import DIST_SMOOTHING, bounded, norm

__all__ = ["bounded", "expmap0", "logmap0", "midpoint", "norm", "pairwise_dist", "pairwise_inner", "pairwise_logmap"]


def expmap0(tangent: Tensor) -> Tensor:
    """Point at the end of a vector, `(1, v)`; shapes `(..., D)` to `(..., D+1)`."""
    return torch.cat([torch.ones_like(tangent[..., :1]), tangent], dim=-1)


def logmap0(point: Tensor) -> Tensor:
    """Vector from the origin to a point, `xs`; shapes `(..., D+1)` to `(..., D)`."""
    return point[..., 1:]


def pairwise_inner(points: Tensor) -> Tensor:
    """−1 for every pair, as at distance 0: flat space has no factor to take out; `(..., N, D+1)` to `(..., N, N)`."""
    return -torch.ones_like(points[..., :1] @ points[..., :1].transpose(-1, -2))


def pairwise_logmap(centres: Tensor, points: Tensor) -> Tensor:
    """Every point as seen from every centre, `x − c`; `(B,K,D+1)` and `(N,D+1)` to `(B,N,K,D)`."""
    return points[None, :, None, 1:] - centres[:, None, :, 1:]


def midpoint(weighted: Tensor) -> Tensor:
    """Centroid of a weighted sum of points, `Σ w·x / Σ w`; shapes `(..., D+1)` to `(..., D+1)`."""
    return weighted / weighted[..., :1].clamp_min(1e-9)


def pairwise_dist(centres: Tensor, points: Tensor) -> Tensor:
    """Distances of all pairs, `sqrt(|c − x|² + 2ε)`; `(B,T,D+1)` and `(B,M,D+1)` to `(B,T,M)`."""
    here, there = centres[..., 1:], points[..., 1:]
    squares = here.square().sum(-1).unsqueeze(-1) + there.square().sum(-1).unsqueeze(-2)
    return torch.sqrt((squares - 2 * here @ there.transpose(-1, -2)).clamp_min(0) + 2 * DIST_SMOOTHING)
