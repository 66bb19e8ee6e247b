"""Laws of the tokenizer: nothing searchable is lost, and every process gives every text the same ids."""

import os
import random
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding import tokenizer as module
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

# Lone surrogates too: JSON can carry them.
anything = st.text(st.characters(exclude_categories=()))
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


@given(anything)
def test_a_word_gives_as_many_trigrams_as_characters(text):
    """A word of n characters gives n trigrams of three characters, the shortest word one."""
    grams = extract_trigrams(text)
    assert len(grams) == sum(len(word) for word in split_words(text))
    assert all(len(gram) == 3 for gram in grams)


@given(anything)
def test_normalising_twice_changes_nothing(text):
    """Normalised text is its own normal form."""
    once = normalise(text)
    assert normalise(once) == once


def test_every_character_has_one_normal_form():
    """Each of Unicode's characters alone is normalised to a fixed point."""
    odd = [code for code in range(sys.maxunicode + 1) if normalise(once := normalise(chr(code))) != once]
    assert odd == []


@given(st.text())
def test_case_makes_no_difference(text):
    """ASCII text in capitals has the same words, and width or ligature make none either."""
    plain = text.encode("ascii", "ignore").decode()
    assert split_words(plain.upper()) == split_words(plain.lower())
    assert split_words("ＴＶ ﬁre") == ["tv", "fire"]


@given(anything, anything)
def test_words_stand_apart(one, other):
    """Trigrams never cross a space: two texts side by side give the trigrams of the one, then of the other."""
    assert extract_trigrams(f"{one} {other}") == extract_trigrams(one) + extract_trigrams(other)


@pytest.mark.parametrize("text", FOREIGN)
def test_no_script_is_empty(text):
    """Hindi, German, Japanese, Hebrew, accents, slips and emoji beside words all give ids."""
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
    """The list of the docstring, and of words of one letter, digits and marks."""
    assert extract_trigrams("red tv") == ["#re", "red", "ed#", "#tv", "tv#"]
    assert extract_trigrams("A 4-K") == ["#a#", "#4#", "#k#"]
    assert extract_trigrams("Straße") == ["#st", "str", "tra", "ras", "ass", "sse", "se#"]


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_ids(text):
    """Known trigrams count from 1, all others fall into buckets after them."""
    assert VOCABULARY.query_ids(text) == GOLDEN[text]


def test_golden_bucket():
    """The bucket is CRC-32 of the trigram in UTF-8, which for `#tv` is 0x377F4950 wherever it is computed."""
    assert Vocabulary((), 2**32).id("#tv") == 1 + 0x377F4950


def test_ids_do_not_hang_on_the_hash_seed():
    """Another process with another PYTHONHASHSEED gives the same ids."""
    found = [
        subprocess.run(
            [sys.executable, "-c", PRINT_IDS, *FOREIGN],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "4711")
    ]
    assert found[0] == found[1] == f"{[Vocabulary(('#re',), 977).query_ids(text) for text in FOREIGN]}\n"


@given(anything, st.integers(1, 60))
def test_limit_cuts_the_end(text, limit):
    """A limit keeps the first trigrams and drops the rest."""
    assert extract_trigrams(text, limit) == extract_trigrams(text)[:limit]
    assert VOCABULARY.ids(text, limit) == [VOCABULARY.id(gram) for gram in extract_trigrams(text)[:limit]]


@given(anything)
def test_ids_lie_in_the_table(text):
    """Every id is in [1, len), and queries and titles keep to their limits."""
    assert all(0 < number < len(VOCABULARY) for number in VOCABULARY.title_ids(text))
    assert len(VOCABULARY.query_ids(text)) <= VOCABULARY.query_limit
    assert len(VOCABULARY.title_ids(text)) <= VOCABULARY.title_limit


@given(st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=6), st.integers(1, 4))
def test_padding_keeps_every_row(rows, least):
    """The mask shows each row at its start and zeros after it; no axis of length is shorter than `least`."""
    ids, mask = pad_ids(rows, least)
    assert ids.dtype == np.int64
    assert mask.dtype == np.bool_
    assert ids.shape == mask.shape == (len(rows), max([least, *map(len, rows)]))
    assert [list(row[shown]) for row, shown in zip(ids, mask, strict=True)] == rows
    assert not ids[~mask].any()


@given(st.lists(st.text("abcd ", max_size=12), max_size=12), st.integers(0, 20), st.randoms(use_true_random=False))
def test_the_vocabulary_does_not_hang_on_the_order_of_texts(texts, size, shuffler):
    """Shuffled texts give the same vocabulary, no larger than asked for, sorted, without repeats."""
    shuffled = random.Random(shuffler.random()).sample(texts, len(texts))
    vocabulary = build_vocabulary(texts, size, 7)
    assert vocabulary == build_vocabulary(shuffled, size, 7)
    assert len(vocabulary.known) <= size
    assert list(vocabulary.known) == sorted(set(vocabulary.known))


def test_the_vocabulary_keeps_the_commonest():
    """The commonest trigrams get ids of their own, ties in code-point order, those seen once none."""
    texts = ["tv tv tv", "red red", "fan fan", "once"]
    assert build_vocabulary(texts, 3, 7).known == ("#fa", "#tv", "tv#")
    assert "onc" not in build_vocabulary(texts, 99, 7).known


@pytest.mark.parametrize("changed", ["query_limit", "title_limit", "buckets"])
def test_rules_tell_vocabularies_apart(changed):
    """Whatever decides on ids beside the list of trigrams stands in the rules."""
    other = Vocabulary(VOCABULARY.known, **{"buckets": 100, changed: 33})
    assert other.rules() != VOCABULARY.rules()


@given(anything)
def test_ascii_has_the_words_of_all_text(text):
    """The short way for ASCII finds the words that the pattern for every script finds."""
    plain = text.encode("ascii", "ignore").decode()
    assert split_words(plain) == module._WORD_PATTERN.findall(normalise(plain))


@given(st.lists(anything, max_size=6), st.integers(1, 60))
def test_packed_ids_are_the_ids(texts, limit):
    """Rows of bytes hold the ids of the trigrams, words met before or not, and unpack as ids are padded."""
    wanted = [[VOCABULARY.id(gram) for gram in extract_trigrams(text, limit)] for text in texts]
    for _ in range(2):
        packed = [VOCABULARY.packed(text, limit) for text in texts]
        for found, expected in zip(unpack_ids(packed), pad_ids(wanted), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_the_words_remembered_have_a_bound(monkeypatch):
    """However many words come, or however long, few are kept, and their ids stay right."""
    monkeypatch.setattr(module, "_REMEMBERED", 7)
    vocabulary = Vocabulary(VOCABULARY.known, 100)
    for text in (*(f"word{number}" for number in range(100)), "x" * 33):
        assert vocabulary.ids(text, 99) == [vocabulary.id(gram) for gram in extract_trigrams(text)]
        assert len(vocabulary._words) <= 7
    assert "x" * 33 not in vocabulary._words


def test_the_text_of_a_product():
    """Values of the fields in order, through lists and dotted keys; what is no string or number gives none."""
    source = {"title": "tv", "brand.name": "Acme", "brand": {"no": 7}, "tags": ["4k", None, True, {"x": "y"}]}
    assert product_text(source, ["title"]) == "tv"
    assert product_text(source, ["brand.name", "title", "tags", "brand.no", "absent"]) == "Acme tv 4k 7"
