"""Where the training starts: every trigram at the place that a linear reading of texts gives it, in closed form.

Gradient descent from random places needs hours to find what least squares finds in seconds: which trigrams mean alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from anthem_model.initialisation.lsa import MIN_NORM, tfidf_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from scipy import sparse
    from torch import Tensor

    from anthem_model.anthem_ranker import AnthemRanker

RIDGE_PENALTY = 0.3
MEDIAN_TANGENT_NORM = 0.5  # median length of a trigram's tangent vector: where exp0 is nearly linear
NOISE_DEVIATION = 0.02  # standard deviation of what is added, for what nothing is known of
GRID_DIRECTION_WEIGHT = 0.9  # of a trigram's direction in the grid; the rest tells trigrams apart that mean alike


@torch.no_grad()
def initialise_from_vectors(ranker: AnthemRanker, texts: Sequence[str], vectors: npt.NDArray[np.floating]) -> None:
    """Place entities and grid so that the mean of a text's trigrams points where a reader's vectors `(N, E)` do.

    Ridge regression `W = (XᵀX + λI)⁻¹XᵀY`, X the trigrams of the texts, rows of length 1, and Y the principal
    coordinates of the vectors. Texts without a trigram, or with a vector of zeros, are left out; where none is left,
    nothing moves.
    """
    network = ranker.network
    chosen = [row for row, text in enumerate(texts) if text and vectors[row].any()]
    if not chosen:
        return
    wanted = principal_coordinates(vectors[chosen].astype(np.float32), network.shape.dimension)
    read = _trigram_matrix(ranker, [texts[row] for row in chosen])
    places = _solve_ridge(read, wanted)
    lengths = places.norm(dim=1)
    if not (lengths > 0).any():
        return
    tangents = places * (MEDIAN_TANGENT_NORM / lengths[lengths > 0].median())
    tangents = tangents + NOISE_DEVIATION * torch.randn_like(tangents)
    network.entities.points.copy_(network.shape.space.exp0(tangents))
    ranker.settle()
    _initialise_grid(network.grid.tangents.weight, places)


def principal_coordinates(vectors: npt.NDArray[np.float32], dimension: int) -> npt.NDArray[np.float32]:
    """Directions of vectors along their first principal axes, `(N, E)` to `(N, D)`, filled up with zeros."""
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    found = vectors @ axes[:, ::-1][:, :dimension]
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), MIN_NORM)
    return np.pad(found, ((0, 0), (0, dimension - found.shape[1])))


def _trigram_matrix(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    """Trigrams of texts by number, `(N, ids)`, rows of length 1 or 0."""
    vocabulary = ranker.vocabulary
    return tfidf_matrix([vocabulary.title_ids(text) for text in texts], np.ones(len(vocabulary), np.float32))


def _solve_ridge(read: sparse.csr_matrix, wanted: npt.NDArray[np.float32]) -> Tensor:
    square = torch.from_numpy((read.T @ read).toarray())
    square.diagonal().add_(RIDGE_PENALTY)
    factor = torch.linalg.cholesky(square)
    return torch.cholesky_solve(torch.from_numpy(np.asarray(read.T @ wanted, np.float32)), factor)


def _initialise_grid(table: Tensor, places: Tensor) -> None:
    """Turn the grid's chance directions towards those of the places, `sqrt(1 − s²)·chance + s·direction`."""
    _, _, axes = torch.linalg.svd(places, full_matrices=False)
    shown = places @ axes[: table.shape[1]].T
    shown = F.pad(shown, (0, table.shape[1] - shown.shape[1]))
    lengths = shown.norm(dim=1, keepdim=True)
    turned = (1 - GRID_DIRECTION_WEIGHT**2) ** 0.5 * table + GRID_DIRECTION_WEIGHT * shown / lengths.clamp_min(MIN_NORM)
    table.copy_(torch.where(lengths > MIN_NORM, turned, table))
