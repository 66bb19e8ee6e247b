"""Words as bags of letter n-grams, for the models that read letters."""

from __future__ import annotations

import zlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from anthem_core.encoding.tokenizer import split_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

NGRAM_CACHE_SIZE = 1 << 17


class NgramVocabulary:
    """The commonest letter n-grams of `#word#`, n in `sizes`, with ids from 1; all others fall into hash buckets."""

    def __init__(
        self, texts: Sequence[str], sizes: Sequence[int] = (3,), most: int = 8000, buckets: int = 1024
    ) -> None:
        self.sizes, self.buckets = tuple(sizes), buckets
        self.words = lru_cache(NGRAM_CACHE_SIZE)(split_words)
        self.bag = lru_cache(NGRAM_CACHE_SIZE)(self._bag)
        spelt = Counter(word for text in texts for word in self.words(text))
        counts: Counter[str] = Counter()
        for word, times in spelt.items():
            counts.update(dict.fromkeys(self._grams(word), times))
        common = sorted(counts, key=lambda gram: (-counts[gram], gram))[:most]
        self.known = {gram: number for number, gram in enumerate(common, start=1)}

    def __len__(self) -> int:
        """Number of ids, 0, which nothing has, included."""
        return 1 + len(self.known) + self.buckets

    def _grams(self, word: str) -> Iterator[str]:
        padded = f"#{word}#"
        for size in self.sizes:
            yield from (padded[start : start + size] for start in range(len(padded) - size + 1))

    def _bag(self, word: str) -> tuple[int, ...]:
        """Ids of a word's n-grams; without buckets unknown ones are left out."""
        known, bucket = self.known, 1 + len(self.known)
        every = (known.get(gram) or self._other(gram, bucket) for gram in self._grams(word))
        return tuple(number for number in every if number)

    def _other(self, gram: str, bucket: int) -> int:
        return bucket + zlib.crc32(gram.encode()) % self.buckets if self.buckets else 0


class NgramBagEmbedding(nn.Module):
    """Sums of a matrix's rows over bags of letter n-grams: a linear layer whose input is a count vector."""

    def __init__(self, letters: NgramVocabulary, width: int) -> None:
        super().__init__()
        self.letters = letters
        self.table = nn.EmbeddingBag(len(letters), width, mode="sum")
        nn.init.normal_(self.table.weight, std=0.3)

    def of_texts(self, texts: Sequence[str], limit: int) -> Tensor:
        """One bag a text, of its first `limit` words, over the root of its size: `(N, W)`."""
        read = self.letters
        bags = [[gram for word in read.words(text)[:limit] for gram in read.bag(word)] for text in texts]
        sizes = torch.tensor([max(1, len(bag)) for bag in bags])
        return self._sums(bags) / sizes[:, None].sqrt()

    def of_words(self, texts: Sequence[str], limit: int) -> tuple[Tensor, Tensor]:
        """One bag a word, `(N, T, W)`, and the mask `(N, T)`; every word of the batch is summed once."""
        rows = [self.letters.words(text)[:limit] for text in texts]
        places = {word: number for number, word in enumerate(dict.fromkeys(w for row in rows for w in row), start=1)}
        index = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.int64)
        for number, row in enumerate(rows):
            index[number, : len(row)] = torch.tensor([places[word] for word in row], dtype=torch.int64)
        sums = self._sums([(), *(self.letters.bag(word) for word in places)])
        return sums[index], index > 0

    def _sums(self, bags: Sequence[Sequence[int]]) -> Tensor:
        starts = torch.tensor([0, *(len(bag) for bag in bags[:-1])]).cumsum(0)
        flat = torch.tensor([gram for bag in bags for gram in bag], dtype=torch.int64)
        found: Tensor = self.table(flat, starts)
        return found
