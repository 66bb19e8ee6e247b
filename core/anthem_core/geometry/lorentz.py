"""The Lorentz model of hyperbolic space, curvature −1, in numpy.

A point is `x = (x0, xs)`, time first, with `x0 = sqrt(1 + |xs|²)`, so that `<x, x> = −1`.
The torch twin is `anthem_model.geometry.lorentz`; the Painless twin is `anthem_plugin.scoring.painless`. Tests hold the three equal.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]


def inner(a: Array, b: Array) -> Array:
    """Lorentz inner product, `<a,b> = −a0·b0 + as·bs`; shapes `(..., D+1)` to `(...)`."""
    product: Array = np.sum(a[..., 1:] * b[..., 1:], axis=-1) - a[..., 0] * b[..., 0]
    return product


def lift(space: Array) -> Array:
    """Point above space coordinates, `x0 = sqrt(1 + |xs|²)`; shapes `(..., D)` to `(..., D+1)`."""
    time = np.sqrt(1 + np.sum(space * space, axis=-1, keepdims=True))
    return np.concatenate([time, space], axis=-1)


def expmap0(tangent: Array) -> Array:
    """Exponential map at the origin, `xs = (sinh|v| / |v|)·v`; shapes `(..., D)` to `(..., D+1)`."""
    radius = np.linalg.norm(tangent, axis=-1, keepdims=True)
    return lift(tangent * _safe_ratio(np.sinh(radius), radius))


def logmap0(point: Array) -> Array:
    """Logarithmic map at the origin, `v = (arcsinh|xs| / |xs|)·xs`; shapes `(..., D+1)` to `(..., D)`.

    `|v|` is the geodesic distance to the origin. `arcsinh|xs|` rather than `arccosh(x0)`, which loses all that is near.
    """
    space = point[..., 1:]
    length = np.linalg.norm(space, axis=-1, keepdims=True)
    vector: Array = space * _safe_ratio(np.arcsinh(length), length)
    return vector


def boost(centre: Array, point: Array) -> Array:
    """Lorentz boost that moves the centre to the origin, applied to the point; `(..., D+1)` to `(..., D+1)`.

    `y0 = −<c,x>`, `ys = xs − ((x0 + y0) / (1 + c0))·cs`; time follows from `ys`: the point stays on the sheet.
    """
    time = -inner(centre, point)[..., None]
    return lift(point[..., 1:] - (point[..., :1] + time) / (1 + centre[..., :1]) * centre[..., 1:])


def logmap(centre: Array, point: Array) -> Array:
    """Tangent coordinates `z` of a point as seen from a centre, `z = log0(boost(c, x))`; `(..., D+1)` to `(..., D)`.

    `|z|` is the geodesic distance between centre and point.
    """
    return logmap0(boost(centre, point))


def dist(a: Array, b: Array) -> Array:
    """Geodesic distance, `d = 2·arcsinh(|a − b| / 2)` with the Lorentz length; `(..., D+1)` to `(...)`.

    Equal to `arccosh(−<a,b>)`, and exact near zero, where that formula is not; `distance(x, x)` is 0.
    """
    difference = a - b
    half: Array = np.sqrt(np.maximum(inner(difference, difference), 0)) / 2
    result: Array = 2 * np.arcsinh(half)
    return result


def is_on_hyperboloid(point: Array, tolerance: float = 1e-4) -> bool:
    """Whether every point satisfies `|<x,x> + 1| ≤ tolerance·x0²` and `x0 ≥ 1`."""
    relative = np.abs(inner(point, point) + 1) / np.maximum(point[..., 0] ** 2, 1)
    return bool(np.all(np.isfinite(point)) and np.all(relative <= tolerance) and np.all(point[..., 0] >= 1 - tolerance))


def _safe_ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient whose limit at 0/0 is 1, as for sinh(r)/r and arcsinh(r)/r."""
    small = denominator < 1e-7
    quotient: Array = np.where(small, 1.0, numerator / np.where(small, 1.0, denominator)).astype(denominator.dtype)
    return quotient
