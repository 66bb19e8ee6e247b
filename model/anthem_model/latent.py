"""Directions of texts from a catalogue alone, by latent semantic analysis: what to learn where there is no teacher."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import Stemmer
from scipy.sparse.linalg import LinearOperator, eigsh

from anthem_core.text import words
from anthem_model.bags import SMALL, bags

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from scipy import sparse

LEAST = 3  # titles that hold a word, or it says nothing of which words go together


def latent(titles: Sequence[str], texts: Sequence[str], size: int) -> npt.NDArray[np.float32]:
    """Unit vectors of texts in the space that a catalogue's titles span, `(N, size)`; 0 for a text of unknown words.

    The first right singular vectors of the titles' words by rarity, `U S Vᵀ = T`, and `x V` for the words `x` of a
    text (Deerwester et al., 1990).
    """
    stemmer = Stemmer.Stemmer("english")
    read = {text: list(dict.fromkeys(stemmer.stemWords(words(text)))) for text in {*titles, *texts}}
    holders = Counter(word for title in titles for word in read[title])
    known = sorted(word for word, count in holders.items() if count >= LEAST)
    columns = {word: place for place, word in enumerate(known)}
    rarity = np.log(len(titles) / np.array([holders[word] for word in known], float)) if known else np.zeros(0)
    wide, asked = (
        bags([[columns[word] for word in read[text] if word in columns] for text in some], rarity)
        for some in (titles, texts)
    )
    found = asked @ _axes(wide, size)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit = np.where(lengths > SMALL, found / np.maximum(lengths, SMALL), 0).astype(np.float32)
    return np.pad(unit, ((0, 0), (0, size - unit.shape[1])))


def _axes(wide: sparse.csr_matrix, size: int) -> npt.NDArray[np.float64]:
    """The first right singular vectors of a matrix, `(words, rank)`, the largest first; fewer than it has rows."""
    width = wide.shape[1]
    rank = min(size, *(side - 1 for side in wide.shape))
    if rank < 1 or not wide.data.any():
        return np.zeros((width, 0))
    square = LinearOperator((width, width), matvec=lambda vector: wide.T @ (wide @ vector), dtype=float)
    # svds leaves the restarts to chance; eigsh takes a seed.
    values, vectors = eigsh(square, k=rank, v0=np.ones(width), rng=0)
    axes: npt.NDArray[np.float64] = vectors[:, ::-1] * (values[::-1] > SMALL)
    return axes
