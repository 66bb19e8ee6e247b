"""What all word models share: words with ids, exact keys and rarity, their vectors, and masked grids of similarity."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import Stemmer
import torch
from torch import nn
from torch.nn import functional as F

from anthem_core.encoding.tokenizer import split_words
from rankers.word_vectors import cooccurrence_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

MAX_KNOWN_WORDS = 30_000
HASH_BUCKETS = 2_048
MAX_QUERY_WORDS = 16
MAX_TITLE_WORDS = 40
TEXT_CACHE_SIZE = 1 << 17  # texts; a catalogue fits


@dataclass(frozen=True)
class PaddedWords:
    """Texts as padded words: `ids (N, T)` of embeddings, `keys (N, T)`, equal for equal words alone, `mask (N, T)`."""

    ids: Tensor
    keys: Tensor
    mask: Tensor

    def __getitem__(self, rows: Tensor) -> PaddedWords:
        """The same for some rows, `(…)` int64 to `(…, T)`."""
        return PaddedWords(self.ids[rows], self.keys[rows], self.mask[rows])

    def cut(self, width: int) -> PaddedWords:
        """Exactly `width` words: longer texts are cut, shorter ones padded."""
        short = max(0, width - self.ids.shape[-1])
        ids, keys = (F.pad(part[..., :width], (0, short)) for part in (self.ids, self.keys))
        return PaddedWords(ids, keys, F.pad(self.mask[..., :width], (0, short)))


class Lexicon:
    """Stemmed words of titles and queries: 0 pads, then known words, then hash buckets for all others."""

    def __init__(self, texts: Sequence[str], queries: Sequence[str], *, least: int = 2) -> None:
        self._stem = lru_cache(TEXT_CACHE_SIZE)(Stemmer.Stemmer("porter").stemWord)
        self.terms = lru_cache(TEXT_CACHE_SIZE)(self._terms)
        self._row = lru_cache(TEXT_CACHE_SIZE)(self._numbers)
        read = [self.terms(text) for text in texts]
        holders = Counter(word for title in read for word in set(title))
        counts = holders + Counter(word for query in queries for word in set(self.terms(query)))
        kept = sorted(
            (word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word)
        )
        self.known = {word: number for number, word in enumerate(kept[:MAX_KNOWN_WORDS], start=1)}
        self.documents = [[self.known.get(word, 0) for word in title] for title in read]
        self.idf = self._rarity(holders, len(texts))

    def __len__(self) -> int:
        """Number of ids, padding and buckets included."""
        return 1 + len(self.known) + HASH_BUCKETS

    def read(self, texts: Sequence[str], limit: int) -> PaddedWords:
        """Texts as padded ids and keys, the first `limit` words of each; at least one place wide."""
        rows = [self._row(text)[:, :limit] for text in texts]
        found = np.zeros((2, len(rows), max([1, *(row.shape[1] for row in rows)])), np.int64)
        for number, row in enumerate(rows):
            found[:, number, : row.shape[1]] = row
        ids, keys = torch.from_numpy(found)
        return PaddedWords(ids, keys, ids > 0)

    def _terms(self, text: str) -> list[str]:
        return [self._stem(word) for word in split_words(text)]

    def _numbers(self, text: str) -> npt.NDArray[np.int64]:
        """Ids and keys of a text's words, `(2, T)`; a key is `1 + crc32`."""
        hashes = [(word, zlib.crc32(word.encode())) for word in self.terms(text)]
        bucket = 1 + len(self.known)
        ids = [self.known.get(word) or bucket + code % HASH_BUCKETS for word, code in hashes]
        return np.array([ids, [1 + code for _, code in hashes]], np.int64).reshape(2, -1)

    def _rarity(self, holders: Counter[str], titles: int) -> Tensor:
        """Inverse document frequency of every id, `log((1 + N) / (1 + df))`; words in buckets are the rarest."""
        frequency = torch.zeros(len(self))
        for word, number in self.known.items():
            frequency[number] = holders[word]
        return torch.log((1 + titles) / (1 + frequency))


class WordEmbeddings(nn.Module):
    """Embeddings `(…, T)` to `(…, T, D)` that start as vectors of the words' company in the titles.

    All start with length `√D`: shorter ones are turned too fast by steps of the usual size.
    """

    def __init__(self, lexicon: Lexicon, dimension: int, *, fixed: bool = False) -> None:
        super().__init__()
        start = F.normalize(torch.randn(len(lexicon), dimension), dim=-1)
        known = cooccurrence_vectors(lexicon.documents, len(lexicon.known), dimension)
        start[1 : 1 + len(known)] = F.normalize(known + 1e-3 * start[1 : 1 + len(known)], dim=-1)
        start[0] = 0
        self.table = nn.Embedding(len(start), dimension, padding_idx=0, _weight=dimension**0.5 * start, _freeze=fixed)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ids; the padding's is 0."""
        found: Tensor = self.table(ids)
        return found

    def directions(self, ids: Tensor) -> Tensor:
        """Vectors of length 1; the padding's is 0."""
        return F.normalize(self(ids), dim=-1)


def match_words(query: PaddedWords, title: PaddedWords) -> Tensor:
    """Where query and title have the same word, whatever their vectors: `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    return (query.keys[:, None, :, None] == title.keys[:, :, None, :]) & pair_mask(query.mask, title.mask)


def pair_mask(query: Tensor, title: Tensor) -> Tensor:
    """Cells with a word on both sides: masks `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    return query[:, None, :, None] & title[:, :, None, :]


def cosine_grids(query: Tensor, drawn: Tensor) -> Tensor:
    """Cosine grids, `(B, C, Q, T)`, of vectors of length 1, `(B, Q, D)` and `(B, C, T, D)`."""
    return query[:, None] @ drawn.transpose(-1, -2)


def build_mlp(*sizes: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes):
        layers += [nn.Linear(into, out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])
