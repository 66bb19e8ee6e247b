"""The Lorentz model of hyperbolic space, curvature −1, in torch; the numpy twin is `anthem_core.geometry.lorentz`.

Square roots are taken of `max(r², EPSILON)`, because the root of zero has no finite gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anthem_model.geometry.selection import smallest

EPSILON = 1e-12
DIST_SMOOTHING = 1e-2  # added to the inner product: keeps the distance of coinciding points smooth and exact in float32


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Lorentz inner product, `<a,b> = −a0·b0 + as·bs`; shapes `(..., D+1)` to `(...)`."""
    return (a[..., 1:] * b[..., 1:]).sum(-1) - a[..., 0] * b[..., 0]


def pairwise_inner(points: Tensor) -> Tensor:
    """Lorentz inner products of all pairs, `<x_i,x_j>`; shapes `(..., N, D+1)` to `(..., N, N)`."""
    time, space = points[..., :1], points[..., 1:]
    return space @ space.transpose(-1, -2) - time @ time.transpose(-1, -2)


def lift(space: Tensor) -> Tensor:
    """Point above space coordinates, `x0 = sqrt(1 + |xs|²)`; shapes `(..., D)` to `(..., D+1)`."""
    time = torch.sqrt(1 + space.square().sum(-1, keepdim=True))
    return torch.cat([time, space], dim=-1)


def expmap0(tangent: Tensor) -> Tensor:
    """Exponential map at the origin, `xs = (sinh|v| / |v|)·v`; shapes `(..., D)` to `(..., D+1)`."""
    radius = norm(tangent)
    return lift(tangent * (torch.sinh(radius) / radius))


def logmap0(point: Tensor) -> Tensor:
    """Logarithmic map at the origin, `v = (arcsinh|xs| / |xs|)·xs`; shapes `(..., D+1)` to `(..., D)`."""
    length = norm(point[..., 1:])
    return point[..., 1:] * (torch.asinh(length) / length)


def boost(centre: Tensor, point: Tensor) -> Tensor:
    """Lorentz boost that moves the centre to the origin: `ys = xs − ((x0 + y0)/(1 + c0))·cs`, `y0 = −<c,x>`."""
    time = -inner(centre, point).unsqueeze(-1)
    return lift(point[..., 1:] - (point[..., :1] + time) / (1 + centre[..., :1]) * centre[..., 1:])


def logmap(centre: Tensor, point: Tensor) -> Tensor:
    """Logarithmic map at a centre, moved to the origin: `z = logmap0(boost(c, x))`; `(..., D+1)` to `(..., D)`."""
    return logmap0(boost(centre, point))


def pairwise_logmap(centres: Tensor, points: Tensor) -> Tensor:
    """`logmap` of every point at every centre; `(B,K,D+1)` and `(N,D+1)` to `(B,N,K,D)`."""
    spaces = points[:, 1:]
    time = centres[..., :1] * points[:, 0] - centres[..., 1:] @ spaces.T
    along = (points[:, 0] + time) / (1 + centres[..., :1])
    boosted = spaces[:, None] - along.transpose(1, 2).unsqueeze(-1) * centres[:, None, :, 1:]
    length = norm(boosted)
    return boosted * (torch.asinh(length) / length)


def pairwise_dist(centres: Tensor, points: Tensor) -> Tensor:
    """Distances of all pairs, smoothed: `arccosh(max(−<c,x>, 1) + ε)`; `(B,T,D+1)` and `(B,M,D+1)` to `(B,T,M)`."""
    mirrored = torch.cat([centres[..., :1], -centres[..., 1:]], dim=-1)
    inner_product = (mirrored @ points.transpose(-1, -2)).clamp_min(1) + DIST_SMOOTHING
    # The logarithm, because ONNX Runtime does not vectorise `acosh`.
    return torch.log(inner_product + torch.sqrt(inner_product * inner_product - 1))


def nearest(centres: Tensor, points: Tensor, count: int) -> Tensor:
    """Indices of the `count` points nearest to each centre, `(T,D+1)` and `(N,D+1)` to `(T,count)`, nearest first."""
    mirrored = torch.cat([centres[..., :1], -centres[..., 1:]], dim=-1)
    return smallest(mirrored @ points.T, count)


def midpoint(weighted: Tensor) -> Tensor:
    """Lorentz centroid of a weighted sum of points, `m / sqrt(−<m,m>)`; shapes `(..., D+1)` to `(..., D+1)`."""
    length = torch.sqrt((-inner(weighted, weighted)).clamp_min(EPSILON)).unsqueeze(-1)
    return weighted / length


def bounded(tangent: Tensor, radius: float) -> Tensor:
    """Tangent vector shortened smoothly to less than a radius, `R·tanh(|v|/R)·v/|v|`; `(..., D)` to `(..., D)`."""
    length = norm(tangent)
    return tangent * (radius * torch.tanh(length / radius) / length)


def norm(vector: Tensor) -> Tensor:
    """Euclidean length with a finite gradient everywhere, `sqrt(max(|v|², ε))`; shapes `(..., D)` to `(..., 1)`."""
    return torch.sqrt(vector.square().sum(-1, keepdim=True).clamp_min(EPSILON))
