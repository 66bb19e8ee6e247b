"""The Lorentz model of hyperbolic space, curvature −1, in numpy.

A point is `x = (x0, xs)`, time first, with `x0 = sqrt(1 + |xs|²)`, so that `<x, x> = −1`. Function names follow geoopt.
The torch twin is `anthem_model.geometry.lorentz`; the Painless twin is `anthem_plugin.scoring.painless`. Tests check
that all three give the same numbers.
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
    """Point with the given space coordinates, `x0 = sqrt(1 + |xs|²)`; shapes `(..., D)` to `(..., D+1)`."""
    time = np.sqrt(1 + np.sum(space * space, axis=-1, keepdims=True))
    return np.concatenate([time, space], axis=-1)


def expmap0(tangent: Array) -> Array:
    """Exponential map at the origin, `xs = (sinh|v| / |v|)·v`; shapes `(..., D)` to `(..., D+1)`."""
    radius = np.linalg.norm(tangent, axis=-1, keepdims=True)
    return lift(tangent * _safe_ratio(np.sinh(radius), radius))


def logmap0(point: Array) -> Array:
    """Logarithmic map at the origin, `v = (arcsinh|xs| / |xs|)·xs`; shapes `(..., D+1)` to `(..., D)`.

    `|v|` is the geodesic distance to the origin. `arcsinh|xs|` is exact near the origin, where `arccosh(x0)` is not.
    """
    space = point[..., 1:]
    length = np.linalg.norm(space, axis=-1, keepdims=True)
    vector: Array = space * _safe_ratio(np.arcsinh(length), length)
    return vector


def boost(centre: Array, point: Array) -> Array:
    """Apply the Lorentz boost that moves the centre to the origin to a point; shapes `(..., D+1)` to `(..., D+1)`.

    `y0 = −<c,x>`, `ys = xs − ((x0 + y0) / (1 + c0))·cs`. The result's time is computed from `ys`, so that rounding
    cannot move the point off the hyperboloid.
    """
    time = -inner(centre, point)[..., None]
    return lift(point[..., 1:] - (point[..., :1] + time) / (1 + centre[..., :1]) * centre[..., 1:])


def logmap(centre: Array, point: Array) -> Array:
    """Tangent coordinates of a point relative to a centre, `z = logmap0(boost(c, x))`; `(..., D+1)` to `(..., D)`.

    `|z|` is the geodesic distance between centre and point.
    """
    return logmap0(boost(centre, point))


def dist(a: Array, b: Array) -> Array:
    """Geodesic distance, `d = 2·arcsinh(|a − b| / 2)` with the Lorentz length; `(..., D+1)` to `(...)`.

    Equal to `arccosh(−<a,b>)`, but exact near zero, where that formula loses precision: `dist(x, x)` is 0.
    """
    difference = a - b
    half: Array = np.sqrt(np.maximum(inner(difference, difference), 0)) / 2
    distance: Array = 2 * np.arcsinh(half)
    return distance


def is_on_hyperboloid(point: Array, tolerance: float = 1e-4) -> bool:
    """Whether every point satisfies `|<x,x> + 1| ≤ tolerance·x0²` and `x0 ≥ 1 − tolerance`."""
    relative = np.abs(inner(point, point) + 1) / np.maximum(point[..., 0] ** 2, 1)
    return bool(np.all(np.isfinite(point)) and np.all(relative <= tolerance) and np.all(point[..., 0] >= 1 - tolerance))


def _safe_ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient that is 1 where the denominator vanishes, the limit of sinh(r)/r and arcsinh(r)/r."""
    small = denominator < 1e-7
    quotient: Array = np.where(small, 1.0, numerator / np.where(small, 1.0, denominator)).astype(denominator.dtype)
    return quotient
