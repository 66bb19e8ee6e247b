"""BM25 as OpenSearch computes it for a field with the `english` analyzer; training runs without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bm25s
import numpy as np
import numpy.typing as npt
import Stemmer

from anthem_core.encoding.tokenizer import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence

# The stop words that Lucene's `EnglishAnalyzer` removes.
_STOP_WORD_LIST = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with
"""
ENGLISH_STOP_WORDS = frozenset(_STOP_WORD_LIST.split())


class Bm25Index:
    """BM25 over a list of texts, Lucene's formula without its constant factor: k1 = 1.2, b = 0.75."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stem = Stemmer.Stemmer("porter").stemWord
        self._index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        self._index.index([self._terms(text) for text in texts], show_progress=False)
        self._known_terms = self._index.vocab_dict

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """Score of every text for a query, `(N,)`; 0 where no word matches."""
        terms = [term for term in self._terms(query) if term and term in self._known_terms]
        if not terms:
            return np.zeros(int(self._index.scores["num_docs"]), np.float32)
        scores: npt.NDArray[np.float32] = self._index.get_scores(terms)
        return scores

    def top_rows(self, query: str, count: int) -> list[int]:
        """Rows of at most `count` matching texts, best first; ties in the order of the rows."""
        scores = self.scores(query)
        matching = np.flatnonzero(scores)
        order = matching[np.argsort(-scores[matching], kind="stable")]
        rows: list[int] = order[:count].tolist()
        return rows

    def _terms(self, text: str) -> list[str]:
        return [self._stem(word) for word in split_words(text) if word not in ENGLISH_STOP_WORDS] or [""]
