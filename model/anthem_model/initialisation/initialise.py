"""Initial parameters of ANTHEM: a ridge regression finds the point of every trigram in closed form.

Least squares finds within seconds which trigrams are related; gradient descent from random points needs hours.
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
MEDIAN_TANGENT_NORM = 0.5  # of the trigrams; expmap0 is nearly linear up to here
NOISE_DEVIATION = 0.02  # of random tangent vectors added to all trigrams, for those in no text
GRID_DIRECTION_WEIGHT = 0.9  # of a trigram's direction in the grid; a random rest separates related trigrams


@torch.no_grad()
def initialise_from_vectors(ranker: AnthemRanker, texts: Sequence[str], vectors: npt.NDArray[np.floating]) -> None:
    """Set entities and grid so that the mean of a text's trigrams points in the direction of its vector.

    Ridge regression `W = (XᵀX + λI)⁻¹XᵀY`: X are the trigram counts of the texts, normalised rows, and Y the principal
    coordinates of `vectors (N, E)`. Texts without trigrams and texts with a zero vector are ignored; if no text
    remains, the parameters are not changed.
    """
    network = ranker.network
    used = [row for row, text in enumerate(texts) if text and vectors[row].any()]
    if not used:
        return
    targets = principal_coordinates(vectors[used].astype(np.float32), network.shape.dimension)
    directions = _solve_ridge(_trigram_matrix(ranker, [texts[row] for row in used]), targets)
    norms = directions.norm(dim=1)
    if not (norms > 0).any():
        return
    tangents = directions * (MEDIAN_TANGENT_NORM / norms[norms > 0].median())
    tangents = tangents + NOISE_DEVIATION * torch.randn_like(tangents)
    network.entities.points.copy_(network.shape.space.expmap0(tangents))
    ranker.project_parameters()
    _initialise_grid(network.grid.tangents.weight, directions)


def principal_coordinates(vectors: npt.NDArray[np.float32], dimension: int) -> npt.NDArray[np.float32]:
    """Unit coordinates of vectors along their first principal axes, zero-padded; `(N, E)` to `(N, D)`."""
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    coordinates = vectors @ axes[:, ::-1][:, :dimension]
    coordinates /= np.maximum(np.linalg.norm(coordinates, axis=1, keepdims=True), MIN_NORM)
    return np.pad(coordinates, ((0, 0), (0, dimension - coordinates.shape[1])))


def _trigram_matrix(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    """Trigram counts of texts, `(N, ids)`, rows of norm 1 or 0."""
    vocabulary = ranker.vocabulary
    return tfidf_matrix([vocabulary.title_ids(text) for text in texts], np.ones(len(vocabulary), np.float32))


def _solve_ridge(inputs: sparse.csr_matrix, targets: npt.NDArray[np.float32]) -> Tensor:
    gram = torch.from_numpy((inputs.T @ inputs).toarray())
    gram.diagonal().add_(RIDGE_PENALTY)
    factor = torch.linalg.cholesky(gram)
    return torch.cholesky_solve(torch.from_numpy(np.asarray(inputs.T @ targets, np.float32)), factor)


def _initialise_grid(table: Tensor, directions: Tensor) -> None:
    """Turn the random vectors of the grid towards the directions, `sqrt(1 − w²)·random + w·direction`."""
    _, _, axes = torch.linalg.svd(directions, full_matrices=False)
    projected = directions @ axes[: table.shape[1]].T
    projected = F.pad(projected, (0, table.shape[1] - projected.shape[1]))
    norms = projected.norm(dim=1, keepdim=True)
    weight = GRID_DIRECTION_WEIGHT
    turned = (1 - weight**2) ** 0.5 * table + weight * projected / norms.clamp_min(MIN_NORM)
    table.copy_(torch.where(norms > MIN_NORM, turned, table))
