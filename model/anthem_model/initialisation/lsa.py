"""Vectors of texts from a catalogue alone, by latent semantic analysis: the initial directions without a teacher."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import Stemmer
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from anthem_core.encoding.tokenizer import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MIN_TITLES_PER_WORD = 3  # a word in fewer titles carries no information on which words occur together
MIN_NORM = 1e-9  # shorter vectors count as zero


def lsa_vectors(titles: Sequence[str], texts: Sequence[str], size: int) -> npt.NDArray[np.float32]:
    """Unit vectors of texts in the latent space of a catalogue's titles, `(N, size)`; 0 for texts of unknown words.

    The TF-IDF matrix of the titles is decomposed, `T = U S Vᵀ`, and the TF-IDF vector `x` of a text is mapped to `x V`,
    V the first `size` right singular vectors (Deerwester et al., 1990). Words are stemmed and counted once per text.
    """
    stemmer = Stemmer.Stemmer("english")
    stems = {text: list(dict.fromkeys(stemmer.stemWords(split_words(text)))) for text in {*titles, *texts}}
    document_frequency = Counter(stem for title in titles for stem in stems[title])
    known = sorted(stem for stem, count in document_frequency.items() if count >= MIN_TITLES_PER_WORD)
    columns = {stem: column for column, stem in enumerate(known)}
    frequencies = np.array([document_frequency[stem] for stem in known], float)
    idf = np.log(len(titles) / frequencies) if known else np.zeros(0)
    title_matrix, text_matrix = (
        tfidf_matrix([[columns[stem] for stem in stems[text] if stem in columns] for text in group], idf)
        for group in (titles, texts)
    )
    vectors = text_matrix @ _right_singular_vectors(title_matrix, size)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.where(norms > MIN_NORM, vectors / np.maximum(norms, MIN_NORM), 0).astype(np.float32)
    return np.pad(unit, ((0, 0), (0, size - unit.shape[1])))


def tfidf_matrix(term_ids: Sequence[Sequence[int]], idf: npt.NDArray[np.floating]) -> sparse.csr_matrix:
    """Rows `(N, len(idf))` of norm 1, or of zeros for a text without terms: the count of each term times its `idf`."""
    rows = np.repeat(np.arange(len(term_ids)), [len(ids) for ids in term_ids])
    columns = np.array([term for ids in term_ids for term in ids], int)
    matrix = sparse.csr_matrix((idf[columns], (rows, columns)), shape=(len(term_ids), len(idf)))
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    return sparse.csr_matrix(sparse.diags((1 / np.maximum(norms, MIN_NORM)).astype(idf.dtype)) @ matrix)


def _right_singular_vectors(matrix: sparse.csr_matrix, size: int) -> npt.NDArray[np.float64]:
    """Up to `size` right singular vectors, `(columns, rank)`, by decreasing singular value."""
    width = matrix.shape[1]
    rank = min(size, *(side - 1 for side in matrix.shape))
    if rank < 1 or not matrix.data.any():
        return np.zeros((width, 0))
    gram = LinearOperator((width, width), matvec=lambda vector: matrix.T @ (matrix @ vector), dtype=float)
    # `svds` restarts from unseeded random vectors; `eigsh` takes a seed.
    values, vectors = eigsh(gram, k=rank, v0=np.ones(width), rng=0)
    singular_vectors: npt.NDArray[np.float64] = vectors[:, ::-1] * (values[::-1] > MIN_NORM)
    return singular_vectors
