"""Points as an index stores them: the space coordinates in steps, a byte each; the time follows from them.

A step is a power of two and part of the model: `xs = step·n` with whole numbers `n`, and `x0 = sqrt(1 + |xs|²)`.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from anthem_core.geometry.lorentz import lift

if TYPE_CHECKING:
    from anthem_core.geometry.lorentz import Array

Vector: TypeAlias = npt.NDArray[np.int8]

VECTOR_TYPE = "byte"  # `data_type` of the field
MAX_STEPS = 127
_HEADROOM = 1.25  # times the largest coordinate of a sample fits; of other texts, what exceeds it is cut off


def choose_step(points: Array) -> float:
    """The smallest power of two with which 1.25 times the largest space coordinate of points `(N, D+1)` fits."""
    largest = max(float(np.abs(points[:, 1:]).max()), 1e-3)
    return float(2.0 ** math.ceil(math.log2(largest * _HEADROOM / MAX_STEPS)))


def pack_points(points: Array, step: float) -> Vector:
    """Space coordinates in steps, rounded and limited to ±127; `(..., D+1)` to `(..., D)`."""
    steps: Vector = np.clip(np.rint(points[..., 1:] / step), -MAX_STEPS, MAX_STEPS).astype(np.int8)
    return steps


def unpack_points(vectors: npt.ArrayLike, step: float) -> Array:
    """Points of stored vectors in float64; `(..., D)` to `(..., D+1)`."""
    return lift(np.asarray(vectors, np.float64) * step)


def read_vector(stored: object, dimension: int) -> Vector | None:
    """A vector from `_source`, `(D,)`; None for anything but a list of D whole numbers from −128 to 127."""
    if not isinstance(stored, list) or len(stored) != dimension:
        return None
    try:
        return np.frombuffer(array("b", stored), np.int8)
    except OverflowError:
        return None
    except TypeError:  # OpenSearch accepts 1.0 for 1
        whole = [int(number) for number in stored if isinstance(number, int) or _is_whole(number)]
    return read_vector(whole, dimension)


def _is_whole(number: object) -> bool:
    return isinstance(number, float) and number.is_integer()
