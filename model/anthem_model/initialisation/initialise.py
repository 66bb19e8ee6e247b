"""Initial parameters of ANTHEM: a ridge regression finds the point of every entity in closed form.

Least squares finds within seconds which entities are related; gradient descent from random points needs hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from anthem_model.initialisation.coordinates import TeacherCoordinates, fit_coordinates, unit_rows
from anthem_model.initialisation.lsa import MIN_NORM, tfidf_matrix
from anthem_model.initialisation.ridge import solve_ridge

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from scipy import sparse
    from torch import Tensor

    from anthem_model.anthem_ranker import AnthemRanker
    from anthem_model.initialisation.ridge import FloatArray

RIDGE_PENALTY = 0.3
ADAPTATION_PENALTY = 0.3  # on every change of an entity's tangent vector
MEDIAN_TANGENT_NORM = 0.5  # of the entities; expmap0 is nearly linear up to here
ALIGNMENT_PENALTY = 1.0  # on the axes of another teacher, whose vectors have norm 1
MIN_SINGULAR_VALUE = 1e-3  # of these axes, relative to the largest; smaller ones count as 0
NOISE_DEVIATION = 0.02  # of the random tangent vectors of entities in no text
GRID_DIRECTION_WEIGHT = 0.9  # of an entity's direction in the grid; a random remainder keeps related entities apart


@torch.no_grad()
def initialise_from_vectors(
    ranker: AnthemRanker, texts: Sequence[str], vectors: npt.NDArray[np.floating], identity: str = ""
) -> TeacherCoordinates | None:
    """Set entities and grid so that the mean of a text's entities points in the direction of its vector.

    Ridge regression `W = (XᵀX + λI)⁻¹XᵀY`: X holds the counts of each text's entities in rows of norm 1, and Y the
    coordinates of `vectors (N, E)`; the map to these coordinates is returned. Empty texts and texts with a zero vector
    are ignored. If all others have the same vector, nothing changes, and None is returned.
    """
    network = ranker.network
    used = [row for row, text in enumerate(texts) if text and vectors[row].any()]
    if not used:
        return None
    known = vectors[used].astype(np.float32)
    coordinates = fit_coordinates(known, network.shape.dimension, identity)
    weights = solve_ridge(_entity_counts(ranker, [texts[row] for row in used]), coordinates(known), RIDGE_PENALTY)
    directions = torch.from_numpy(weights)
    norms = directions.norm(dim=1, keepdim=True)
    if not (norms > MIN_NORM).any():
        return None
    tangents = directions * (MEDIAN_TANGENT_NORM / norms[norms > MIN_NORM].median())
    noise = NOISE_DEVIATION * torch.randn_like(tangents)
    network.entities.points.copy_(network.shape.space.expmap0(torch.where(norms > MIN_NORM, tangents, noise)))
    ranker.project_parameters()
    _initialise_grid(network.grid.tangents.weight, directions)
    return coordinates


@torch.no_grad()
def adapt_to_vectors(
    ranker: AnthemRanker, texts: Sequence[str], vectors: npt.NDArray[np.floating], coordinates: TeacherCoordinates
) -> None:
    """Move the entities so that texts point in the directions of a teacher's vectors; a penalty keeps the moves small.

    Ridge regression with the present tangent vectors P as prior, `W = P + (XᵀX + λI)⁻¹Xᵀ(cY − XP)`: X holds the counts
    of each text's entities, Y the coordinates of `vectors (N, E)`, and `c = <XP, Y> / <Y, Y>` is the length of the
    present predictions along Y. An entity in no text does not move.
    """
    network = ranker.network
    space, points = network.shape.space, network.entities.points
    used = [row for row, text in enumerate(texts) if text and vectors[row].any()]
    if not used:
        return
    prior = space.logmap0(points).numpy().astype(np.float32)
    counts, targets = _entity_counts(ranker, [texts[row] for row in used]), coordinates(vectors[used])
    length = float((counts @ prior * targets).sum() / max(float((targets * targets).sum()), MIN_NORM))
    weights = solve_ridge(counts, max(length, MIN_NORM) * targets, ADAPTATION_PENALTY, prior)
    points.copy_(space.expmap0(torch.from_numpy(weights)))
    ranker.project_parameters()


def align_coordinates(
    ranker: AnthemRanker, texts: Sequence[str], vectors: FloatArray, identity: str
) -> TeacherCoordinates:
    """Coordinates of a teacher that the ranker did not start from, fitted to the ranker's own directions of texts.

    Ridge regression over the texts, `argmin ‖(V − mean)·axes − U‖² + λ‖axes‖²`: V holds the teacher's vectors, and a
    row of U is the mean of a text's tangent vectors, scaled to norm 1. Without λ, the coordinates of a few texts would
    equal U, and the teacher would add nothing. The directions of all texts have a common part, the mean of U; `mean`
    is shifted so that the coordinates contain it.
    """
    network = ranker.network
    tangents = network.shape.space.logmap0(network.entities.points.detach()).numpy().astype(np.float32)
    directions = unit_rows(np.asarray(_entity_counts(ranker, texts) @ tangents, np.float32))
    mean, shared = vectors.mean(axis=0, dtype=np.float32), directions.mean(axis=0)
    centred = vectors.astype(np.float32) - mean
    covariance = centred.T @ centred + ALIGNMENT_PENALTY * np.eye(centred.shape[1], dtype=np.float32)
    axes = np.linalg.solve(covariance, centred.T @ directions).astype(np.float32)
    mean = mean - shared @ np.linalg.pinv(axes, rcond=MIN_SINGULAR_VALUE)
    return TeacherCoordinates(identity, mean.astype(np.float32), axes)


def _entity_counts(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    """Counts of each text's entities, `(N, ids)`, in rows of norm 1 or 0."""
    vocabulary = ranker.vocabulary
    return tfidf_matrix([vocabulary.title_ids(text) for text in texts], np.ones(len(vocabulary), np.float32))


def _initialise_grid(table: Tensor, directions: Tensor) -> None:
    """Turn the random vectors of the grid towards the directions, `sqrt(1 − w²)·random + w·direction`."""
    _, _, axes = torch.linalg.svd(directions, full_matrices=False)
    projected = directions @ axes[: table.shape[1]].T
    projected = F.pad(projected, (0, table.shape[1] - projected.shape[1]))
    norms = projected.norm(dim=1, keepdim=True)
    weight = GRID_DIRECTION_WEIGHT
    turned = (1 - weight**2) ** 0.5 * table + weight * projected / norms.clamp_min(MIN_NORM)
    table.copy_(torch.where(norms > MIN_NORM, turned, table))
