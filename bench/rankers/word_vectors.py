"""Word vectors from the titles of a catalogue: factorisation of a co-occurrence matrix."""

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
    """Vectors `(W, D)` of the words `1 … W`: leading singular vectors of positive pointwise mutual information (PPMI).

    This is what word2vec approximates (Levy and Goldberg 2014); the papers initialise with word2vec. The id 0 in a
    document is skipped.
    """
    matrix = _positive_pmi(_count_cooccurrences(documents, words))
    size = min(dimension, words)
    vectors = torch.zeros(words, dimension)
    vectors[:, :size] = torch.from_numpy(_leading_singular_vectors(matrix, size))
    return vectors


def _leading_singular_vectors(matrix: sparse.csr_array, size: int) -> npt.NDArray[np.float64]:
    """Left singular vectors times the roots of the singular values, `(W, size)`, by randomised subspace iteration."""
    basis = np.random.default_rng(0).standard_normal((matrix.shape[0], size))
    for _ in range(SUBSPACE_ITERATIONS):
        basis = np.linalg.qr(matrix @ (matrix.T @ basis)).Q
    left, singular_values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    scaled: npt.NDArray[np.float64] = (basis @ left) * np.sqrt(singular_values)
    return scaled


def _count_cooccurrences(documents: Sequence[Sequence[int]], words: int) -> sparse.csr_array:
    """How often two words occur within one window, `(W, W)`; words at distance d count 1/d."""
    ids = np.fromiter(chain.from_iterable(documents), np.int64)
    document_of_id = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    total = sparse.csr_array((words, words), dtype=np.float64)
    for offset in range(1, min(CONTEXT_WINDOW_WORDS, len(ids) - 1) + 1):
        left, right = ids[:-offset], ids[offset:]
        valid = (document_of_id[:-offset] == document_of_id[offset:]) & (left > 0) & (right > 0)
        weight = np.full(int(valid.sum()), 1 / offset)
        counts = sparse.coo_array((weight, (left[valid] - 1, right[valid] - 1)), shape=(words, words))
        total = total + counts.tocsr()
    symmetric: sparse.csr_array = (total + total.T).tocsr()
    return symmetric


def _positive_pmi(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information, `max(0, log p(a, b) / (p(a) p(b)^0.75))`."""
    coo = counts.tocoo()
    totals = np.asarray(counts.sum(axis=1)).ravel()
    context = totals**CONTEXT_SMOOTHING_POWER / max((totals**CONTEXT_SMOOTHING_POWER).sum(), 1e-9)
    value = np.log(coo.data / (totals[coo.row] * context[coo.col]))
    positive = value > 0
    return sparse.coo_array((value[positive], (coo.row[positive], coo.col[positive])), shape=counts.shape).tocsr()
