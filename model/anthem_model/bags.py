"""Texts as bags of what they hold: sparse rows of length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SMALL = 1e-9  # a length that is none


def bags(held: Sequence[Sequence[int]], weights: npt.NDArray[np.floating]) -> sparse.csr_matrix:
    """Rows `(N, len(weights))` of length 1, of 0 for a text that holds nothing: an id's weight each time it is held."""
    rows = np.repeat(np.arange(len(held)), [len(ids) for ids in held])
    flat = np.array([one for ids in held for one in ids], int)
    found = sparse.csr_matrix((weights[flat], (rows, flat)), shape=(len(held), len(weights)))
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1))).ravel()
    return sparse.csr_matrix(sparse.diags((1 / np.maximum(lengths, SMALL)).astype(weights.dtype)) @ found)
