"""Text to entities to ids: the one tokenizer that training, export, ingest and search share."""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anthem_core.encoding.text_rules import LATEST_RULES, TextRules

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_CACHED_WORDS = 2**15  # per vocabulary; 10 MB at most
_MAX_CACHED_WORD_LENGTH = 32  # characters
_MAX_WORD_GRAMS = 2**12  # the highest limit of entities that a bundle may have
_MIN_ENTITY_LENGTH = 2  # characters of a word; the only trigram of a shorter one says the same


def split_words(text: str) -> list[str]:
    """Words of a text, normalised by the latest text rules, in order; a bundle's vocabulary may have older rules."""
    return LATEST_RULES.split_words(text)


class Entity(NamedTuple):
    """A known whole word or a trigram of a text; `word` is the index of its word in `Vocabulary.split_words`."""

    name: str
    word: int
    is_word: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """Ids of entities: 0 is padding, then known `trigrams`, hash buckets for all other trigrams, and known `words`.

    A text's entities are its known words in order, then the trigrams of all its words; a limit cuts the end. An unknown
    word has only its trigrams.
    """

    trigrams: tuple[str, ...]
    buckets: int
    query_limit: int = 48
    title_limit: int = 128
    words: tuple[str, ...] = ()
    text_rules: TextRules = LATEST_RULES

    def __len__(self) -> int:
        """Number of ids, padding included."""
        return 1 + len(self.trigrams) + self.buckets + len(self.words)

    @cached_property
    def _trigram_ids(self) -> dict[str, int]:
        return {trigram: number for number, trigram in enumerate(self.trigrams, start=1)}

    @cached_property
    def _word_ids(self) -> dict[str, bytes]:
        """Packed id of each known word."""
        first = len(self) - len(self.words)
        return {word: array("q", [number]).tobytes() for number, word in enumerate(self.words, start=first)}

    def split_words(self, text: str) -> list[str]:
        """Words of a text, normalised by the rules of this vocabulary, in order."""
        return self.text_rules.split_words(text)

    def has_words(self, text: str) -> bool:
        """Whether a text has words, so that it can be encoded."""
        return bool(self.split_words(text))

    def id(self, trigram: str) -> int:
        """Id of a trigram; an unknown one gets bucket `crc32(utf-8) mod buckets`, the same in every process."""
        known = self._trigram_ids.get(trigram)
        return known if known is not None else 1 + len(self.trigrams) + zlib.crc32(trigram.encode()) % self.buckets

    def entities(self, text: str, limit: int | None = None) -> list[Entity]:
        """The first `limit` entities of a text, one for each id in `packed_ids`."""
        words = self.split_words(text)
        known = (Entity(word, number, is_word=True) for number, word in enumerate(words) if word in self._word_ids)
        grams = (Entity(gram, number) for number, word in enumerate(words) for gram in self.text_rules.word_grams(word))
        return [*known, *grams][:limit]

    def ids(self, text: str, limit: int) -> list[int]:
        """Ids of the first `limit` entities of a text."""
        ids: list[int] = np.frombuffer(self.packed_ids(text, limit), np.int64).tolist()
        return ids

    def packed_ids(self, text: str, limit: int) -> bytes:
        """Ids of the first `limit` entities as int64 bytes, for `unpack_ids`; recently seen words are cached."""
        words = self.split_words(text)
        known = map(self._word_ids.get, words, repeat(b"")) if self.words else ()
        return b"".join((*known, *map(self._gram_ids.__getitem__, words)))[: 8 * limit]

    @cached_property
    def _gram_ids(self) -> _GramIdCache:
        return _GramIdCache(self)

    def query_ids(self, text: str) -> list[int]:
        """Ids of a query's entities; empty only for a query without words."""
        return self.ids(text, self.query_limit)

    def title_ids(self, text: str) -> list[int]:
        """Ids of a title's entities."""
        return self.ids(text, self.title_limit)

    def rules(self) -> dict[str, Any]:
        """Everything that decides which ids a text gets, except the lists of entities; part of the model id."""
        limits = {"query_limit": self.query_limit, "title_limit": self.title_limit}
        return {**self.text_rules.to_dict(), "bucket_hash": "crc32", "buckets": self.buckets, **limits}


class _GramIdCache(dict[str, bytes]):
    """Packed ids of the trigrams of a word, computed at first use; bounded in memory."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __missing__(self, word: str) -> bytes:
        """Compute the ids of a word's trigrams, and keep them unless the word is too long to be worth caching."""
        grams = self.vocabulary.text_rules.word_grams(word)[:_MAX_WORD_GRAMS]
        ids = {gram: self.vocabulary.id(gram) for gram in dict.fromkeys(grams)}  # a long word repeats its trigrams
        packed = array("q", map(ids.__getitem__, grams)).tobytes()
        if len(word) <= _MAX_CACHED_WORD_LENGTH:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            self[word] = packed
        return packed


def build_vocabulary(
    texts: Iterable[str], size: int, buckets: int, *, words: int = 0, min_count: int = 2
) -> Vocabulary:
    """Vocabulary of the `size` most frequent trigrams and the `words` most frequent words of two or more characters.

    Each occurs at least `min_count` times. The most frequent come first, ties in code-point order: a title's ids are
    then close to each other, and take a tenth less room in an index.
    """
    word_counts: Counter[str] = Counter()
    for text in texts:
        word_counts.update(split_words(text))
    gram_counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for gram in LATEST_RULES.word_grams(word):
            gram_counts[gram] += count
    long_words = Counter({word: count for word, count in word_counts.items() if len(word) >= _MIN_ENTITY_LENGTH})
    trigrams = _most_frequent(gram_counts, size, min_count)
    return Vocabulary(trigrams, buckets, words=_most_frequent(long_words, words, min_count))


def _most_frequent(counts: Counter[str], size: int, min_count: int) -> tuple[str, ...]:
    """The `size` most frequent names, most frequent first, ties in code-point order."""
    frequent = (name for name, count in counts.items() if count >= min_count)
    return tuple(sorted(frequent, key=lambda name: (-counts[name], name))[:size])


def pad_ids(rows: Sequence[Sequence[int]], min_width: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows of ids as `trigrams (B, T)` int64 and `mask (B, T)` bool, T the longest row and at least `min_width`."""
    width = max(min_width, *(len(row) for row in rows)) if rows else min_width
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), np.bool_)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = True
    return ids, mask


def unpack_ids(rows: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows of `Vocabulary.packed_ids` in the form of `pad_ids`, `(B, T)` ids and mask, T the longest row or 1."""
    lengths = np.array([len(row) // 8 for row in rows], np.int64)
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.frombuffer(b"".join(rows), np.int64)
    return ids, mask
