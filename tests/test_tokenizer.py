"""The tokenizer loses nothing searchable, and gives every text the same ids in every process."""

import os
import random
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding import tokenizer
from anthem_core.encoding.tokenizer import (
    Vocabulary,
    build_vocabulary,
    extract_trigrams,
    normalise,
    pad_ids,
    split_words,
    unpack_ids,
)
from anthem_core.opensearch.schema import product_text

# Lone surrogates too: JSON can contain them.
any_text = st.text(st.characters(exclude_categories=()))
VOCABULARY = Vocabulary(("#re", "red", "ed#"), buckets=100)
# CRC-32 of UTF-8, modulo 100, after padding and three known trigrams.
GOLDEN = {
    "red tv": [1, 2, 3, 4 + zlib.crc32(b"#tv") % 100, 4 + zlib.crc32(b"tv#") % 100],
    "RED": [1, 2, 3],
    "": [],
}
FOREIGN = ["टीवी", "Kühlschrank", "テレビ", "telvision 4k", "naïve café", "телевизор", "תנור", "📺 tv", "5"]
PRINT_IDS = """
import sys
from anthem_core.encoding.tokenizer import Vocabulary
print([Vocabulary(('#re',), 977).query_ids(text) for text in sys.argv[1:]])
"""


@given(any_text)
def test_a_word_gives_as_many_trigrams_as_characters(text):
    """A word of n characters gives n trigrams, each of three characters."""
    grams = extract_trigrams(text)
    assert len(grams) == sum(len(word) for word in split_words(text))
    assert all(len(gram) == 3 for gram in grams)


@given(any_text)
def test_normalising_twice_changes_nothing(text):
    """Normalised text is its own normal form."""
    once = normalise(text)
    assert normalise(once) == once


def test_every_character_has_one_normal_form():
    """Normalising any single Unicode character twice gives the same as normalising it once."""
    unstable = [code for code in range(sys.maxunicode + 1) if normalise(once := normalise(chr(code))) != once]
    assert unstable == []


@given(st.text())
def test_case_makes_no_difference(text):
    """ASCII text in capitals has the same words; full-width letters and ligatures are normalised too."""
    plain = text.encode("ascii", "ignore").decode()
    assert split_words(plain.upper()) == split_words(plain.lower())
    assert split_words("ＴＶ ﬁre") == ["tv", "fire"]


@given(any_text, any_text)
def test_trigrams_never_cross_a_space(one, other):
    """Two texts joined by a space give the trigrams of the first, then those of the second."""
    assert extract_trigrams(f"{one} {other}") == extract_trigrams(one) + extract_trigrams(other)


@pytest.mark.parametrize("text", FOREIGN)
def test_every_script_gives_ids(text):
    """Hindi, German, Japanese, Hebrew, accents, misspellings and emoji next to words all give ids."""
    assert VOCABULARY.query_ids(text)


def test_marks_belong_to_their_words():
    """A Hindi word keeps its vowels: one word, as many trigrams as code points."""
    assert split_words("टीवी") == ["टीवी"]
    assert len(extract_trigrams("टीवी")) == 4


@pytest.mark.parametrize("text", ["", "  ", "!?", "📺", "—", "\u0301"])
def test_text_without_letters_or_digits_is_empty(text):
    """Punctuation, emoji and lone marks give no trigram."""
    assert extract_trigrams(text) == []


def test_golden_trigrams():
    """The example of the docstring, words of one letter, digits, and a letter that casefold expands."""
    assert extract_trigrams("red tv") == ["#re", "red", "ed#", "#tv", "tv#"]
    assert extract_trigrams("A 4-K") == ["#a#", "#4#", "#k#"]
    assert extract_trigrams("Straße") == ["#st", "str", "tra", "ras", "ass", "sse", "se#"]


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_ids(text):
    """Known trigrams have ids from 1, all others fall into the buckets after them."""
    assert VOCABULARY.query_ids(text) == GOLDEN[text]


def test_golden_bucket():
    """The bucket is the CRC-32 of the trigram in UTF-8, which is 0x377F4950 for `#tv` on every platform."""
    assert Vocabulary((), 2**32).id("#tv") == 1 + 0x377F4950


def test_ids_do_not_depend_on_the_hash_seed():
    """Another process with another PYTHONHASHSEED gives the same ids."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PRINT_IDS, *FOREIGN],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "4711")
    ]
    assert outputs[0] == outputs[1] == f"{[Vocabulary(('#re',), 977).query_ids(text) for text in FOREIGN]}\n"


@given(any_text, st.integers(1, 60))
def test_limit_cuts_the_end(text, limit):
    """A limit keeps the first trigrams and drops the rest."""
    assert extract_trigrams(text, limit) == extract_trigrams(text)[:limit]
    assert VOCABULARY.ids(text, limit) == [VOCABULARY.id(gram) for gram in extract_trigrams(text)[:limit]]


@given(any_text)
def test_ids_are_in_range(text):
    """Every id is in [1, len), and queries and titles are cut at their limits."""
    assert all(0 < number < len(VOCABULARY) for number in VOCABULARY.title_ids(text))
    assert len(VOCABULARY.query_ids(text)) <= VOCABULARY.query_limit
    assert len(VOCABULARY.title_ids(text)) <= VOCABULARY.title_limit


@given(st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=6), st.integers(1, 4))
def test_padding_keeps_every_row(rows, min_width):
    """Each row is at the start, masked in, with zeros after it; the width is at least `min_width`."""
    ids, mask = pad_ids(rows, min_width)
    assert ids.dtype == np.int64
    assert mask.dtype == np.bool_
    assert ids.shape == mask.shape == (len(rows), max([min_width, *map(len, rows)]))
    assert [list(row[present]) for row, present in zip(ids, mask, strict=True)] == rows
    assert not ids[~mask].any()


@given(st.lists(st.text("abcd ", max_size=12), max_size=12), st.integers(0, 20), st.randoms(use_true_random=False))
def test_the_vocabulary_does_not_depend_on_the_order_of_texts(texts, size, shuffler):
    """Shuffled texts give the same vocabulary: at most the given size, sorted, without duplicates."""
    shuffled = random.Random(shuffler.random()).sample(texts, len(texts))
    vocabulary = build_vocabulary(texts, size, 7)
    assert vocabulary == build_vocabulary(shuffled, size, 7)
    assert len(vocabulary.trigrams) <= size
    assert list(vocabulary.trigrams) == sorted(set(vocabulary.trigrams))


def test_the_vocabulary_keeps_the_most_frequent():
    """The most frequent trigrams are known, ties in code-point order; those seen once are not."""
    texts = ["tv tv tv", "red red", "fan fan", "once"]
    assert build_vocabulary(texts, 3, 7).trigrams == ("#fa", "#tv", "tv#")
    assert "onc" not in build_vocabulary(texts, 99, 7).trigrams


@pytest.mark.parametrize("changed", ["query_limit", "title_limit", "buckets"])
def test_rules_distinguish_vocabularies(changed):
    """Everything that decides about ids, except the list of trigrams, is in the rules."""
    other = Vocabulary(VOCABULARY.trigrams, **{"buckets": 100, changed: 33})
    assert other.rules() != VOCABULARY.rules()


@given(any_text)
def test_the_ascii_path_finds_the_same_words(text):
    """The faster path for ASCII finds the same words as the pattern for all scripts."""
    plain = text.encode("ascii", "ignore").decode()
    assert split_words(plain) == tokenizer._WORD_PATTERN.findall(normalise(plain))


@given(st.lists(any_text, max_size=6), st.integers(1, 60))
def test_packed_ids_are_the_ids(texts, limit):
    """Packed rows contain the ids of the trigrams, cached or not, and unpack to the same arrays as padding."""
    expected = [[VOCABULARY.id(gram) for gram in extract_trigrams(text, limit)] for text in texts]
    for _ in range(2):
        packed = [VOCABULARY.packed_ids(text, limit) for text in texts]
        for unpacked, padded in zip(unpack_ids(packed), pad_ids(expected), strict=True):
            assert unpacked.dtype == padded.dtype
            np.testing.assert_array_equal(unpacked, padded)


def test_the_word_cache_is_bounded(monkeypatch):
    """However many words come, or however long they are, few are cached, and all ids are right."""
    monkeypatch.setattr(tokenizer, "_MAX_CACHED_WORDS", 7)
    vocabulary = Vocabulary(VOCABULARY.trigrams, 100)
    for text in (*(f"word{number}" for number in range(100)), "x" * 33):
        assert vocabulary.ids(text, 99) == [vocabulary.id(gram) for gram in extract_trigrams(text)]
        assert len(vocabulary._word_ids) <= 7
    assert "x" * 33 not in vocabulary._word_ids


def test_the_text_of_a_product():
    """Values of the fields in order, through lists and dotted keys; only strings and numbers count."""
    source = {"title": "tv", "brand.name": "Acme", "brand": {"no": 7}, "tags": ["4k", None, True, {"x": "y"}]}
    assert product_text(source, ["title"]) == "tv"
    assert product_text(source, ["brand.name", "title", "tags", "brand.no", "absent"]) == "Acme tv 4k 7"
