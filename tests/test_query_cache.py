"""The cache of encoded queries: results of the function, the most recently used ones, within a number of bytes."""

from dataclasses import dataclass
from functools import lru_cache
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_plugin.query_cache import MAX_CACHE_BYTES, QueryCache


@dataclass
class Numbers:
    """A result with an array as large as its text says, and its text."""

    values: np.ndarray
    text: str


def numbers(text):
    """None for an empty text, else as many numbers as the text has in decimal digits."""
    return Numbers(np.zeros(int(text)), text) if text else None


texts = st.lists(st.integers(0, 400).map(str) | st.just(""), max_size=60)


@given(texts, st.integers(0, 20))
def test_with_room_it_is_an_lru_cache(looked_up, max_entries):
    """While bytes are no limit, hits, misses and size are those of `functools.lru_cache`, whatever is looked up."""
    ours, theirs = QueryCache(numbers, max_entries), lru_cache(max_entries)(numbers)
    for text in looked_up:
        ours(text)
        theirs(text)
        assert ours.cache_info() == theirs.cache_info()


@given(texts, st.integers(0, 20), st.integers(0, 20_000))
def test_it_stays_within_entries_and_bytes(looked_up, max_entries, max_bytes):
    """Every result is the function's; entries and bytes never exceed their limits, even for one large result."""
    cache = QueryCache(numbers, max_entries, max_bytes)
    for text in looked_up:
        result = cache(text)
        assert result is None if not text else (result.text, result.values.size) == (text, int(text))
        assert cache.cache_info().currsize <= max_entries
        assert 0 <= cache.bytes <= max_bytes


@given(texts)
def test_bytes_are_those_of_what_is_kept(looked_up):
    """The bytes of the arrays are counted, and 0 is left when all is forgotten."""
    cache = QueryCache(numbers, 10)
    for text in looked_up:
        cache(text)
    kept = list(dict.fromkeys(reversed(looked_up)))[:10]
    assert cache.bytes >= sum(8 * int(text) for text in kept if text)
    assert cache.bytes <= sum(8 * int(text or 0) + 2_000 for text in kept)
    cache.cache_clear()
    assert (cache.bytes, *cache.cache_info()) == (0, 0, 0, 10, 0)


def test_an_error_is_not_kept():
    """A text whose encoding fails fails again, and is not counted as kept."""
    cache = QueryCache(numbers, 10)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            cache("x")
    assert cache.cache_info() == (0, 2, 10, 0)


def test_threads_share_it():
    """Threads that look up the same texts at once get the right results, and bytes are counted once."""
    cache, wrong = QueryCache(numbers, 8, 10_000), []

    def look_up():
        for number in range(2_000):
            text = str(number * 7 % 40)
            if cache(text).text != text:
                wrong.append(text)

    threads = [Thread(target=look_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(cache.cache_info()[:2]) == 16_000
    assert sum(size for _, size in cache._entries.values()) == cache.bytes <= 10_000


def test_tables_of_long_queries_do_not_fill_the_memory(encoder):
    """A thousand queries of up to 40 words, whose tables take 60 MB, stay within the limit."""
    from anthem_core.encoding.attention import AttentionScorer

    table = AttentionScorer(encoder.bundle).encode_query("red running shoes for women size 8 wide")
    cache = QueryCache(lambda _: table, 1_024)
    for number in range(1_024):
        cache(str(number))
    assert MAX_CACHE_BYTES * 0.9 < cache.bytes <= MAX_CACHE_BYTES
    assert cache.cache_info().currsize < 400
