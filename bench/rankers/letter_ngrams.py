"""Words as bags of letter n-grams: their vocabulary and their embeddings."""

from __future__ import annotations

import zlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from anthem_core.encoding.text_rules import RULES_1

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

NGRAM_CACHE_SIZE = 1 << 17


class NgramVocabulary:
    """The most frequent letter n-grams of `#word#`, n in `sizes`, with ids from 1; others share hash buckets."""

    def __init__(
        self, texts: Sequence[str], sizes: Sequence[int] = (3,), max_ngrams: int = 8000, buckets: int = 1024
    ) -> None:
        self.sizes, self.buckets = tuple(sizes), buckets
        self.split_words = lru_cache(NGRAM_CACHE_SIZE)(RULES_1.split_words)
        self.ngram_ids = lru_cache(NGRAM_CACHE_SIZE)(self._ngram_ids)
        word_counts = Counter(word for text in texts for word in self.split_words(text))
        counts: Counter[str] = Counter()
        for word, count in word_counts.items():
            counts.update(dict.fromkeys(self._ngrams(word), count))
        most_frequent = sorted(counts, key=lambda ngram: (-counts[ngram], ngram))[:max_ngrams]
        self.known = {ngram: number for number, ngram in enumerate(most_frequent, start=1)}

    def __len__(self) -> int:
        """Number of ids, including the unused id 0."""
        return 1 + len(self.known) + self.buckets

    def _ngrams(self, word: str) -> Iterator[str]:
        padded = f"#{word}#"
        for size in self.sizes:
            yield from (padded[start : start + size] for start in range(len(padded) - size + 1))

    def _ngram_ids(self, word: str) -> tuple[int, ...]:
        """Ids of the n-grams of a word; without buckets, unknown n-grams are skipped."""
        ids = (self.known.get(ngram) or self._bucket_id(ngram) for ngram in self._ngrams(word))
        return tuple(number for number in ids if number)

    def _bucket_id(self, ngram: str) -> int:
        return 1 + len(self.known) + zlib.crc32(ngram.encode()) % self.buckets if self.buckets else 0


class NgramBagEmbedding(nn.Module):
    """Sums of embeddings over bags of letter n-grams: a linear layer on the vector of counts."""

    def __init__(self, vocabulary: NgramVocabulary, width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.table = nn.EmbeddingBag(len(vocabulary), width, mode="sum")
        nn.init.normal_(self.table.weight, std=0.3)

    def embed_texts(self, texts: Sequence[str], max_words: int) -> Tensor:
        """Sum the n-grams of the first `max_words` words of each text, over the root of their number: `(N, W)`."""
        vocabulary = self.vocabulary
        bags = [
            [ngram for word in vocabulary.split_words(text)[:max_words] for ngram in vocabulary.ngram_ids(word)]
            for text in texts
        ]
        sizes = torch.tensor([max(1, len(bag)) for bag in bags])
        return self._sum_bags(bags) / sizes[:, None].sqrt()

    def embed_words(self, texts: Sequence[str], max_words: int) -> tuple[Tensor, Tensor]:
        """Sum the n-grams of each word: `(N, T, W)`, and the mask `(N, T)`. Each distinct word is summed once."""
        rows = [self.vocabulary.split_words(text)[:max_words] for text in texts]
        distinct = dict.fromkeys(word for row in rows for word in row)
        positions = {word: position for position, word in enumerate(distinct, start=1)}
        index = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.int64)
        for number, row in enumerate(rows):
            index[number, : len(row)] = torch.tensor([positions[word] for word in row], dtype=torch.int64)
        sums = self._sum_bags([(), *(self.vocabulary.ngram_ids(word) for word in positions)])
        return sums[index], index > 0

    def _sum_bags(self, bags: Sequence[Sequence[int]]) -> Tensor:
        starts = torch.tensor([0, *(len(bag) for bag in bags[:-1])]).cumsum(0)
        ids = torch.tensor([ngram for bag in bags for ngram in bag], dtype=torch.int64)
        sums: Tensor = self.table(ids, starts)
        return sums
