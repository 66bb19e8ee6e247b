"""Ridge regression on sparse inputs, by conjugate gradients for all targets at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse

FloatArray: TypeAlias = npt.NDArray[np.float32]

MAX_ITERATIONS = 200
TOLERANCE = 1e-3  # of the residual, relative to that of the prior
MIN_CURVATURE = 1e-20  # keeps a column that is already solved from dividing 0 by 0


def solve_ridge(
    inputs: sparse.csr_matrix, targets: FloatArray, penalty: float, prior: FloatArray | None = None
) -> FloatArray:
    """Weights near a prior, `W = P + (XᵀX + λI)⁻¹Xᵀ(Y − XP)`; `(N, V)` and `(N, D)` to `(V, D)`.

    Without a prior, `P = 0`. The conjugate gradients are preconditioned by the diagonal of `XᵀX + λI`.
    """
    transposed = inputs.T.tocsr()
    diagonal = np.asarray(inputs.multiply(inputs).sum(axis=0)).ravel()[:, None] + penalty
    residual = transposed @ (targets if prior is None else targets - inputs @ prior)
    change = np.zeros_like(residual)
    scaled = residual / diagonal
    direction, energy = scaled, (residual * scaled).sum(axis=0)
    required = TOLERANCE * np.linalg.norm(residual)
    for _ in range(MAX_ITERATIONS):
        if np.linalg.norm(residual) <= required:
            break
        curved = transposed @ (inputs @ direction) + penalty * direction
        step = energy / np.maximum((direction * curved).sum(axis=0), MIN_CURVATURE)
        change = change + step * direction
        residual = residual - step * curved
        scaled = residual / diagonal
        previous, energy = energy, (residual * scaled).sum(axis=0)
        direction = scaled + energy / np.maximum(previous, MIN_CURVATURE) * direction
    weights: FloatArray = np.asarray(change if prior is None else change + prior, np.float32)
    return weights
