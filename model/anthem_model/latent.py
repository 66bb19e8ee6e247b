"""Directions of texts from a catalogue alone, by latent semantic analysis: what to learn where there is no teacher."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import Stemmer
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from anthem_core.text import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SMALL = 1e-9
LEAST = 3  # titles that hold a word, or it says nothing of which words go together


def latent(titles: Sequence[str], texts: Sequence[str], size: int) -> npt.NDArray[np.float32]:
    """Unit vectors of texts in the space that a catalogue's titles span, `(N, size)`; 0 for a text of unknown words.

    The first right singular vectors of the titles' words by rarity, `U S Vᵀ = T`, and `x V` for the words `x` of a
    text (Deerwester et al., 1990).
    """
    read = [Counter(_stems(title)) for title in titles]
    holders = Counter(word for title in read for word in title)
    known = sorted(word for word, count in holders.items() if count >= LEAST)
    columns = {word: place for place, word in enumerate(known)}
    rarity = np.log(len(titles) / np.array([holders[word] for word in known], float)) if known else np.zeros(0)
    wide = _bags(read, columns, rarity)
    found = _bags([Counter(_stems(text)) for text in texts], columns, rarity) @ _axes(wide, size)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit = np.where(lengths > SMALL, found / np.maximum(lengths, SMALL), 0).astype(np.float32)
    return np.pad(unit, ((0, 0), (0, size - unit.shape[1])))


def _axes(wide: sparse.csr_matrix, size: int) -> npt.NDArray[np.float64]:
    """The first right singular vectors of a matrix, `(words, rank)`, the largest first; fewer than it has rows."""
    words = wide.shape[1]
    rank = min(size, *(side - 1 for side in wide.shape))
    if rank < 1 or not wide.data.any():
        return np.zeros((words, 0))
    square = LinearOperator((words, words), matvec=lambda vector: wide.T @ (wide @ vector), dtype=float)
    # svds leaves the restarts to chance; eigsh takes a seed.
    values, vectors = eigsh(square, k=rank, v0=np.ones(words), rng=0)
    axes: npt.NDArray[np.float64] = vectors[:, ::-1] * (values[::-1] > SMALL)
    return axes


def _stems(text: str) -> list[str]:
    found: list[str] = Stemmer.Stemmer("english").stemWords(words(text))
    return found


def _bags(read: Sequence[Counter[str]], columns: dict[str, int], rarity: npt.NDArray[np.float64]) -> sparse.csr_matrix:
    """Rows of length 1 with the rarity of every known word."""
    places = [(row, columns[word]) for row, text in enumerate(read) for word in text if word in columns]
    rows, cols = np.array(places, int).reshape(-1, 2).T
    bags = sparse.csr_matrix((rarity[cols], (rows, cols)), shape=(len(read), len(columns)))
    lengths = np.sqrt(np.asarray(bags.multiply(bags).sum(axis=1))).ravel()
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(lengths, 1e-9)) @ bags)
