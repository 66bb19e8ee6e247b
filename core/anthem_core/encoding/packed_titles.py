"""The entities of titles as an index stores them, less than two bytes each; the script in the cluster reads them too.

A title begins with the number of its entities. Their weights follow, two a byte with the first in the low half, then
the gaps between their ascending ids, the first of them from 0. Number and gaps have seven bits a byte, the low ones
first; the highest bit of a byte says that another one follows. A title without entities has no bytes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

IntArray: TypeAlias = npt.NDArray[np.integer]

MAX_STORED_ID = 2**16 - 1
MAX_WEIGHT = 15  # weights are stored in half a byte
_BITS = 7  # of a number in each of its bytes
_CONTINUED = 1 << _BITS  # added to a byte that another one follows
_CONTINUED_BYTES = bytes(range(_CONTINUED, 256))
_MAX_GAP_BYTES = 3


def pack_titles(ids: IntArray, weights: IntArray, lengths: IntArray) -> list[bytes]:
    """Bytes of titles whose entities stand one title after the other, by ascending id; `(E,)`, `(E,)` and `(N,)`."""
    heads = _pack_numbers(lengths, np.ones_like(lengths))
    parts = (heads, _pack_weights(weights, lengths), _pack_numbers(_differences(ids, lengths), lengths))
    return [b"".join(title) if length else b"" for length, *title in zip(lengths, *parts, strict=True)]


def unpack_titles(titles: Sequence[bytes]) -> tuple[IntArray, IntArray, IntArray, npt.NDArray[np.bool_]]:
    """Ids, weights and lengths of packed titles, and which of them are malformed: these have no entities."""
    parts = [_split_title(title) for title in titles]
    lengths = np.array([length for length, _, _ in parts], np.int64)
    malformed = (lengths == 0) & np.array([bool(title) for title in titles], bool)
    gaps = _read_numbers(b"".join(part for _, _, part in parts))
    sums = np.concatenate([[0], np.cumsum(gaps)])
    ids = sums[1:] - np.repeat(sums[np.cumsum(lengths) - lengths], lengths)
    too_large = (ids > MAX_STORED_ID) | (gaps > MAX_STORED_ID)
    if too_large.any():
        malformed[np.repeat(np.arange(len(titles)), lengths)[too_large]] = True
        kept = [b"" if bad else title for title, bad in zip(titles, malformed, strict=True)]
        return *unpack_titles(kept)[:3], malformed
    return ids, _read_weights(b"".join(part for _, part, _ in parts), lengths), lengths, malformed


def _split_title(title: bytes) -> tuple[int, bytes, bytes]:
    """Number of entities of a title, the bytes of their weights and of their gaps; none if they do not fit together."""
    length, start = title[0] if title else 0, 1
    if length >= _CONTINUED:
        length, start = length - _CONTINUED + (title[1] << _BITS if len(title) > 1 else 0), 2
    middle = start + (length + 1) // 2
    weights, gaps = title[start:middle], title[middle:]
    # As many bytes that end a gap as there are gaps, the last byte among them.
    fits = len(gaps.translate(None, _CONTINUED_BYTES)) == length and (gaps[-1:] or b"\0") < _CONTINUED_BYTES[:1]
    return (length, weights, gaps) if length and fits else (0, b"", b"")


def _read_numbers(packed: bytes) -> IntArray:
    """Numbers of a sequence of bytes that ends with a whole number; one with too many bytes becomes too large an id."""
    content = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(content < _CONTINUED) + 1
    starts = np.concatenate([[0], ends])[:-1]
    numbers = content[starts].astype(np.int64) % _CONTINUED
    for place in range(1, _MAX_GAP_BYTES):
        longer = np.flatnonzero(ends - starts > place)
        numbers[longer] += content[starts[longer] + place].astype(np.int64) % _CONTINUED << place * _BITS
    result: IntArray = np.where(ends - starts > _MAX_GAP_BYTES, MAX_STORED_ID + 1, numbers)
    return result


def _read_weights(packed: bytes, lengths: IntArray) -> IntArray:
    """Weights of titles, two a byte; of the last byte of a title with an odd number of entities, the first half."""
    pairs = np.frombuffer(packed, np.uint8)
    halves = np.stack([pairs & MAX_WEIGHT, pairs >> 4], axis=1).ravel()
    is_used = np.ones(len(halves), bool)
    is_used[(np.cumsum(lengths + lengths % 2) - 1)[lengths % 2 == 1]] = False
    weights: IntArray = halves[is_used]
    return weights


def _differences(ids: IntArray, lengths: IntArray) -> IntArray:
    """Differences of the ascending ids of each title, the first from 0."""
    gaps = np.asarray(np.diff(ids, prepend=0), np.int64)
    firsts = (np.cumsum(lengths) - lengths)[lengths > 0]
    gaps[firsts] = ids[firsts]
    return gaps


def _pack_numbers(numbers: IntArray, lengths: IntArray) -> list[bytes]:
    """Bytes of each title's numbers, `lengths[n]` of them."""
    groups = numbers.astype(np.int64)[:, None] >> _BITS * np.arange(_MAX_GAP_BYTES + 1)
    follows = groups[:, 1:] > 0
    used = np.insert(follows[:, :-1], 0, values=True, axis=1)
    content = (groups[:, :-1] % _CONTINUED + follows * _CONTINUED).astype(np.uint8)[used]
    ends = np.insert(np.cumsum(used.sum(1)), 0, 0)
    return _split(content, ends[np.cumsum(lengths)])


def _pack_weights(weights: IntArray, lengths: IntArray) -> list[bytes]:
    """Bytes of each title's weights, two a byte."""
    sizes = (lengths + 1) // 2
    ends = np.cumsum(sizes)
    halves = np.zeros(2 * int(sizes.sum()), np.uint8)
    halves[_count_up(2 * (ends - sizes), lengths)] = weights
    return _split(halves[::2] | halves[1::2] << 4, ends)


def _split(content: IntArray, ends: IntArray) -> list[bytes]:
    whole = content.tobytes()
    return [whole[start:end] for start, end in pairwise([0, *ends.tolist()])]


def _count_up(starts: IntArray, lengths: IntArray) -> IntArray:
    """The numbers `starts[n], starts[n] + 1, …`, `lengths[n]` of them, one n after the other."""
    before = np.cumsum(lengths) - lengths
    numbers: IntArray = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return numbers
