"""Text to trigrams to ids: the one tokenizer of training, export, ingest and search."""

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

# A word is letters, digits and the marks that belong to them, of any script: without the marks Hindi loses its vowels.
_WORD_PATTERN = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*")

# The same words where a text is ASCII, as most titles are: lower case, and spaces for all else.
_ASCII_TRANSLATION = "".join(chr(code).lower() if chr(code).isalnum() else " " for code in range(128))

_MAX_CACHED_WORDS = 2**15  # words whose ids a vocabulary keeps at hand, 10 MB at the very most
_MAX_CACHED_WORD_LENGTH = 32  # characters of such a word

TOKENIZER_RULES = {
    "normal_form": "NFKC, casefold, NFKC",
    "word": _WORD_PATTERN.pattern,
    "word_end": "#",
    "gram": 3,
    "bucket_hash": "crc32",
}


def normalise(text: str) -> str:
    """Text in the form in which it is compared: NFKC, casefold, NFKC again (casefold can undo the first)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def split_words(text: str) -> list[str]:
    """Words of a text, normalised, in order."""
    if text.isascii():
        return text.translate(_ASCII_TRANSLATION).split()
    found: list[str] = _WORD_PATTERN.findall(normalise(text))
    return found


def extract_trigrams(text: str, limit: int | None = None) -> list[str]:
    """Overlapping character trigrams of `#word#`, word by word; a word of n characters gives n, `limit` cuts the list.

    `"red tv"` gives `#re red ed# #tv tv#`.
    """
    grams: list[str] = []
    for word in split_words(text):
        grams.extend(_word_trigrams(word))
        if limit is not None and len(grams) >= limit:
            return grams[:limit]
    return grams


def _word_trigrams(word: str) -> list[str]:
    padded = f"#{word}#"
    return [padded[start : start + 3] for start in range(len(word))]


@dataclass(frozen=True)
class Vocabulary:
    """Trigrams with an id of their own, and hash buckets for all others: 0 pads, then `known`, then the buckets."""

    known: tuple[str, ...]
    buckets: int
    query_limit: int = 48
    title_limit: int = 112

    def __len__(self) -> int:
        """Number of ids, padding included."""
        return 1 + len(self.known) + self.buckets

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {gram: number for number, gram in enumerate(self.known, start=1)}

    def id(self, gram: str) -> int:
        """Id of a trigram; an unknown one falls into bucket `crc32(utf-8) mod buckets`, the same in every process."""
        known = self._ids.get(gram)
        return known if known is not None else 1 + len(self.known) + zlib.crc32(gram.encode()) % self.buckets

    def ids(self, text: str, limit: int) -> list[int]:
        """Ids of the first `limit` trigrams of a text."""
        ids: list[int] = np.frombuffer(self.packed(text, limit), np.int64).tolist()
        return ids

    def packed(self, text: str, limit: int) -> bytes:
        """The same ids as int64 in a row of bytes, which `unpack` makes a batch of: words met before cost a look-up."""
        return b"".join(map(self._words.__getitem__, split_words(text)))[: 8 * limit]

    @cached_property
    def _words(self) -> _WordIdCache:
        return _WordIdCache(self)

    def query_ids(self, text: str) -> list[int]:
        """Ids of a query's trigrams; empty only for a query without letters or digits."""
        return self.ids(text, self.query_limit)

    def title_ids(self, text: str) -> list[int]:
        """Ids of a title's trigrams."""
        return self.ids(text, self.title_limit)

    def rules(self) -> dict[str, Any]:
        """All that decides which ids a text gets, beside the list of trigrams; part of the model id."""
        limits = {"query_limit": self.query_limit, "title_limit": self.title_limit}
        return {**TOKENIZER_RULES, "buckets": self.buckets, **limits}


class _WordIdCache(dict[str, bytes]):
    """Ids of each word as they are asked for; those of most are remembered, so that memory has a bound."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __missing__(self, word: str) -> bytes:
        """Ids of a word not met before, or of one too long to be met again."""
        packed = array("q", map(self.vocabulary.id, _word_trigrams(word))).tobytes()
        if len(word) <= _MAX_CACHED_WORD_LENGTH:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            self[word] = packed
        return packed


def build_vocabulary(texts: Iterable[str], size: int, buckets: int, *, least: int = 2) -> Vocabulary:
    """Vocabulary of the `size` commonest trigrams that occur at least `least` times, ties in code-point order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(extract_trigrams(text))
    common = sorted((gram for gram, count in counts.items() if count >= least), key=lambda gram: (-counts[gram], gram))
    return Vocabulary(tuple(sorted(common[:size])), buckets)


def pad_ids(rows: Sequence[Sequence[int]], least: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows of ids as `trigrams (B, T)` int64 and `mask (B, T)` bool, T the longest row and no less than `least`."""
    width = max(least, *(len(row) for row in rows)) if rows else least
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), np.bool_)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = True
    return ids, mask


def unpack_ids(rows: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows of `Vocabulary.packed` as `pad` gives them, `(B, T)` and `(B, T)`, T the longest row and no less than 1."""
    lengths = np.array([len(row) // 8 for row in rows], np.int64)
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.frombuffer(b"".join(rows), np.int64)
    return ids, mask
