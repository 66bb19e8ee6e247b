"""Shared parts of the models that read words: lexicon, embeddings, and masked grids of query words × title words."""

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

from anthem_core.encoding.text_rules import RULES_1
from rankers.word_vectors import cooccurrence_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

MAX_KNOWN_WORDS = 30_000
HASH_BUCKETS = 2_048
MAX_QUERY_WORDS = 16
MAX_TITLE_WORDS = 40
TEXT_CACHE_SIZE = 1 << 17  # texts; larger than any catalogue of the comparison


@dataclass(frozen=True)
class PaddedWords:
    """Texts as padded words: `ids (N, T)` for embeddings, `keys (N, T)` for exact matches, and `mask (N, T)`.

    Unknown words may share an id; only equal words share a key.
    """

    ids: Tensor
    keys: Tensor
    mask: Tensor

    def __getitem__(self, rows: Tensor) -> PaddedWords:
        """Select texts by row, `(…)` int64 to `(…, T)`."""
        return PaddedWords(self.ids[rows], self.keys[rows], self.mask[rows])

    def resize(self, width: int) -> PaddedWords:
        """Cut or pad to exactly `width` words."""
        missing = max(0, width - self.ids.shape[-1])
        ids, keys = (F.pad(values[..., :width], (0, missing)) for values in (self.ids, self.keys))
        return PaddedWords(ids, keys, F.pad(self.mask[..., :width], (0, missing)))


class Lexicon:
    """Stemmed words of titles and queries: id 0 is padding, then known words, then hash buckets for all others.

    A word is known if at least `min_count` texts contain it.
    """

    def __init__(self, titles: Sequence[str], queries: Sequence[str], *, min_count: int = 2) -> None:
        self._stem = lru_cache(TEXT_CACHE_SIZE)(Stemmer.Stemmer("porter").stemWord)
        self.stem_words = lru_cache(TEXT_CACHE_SIZE)(self._stem_words)
        self._ids_and_keys = lru_cache(TEXT_CACHE_SIZE)(self._compute_ids_and_keys)
        title_words = [self.stem_words(title) for title in titles]
        document_frequency = Counter(word for words in title_words for word in set(words))
        counts = document_frequency + Counter(word for query in queries for word in set(self.stem_words(query)))
        frequent = [word for word, count in counts.items() if count >= min_count]
        frequent.sort(key=lambda word: (-counts[word], word))
        self.known = {word: number for number, word in enumerate(frequent[:MAX_KNOWN_WORDS], start=1)}
        self.documents = [[self.known.get(word, 0) for word in words] for words in title_words]
        self.idf = self._compute_idf(document_frequency, len(titles))

    def __len__(self) -> int:
        """Number of ids, including padding and buckets."""
        return 1 + len(self.known) + HASH_BUCKETS

    def read(self, texts: Sequence[str], max_words: int) -> PaddedWords:
        """Read the first `max_words` words of each text; the result is at least one word wide."""
        rows = [self._ids_and_keys(text)[:, :max_words] for text in texts]
        padded = np.zeros((2, len(rows), max([1, *(row.shape[1] for row in rows)])), np.int64)
        for number, row in enumerate(rows):
            padded[:, number, : row.shape[1]] = row
        ids, keys = torch.from_numpy(padded)
        return PaddedWords(ids, keys, ids > 0)

    def _stem_words(self, text: str) -> list[str]:
        return [self._stem(word) for word in RULES_1.split_words(text)]

    def _compute_ids_and_keys(self, text: str) -> npt.NDArray[np.int64]:
        """Ids and keys of the words of a text, `(2, T)`; a key is `1 + crc32`."""
        hashes = [(word, zlib.crc32(word.encode())) for word in self.stem_words(text)]
        first_bucket = 1 + len(self.known)
        ids = [self.known.get(word) or first_bucket + code % HASH_BUCKETS for word, code in hashes]
        return np.array([ids, [1 + code for _, code in hashes]], np.int64).reshape(2, -1)

    def _compute_idf(self, document_frequency: Counter[str], titles: int) -> Tensor:
        """Inverse document frequency of every id, `log((1 + N) / (1 + df))`; df of a bucket is 0."""
        frequency = torch.zeros(len(self))
        for word, number in self.known.items():
            frequency[number] = document_frequency[word]
        return torch.log((1 + titles) / (1 + frequency))


class WordEmbeddings(nn.Module):
    """Embeddings `(…, T)` to `(…, T, D)`, initialised with co-occurrence vectors of the titles.

    All have the initial length `√D`: the usual learning rate would turn shorter vectors too fast.
    """

    def __init__(self, lexicon: Lexicon, dimension: int, *, frozen: bool = False) -> None:
        super().__init__()
        initial = F.normalize(torch.randn(len(lexicon), dimension), dim=-1)
        known = cooccurrence_vectors(lexicon.documents, len(lexicon.known), dimension)
        initial[1 : 1 + len(known)] = F.normalize(known + 1e-3 * initial[1 : 1 + len(known)], dim=-1)
        initial[0] = 0
        self.table = nn.Embedding(
            len(initial), dimension, padding_idx=0, _weight=dimension**0.5 * initial, _freeze=frozen
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the vectors of ids; padding is 0."""
        vectors: Tensor = self.table(ids)
        return vectors

    def directions(self, ids: Tensor) -> Tensor:
        """Look up the vectors of ids, normalised to length 1; padding is 0."""
        return F.normalize(self(ids), dim=-1)


def match_words(query: PaddedWords, title: PaddedWords) -> Tensor:
    """Whether the words are equal, regardless of their vectors: `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    return (query.keys[:, None, :, None] == title.keys[:, :, None, :]) & pair_mask(query.mask, title.mask)


def pair_mask(query: Tensor, title: Tensor) -> Tensor:
    """Whether neither word is padding: masks `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    return query[:, None, :, None] & title[:, :, None, :]


def cosine_grids(query: Tensor, title: Tensor) -> Tensor:
    """Cosines `(B, C, Q, T)` of unit vectors `(B, Q, D)` and `(B, C, T, D)`."""
    return query[:, None] @ title.transpose(-1, -2)


def build_mlp(*sizes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build linear layers with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])
