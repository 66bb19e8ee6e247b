"""Coordinates of a teacher's vectors in the D dimensions of the model: centred, along principal axes, of norm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anthem_model.initialisation.lsa import MIN_NORM

if TYPE_CHECKING:
    from anthem_model.initialisation.ridge import FloatArray

WHITENING = 0.5  # exponent: 0 keeps the spread of each axis, 1 makes all spreads equal
MIN_VARIANCE = 1e-12
MIN_RELATIVE_VARIANCE = 1e-6  # compared with the first axis; less is rounding error, which whitening would magnify


@dataclass(frozen=True)
class TeacherCoordinates:
    """The map from a teacher's vectors to unit coordinates, `y = (v − mean)·axes / ‖…‖`.

    `identity` names the teacher. `mean (E,)` is the mean of its vectors, and `axes (E, D)` are their principal axes,
    each divided by the square root of the standard deviation along it.
    """

    identity: str
    mean: FloatArray
    axes: FloatArray

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Unit coordinates of vectors, `(N, E)` to `(N, D)`; 0 for a vector at the mean."""
        return unit_rows(np.asarray((vectors - self.mean) @ self.axes, np.float32))


def fit_coordinates(vectors: FloatArray, dimension: int, identity: str = "") -> TeacherCoordinates:
    """Coordinates along the first `dimension` principal axes of vectors `(N, E)`; axes beyond E are 0."""
    mean = vectors.mean(axis=0, dtype=np.float32)
    centred = vectors.astype(np.float32) - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variances, axes = variances[::-1][:dimension], axes[:, ::-1][:, :dimension]
    required = max(MIN_VARIANCE, MIN_RELATIVE_VARIANCE * variances[0])
    scaled = np.where(variances > required, axes / np.maximum(variances, required) ** (WHITENING / 2), 0)
    padded = np.pad(scaled, ((0, 0), (0, dimension - scaled.shape[1]))).astype(np.float32)
    return TeacherCoordinates(identity, mean, padded)


def unit_rows(rows: FloatArray) -> FloatArray:
    """Rows divided by their norms; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: FloatArray = np.where(norms > MIN_NORM, rows / np.maximum(norms, MIN_NORM), 0).astype(np.float32)
    return unit
