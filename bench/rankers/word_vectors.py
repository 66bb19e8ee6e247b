"""Word vectors from a catalogue alone: which words stand near each other in its titles."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

CONTEXT_WINDOW_WORDS = 5
CONTEXT_SMOOTHING_POWER = 0.75
SUBSPACE_ITERATIONS = 5


def cooccurrence_vectors(documents: Sequence[Sequence[int]], words: int, dimension: int) -> Tensor:
    """Vectors `(W, D)` of the words `1 … W`: the largest singular vectors of their positive pointwise information.

    What word2vec, with which the papers begin, approximates (Levy and Goldberg 2014). A 0 in a document is no word.
    """
    matrix = _positive_pmi(_count_cooccurrences(documents, words))
    size = min(dimension, words)
    found = torch.zeros(words, dimension)
    found[:, :size] = torch.from_numpy(_leading_singular_vectors(matrix, size))
    return found


def _leading_singular_vectors(matrix: sparse.csr_array, size: int) -> npt.NDArray[np.float64]:
    """Leading left singular vectors times the roots of their values, `(W, size)`, by randomised subspace iteration."""
    basis = np.random.default_rng(0).standard_normal((matrix.shape[0], size))
    for _ in range(SUBSPACE_ITERATIONS):
        basis = np.linalg.qr(matrix @ (matrix.T @ basis)).Q
    left, strength, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    scaled: npt.NDArray[np.float64] = (basis @ left) * np.sqrt(strength)
    return scaled


def _count_cooccurrences(documents: Sequence[Sequence[int]], words: int) -> sparse.csr_array:
    """How often two words stand within the window, `(W, W)`, the nearer the more."""
    ids = np.fromiter(chain.from_iterable(documents), np.int64)
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    total = sparse.csr_array((words, words), dtype=np.float64)
    for offset in range(1, min(CONTEXT_WINDOW_WORDS, len(ids) - 1) + 1):
        left, right = ids[:-offset], ids[offset:]
        near = (owner[:-offset] == owner[offset:]) & (left > 0) & (right > 0)
        weight = np.full(int(near.sum()), 1 / offset)
        found = sparse.coo_array((weight, (left[near] - 1, right[near] - 1)), shape=(words, words))
        total = total + found.tocsr()
    both: sparse.csr_array = (total + total.T).tocsr()
    return both


def _positive_pmi(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information, `max(0, log p(a, b) / (p(a) p(b)^0.75))`."""
    coo = counts.tocoo()
    alone = np.asarray(counts.sum(axis=1)).ravel()
    context = alone**CONTEXT_SMOOTHING_POWER / max((alone**CONTEXT_SMOOTHING_POWER).sum(), 1e-9)
    value = np.log(coo.data / (alone[coo.row] * context[coo.col]))
    kept = value > 0
    return sparse.coo_array((value[kept], (coo.row[kept], coo.col[kept])), shape=counts.shape).tocsr()
