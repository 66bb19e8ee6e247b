"""Directions of texts from a catalogue alone, by latent semantic analysis: what to learn where there is no teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


from collections import Counter
from typing import TYPE_CHECKING

import Stemmer
from scipy.sparse.linalg import LinearOperator, eigsh

from anthem_core.encoding.tokenizer import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MIN_TITLES_PER_WORD = 3  # titles that hold a word, or it says nothing of which words go together


def lsa_vectors(titles: Sequence[str], texts: Sequence[str], size: int) -> npt.NDArray[np.float32]:
    """Unit vectors of texts in the space that a catalogue's titles span, `(N, size)`; 0 for a text of unknown words.

    The first right singular vectors of the titles' words by rarity, `U S Vᵀ = T`, and `x V` for the words `x` of a
    text (Deerwester et al., 1990).
    """
    stemmer = Stemmer.Stemmer("english")
    read = {text: list(dict.fromkeys(stemmer.stemWords(split_words(text)))) for text in {*titles, *texts}}
    holders = Counter(word for title in titles for word in read[title])
    known = sorted(word for word, count in holders.items() if count >= MIN_TITLES_PER_WORD)
    columns = {word: place for place, word in enumerate(known)}
    rarity = np.log(len(titles) / np.array([holders[word] for word in known], float)) if known else np.zeros(0)
    wide, asked = (
        tfidf_matrix([[columns[word] for word in read[text] if word in columns] for text in some], rarity)
        for some in (titles, texts)
    )
    found = asked @ _right_singular_vectors(wide, size)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit = np.where(lengths > MIN_NORM, found / np.maximum(lengths, MIN_NORM), 0).astype(np.float32)
    return np.pad(unit, ((0, 0), (0, size - unit.shape[1])))


def _right_singular_vectors(wide: sparse.csr_matrix, size: int) -> npt.NDArray[np.float64]:
    """The first right singular vectors of a matrix, `(words, rank)`, the largest first; fewer than it has rows."""
    width = wide.shape[1]
    rank = min(size, *(side - 1 for side in wide.shape))
    if rank < 1 or not wide.data.any():
        return np.zeros((width, 0))
    square = LinearOperator((width, width), matvec=lambda vector: wide.T @ (wide @ vector), dtype=float)
    # svds leaves the restarts to chance; eigsh takes a seed.
    values, vectors = eigsh(square, k=rank, v0=np.ones(width), rng=0)
    axes: npt.NDArray[np.float64] = vectors[:, ::-1] * (values[::-1] > MIN_NORM)
    return axes


MIN_NORM = 1e-9  # a length that is none


def tfidf_matrix(held: Sequence[Sequence[int]], weights: npt.NDArray[np.floating]) -> sparse.csr_matrix:
    """Rows `(N, len(weights))` of length 1, of 0 for a text that holds nothing: an id's weight each time it is held."""
    rows = np.repeat(np.arange(len(held)), [len(ids) for ids in held])
    flat = np.array([one for ids in held for one in ids], int)
    found = sparse.csr_matrix((weights[flat], (rows, flat)), shape=(len(held), len(weights)))
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1))).ravel()
    return sparse.csr_matrix(sparse.diags((1 / np.maximum(lengths, MIN_NORM)).astype(weights.dtype)) @ found)
