"""The Poincaré ball, curvature −1, in numpy: the same hyperbolic space as the Lorentz model, drawn inside a unit ball.

Straight lines through the origin stay straight, angles are true, and the rim is infinitely far away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anthem_core.geometry.lorentz import Array


def to_ball(point: Array) -> Array:
    """Point of the ball, `b = xs / (1 + x0)`; shapes `(..., D+1)` to `(..., D)`.

    A point at the distance r from the origin has the length `tanh(r/2)`.
    """
    ball: Array = point[..., 1:] / (1 + point[..., :1])
    return ball


def from_ball(ball: Array) -> Array:
    """The point in Lorentz coordinates; shapes `(..., D)` to `(..., D+1)`.

    `x0 = (1 + |b|²) / (1 − |b|²)`, `xs = 2b / (1 − |b|²)`.
    """
    square = np.sum(ball * ball, axis=-1, keepdims=True)
    point: Array = np.concatenate([1 + square, 2 * ball], axis=-1) / (1 - square)
    return point


def ball_distance(a: Array, b: Array) -> Array:
    """Geodesic distance, `2·arcsinh(|a − b| / sqrt((1 − |a|²)(1 − |b|²)))`; shapes `(..., D)` to `(...)`."""
    gap = np.sum((a - b) ** 2, axis=-1)
    scale = (1 - np.sum(a * a, axis=-1)) * (1 - np.sum(b * b, axis=-1))
    distance: Array = 2 * np.arcsinh(np.sqrt(gap / scale))
    return distance


def mobius_add(a: Array, b: Array) -> Array:
    """Möbius addition `a ⊕ b`, the translation that moves the origin to `a`, applied to `b`; shapes `(..., D)`.

    `((1 + 2a·b + |b|²)·a + (1 − |a|²)·b) / (1 + 2a·b + |a|²|b|²)`. It keeps all distances.
    """
    product = 2 * np.sum(a * b, axis=-1, keepdims=True)
    a_square, b_square = (np.sum(value * value, axis=-1, keepdims=True) for value in (a, b))
    total: Array = ((1 + product + b_square) * a + (1 - a_square) * b) / (1 + product + a_square * b_square)
    return total


def move_to_origin(centre: Array, ball: Array) -> Array:
    """Apply the translation that moves the centre to the origin to a point, `(−c) ⊕ b`; shapes `(..., D)`.

    It is the twin of `lorentz.boost`.
    """
    return mobius_add(-centre, ball)
