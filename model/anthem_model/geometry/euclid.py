"""Flat space with the functions of `anthem_model.geometry.lorentz`, for E-ANTHEM, the same model with boxes.

A point is `(1, xs)`, homogeneous coordinates: in a weighted sum of points the first coordinate is the sum of weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anthem_model.geometry.lorentz import DIST_SMOOTHING, bounded, norm
from anthem_model.geometry.selection import smallest

__all__ = [
    "bounded",
    "expmap0",
    "logmap0",
    "midpoint",
    "nearest",
    "norm",
    "pairwise_dist",
    "pairwise_inner",
    "pairwise_logmap",
]


def expmap0(tangent: Tensor) -> Tensor:
    """Point at the end of a vector, `(1, v)`; shapes `(..., D)` to `(..., D+1)`."""
    return torch.cat([torch.ones_like(tangent[..., :1]), tangent], dim=-1)


def logmap0(point: Tensor) -> Tensor:
    """Vector from the origin to a point, `xs`; shapes `(..., D+1)` to `(..., D)`."""
    return point[..., 1:]


def pairwise_inner(points: Tensor) -> Tensor:
    """−1 for every pair, which is what `lorentz` gives at distance 0; `(..., N, D+1)` to `(..., N, N)`.

    So the code that normalises a weighted sum by `sqrt(−<m,m>)` divides by the sum of weights in flat space.
    """
    return -torch.ones_like(points[..., :1] @ points[..., :1].transpose(-1, -2))


def pairwise_logmap(centres: Tensor, points: Tensor) -> Tensor:
    """Coordinates of every point relative to every centre, `x − c`; `(B,K,D+1)` and `(N,D+1)` to `(B,N,K,D)`."""
    return points[None, :, None, 1:] - centres[:, None, :, 1:]


def nearest(centres: Tensor, points: Tensor, count: int) -> Tensor:
    """Indices of the `count` points nearest to each centre, `(T,D+1)` and `(N,D+1)` to `(T,count)`, nearest first."""
    return smallest(pairwise_dist(centres, points), count)


def midpoint(weighted: Tensor) -> Tensor:
    """Centroid of a weighted sum of points, `Σ w·x / Σ w`; shapes `(..., D+1)` to `(..., D+1)`."""
    return weighted / weighted[..., :1].clamp_min(1e-9)


def pairwise_dist(centres: Tensor, points: Tensor) -> Tensor:
    """Distances of all pairs, smoothed: `sqrt(|c − x|² + 2ε)`; `(B,T,D+1)` and `(B,M,D+1)` to `(B,T,M)`."""
    c, x = centres[..., 1:], points[..., 1:]
    squares = c.square().sum(-1).unsqueeze(-1) + x.square().sum(-1).unsqueeze(-2)
    return torch.sqrt((squares - 2 * c @ x.transpose(-1, -2)).clamp_min(0) + 2 * DIST_SMOOTHING)
