"""Text to trigrams to ids: the one tokenizer that training, export, ingest and search share."""

from __future__ import annotations

import unicodedata
import zlib
from array import array
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A word is letters, digits and their combining marks, in any script: without the marks Hindi would lose its vowels.
_WORD_PATTERN = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*")

# A faster path to the same words for ASCII text, as most titles are: lower case, and spaces for everything else.
_ASCII_TRANSLATION = bytes(ord(chr(code).lower()) if chr(code).isalnum() else 32 for code in range(128)) + bytes(128)

_MAX_CACHED_WORDS = 2**15  # per vocabulary; 10 MB at most
_MAX_CACHED_WORD_LENGTH = 32  # characters

TOKENIZER_RULES = {
    "normal_form": "NFKC, casefold, NFKC",
    "word": _WORD_PATTERN.pattern,
    "word_end": "#",
    "gram": 3,
    "bucket_hash": "crc32",
}


def normalise(text: str) -> str:
    """Text in the form that is compared: NFKC, casefold, NFKC again (casefold can undo the first NFKC)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def split_words(text: str) -> list[str]:
    """Words of a text, normalised, in order."""
    if text.isascii():
        return text.encode("ascii").translate(_ASCII_TRANSLATION).decode("ascii").split()
    words: list[str] = _WORD_PATTERN.findall(normalise(text))
    return words


def has_words(text: str) -> bool:
    """Whether a text has letters or digits, so that it can be encoded."""
    return bool(extract_trigrams(text, 1))


def extract_trigrams(text: str, limit: int | None = None) -> list[str]:
    """Overlapping character trigrams of `#word#`, word by word; at most `limit` of them.

    A word of n characters gives n trigrams: `"red tv"` gives `#re red ed# #tv tv#`.
    """
    trigrams: list[str] = []
    for word in split_words(text):
        trigrams.extend(_word_trigrams(word))
        if limit is not None and len(trigrams) >= limit:
            return trigrams[:limit]
    return trigrams


def _word_trigrams(word: str) -> list[str]:
    padded = f"#{word}#"
    return [padded[start : start + 3] for start in range(len(word))]


@dataclass(frozen=True)
class Vocabulary:
    """Ids of trigrams: 0 is padding, then the known `trigrams`, then hash buckets shared by all others."""

    trigrams: tuple[str, ...]
    buckets: int
    query_limit: int = 48
    title_limit: int = 112

    def __len__(self) -> int:
        """Number of ids, padding included."""
        return 1 + len(self.trigrams) + self.buckets

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {trigram: number for number, trigram in enumerate(self.trigrams, start=1)}

    def id(self, trigram: str) -> int:
        """Id of a trigram; an unknown one gets bucket `crc32(utf-8) mod buckets`, the same in every process."""
        known = self._ids.get(trigram)
        return known if known is not None else 1 + len(self.trigrams) + zlib.crc32(trigram.encode()) % self.buckets

    def ids(self, text: str, limit: int) -> list[int]:
        """Ids of the first `limit` trigrams of a text."""
        ids: list[int] = np.frombuffer(self.packed_ids(text, limit), np.int64).tolist()
        return ids

    def packed_ids(self, text: str, limit: int) -> bytes:
        """Ids of the first `limit` trigrams as int64 bytes, for `unpack_ids`; recently seen words are cached."""
        return b"".join(map(self._word_ids.__getitem__, split_words(text)))[: 8 * limit]

    @cached_property
    def _word_ids(self) -> _WordIdCache:
        return _WordIdCache(self)

    def query_ids(self, text: str) -> list[int]:
        """Ids of a query's trigrams; empty only for a query without letters or digits."""
        return self.ids(text, self.query_limit)

    def title_ids(self, text: str) -> list[int]:
        """Ids of a title's trigrams."""
        return self.ids(text, self.title_limit)

    def rules(self) -> dict[str, Any]:
        """Everything that decides which ids a text gets, except the list of trigrams; part of the model id."""
        limits = {"query_limit": self.query_limit, "title_limit": self.title_limit}
        return {**TOKENIZER_RULES, "buckets": self.buckets, **limits}


class _WordIdCache(dict[str, bytes]):
    """Packed ids by word, computed at first use; bounded in memory."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __missing__(self, word: str) -> bytes:
        """Compute the ids of a word, and keep them unless the word is too long to be worth caching."""
        packed = array("q", map(self.vocabulary.id, _word_trigrams(word))).tobytes()
        if len(word) <= _MAX_CACHED_WORD_LENGTH:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            self[word] = packed
        return packed


def build_vocabulary(texts: Iterable[str], size: int, buckets: int, *, min_count: int = 2) -> Vocabulary:
    """Vocabulary of the `size` most frequent trigrams, those with `min_count` or more; ties in code-point order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(extract_trigrams(text))
    frequent = (trigram for trigram, count in counts.items() if count >= min_count)
    ranked = sorted(frequent, key=lambda trigram: (-counts[trigram], trigram))
    return Vocabulary(tuple(sorted(ranked[:size])), buckets)


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
