"""The tokenizer loses nothing searchable, and gives every text the same ids in every process."""

import os
import random
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding import tokenizer
from anthem_core.encoding.text_rules import RULES_1, TEXT_RULES
from anthem_core.encoding.tokenizer import Entity, Vocabulary, build_vocabulary, pad_ids, unpack_ids
from anthem_core.opensearch.schema import product_text

# Lone surrogates too: JSON can contain them.
any_text = st.text(st.characters(exclude_categories=()))
all_rules = st.sampled_from([*TEXT_RULES.values()])
VOCABULARY = Vocabulary(("#re", "red", "ed#"), buckets=100)
WITH_WORDS = Vocabulary(VOCABULARY.trigrams, buckets=100, words=("red", "tv", "टीवी", "手机"))
some_text = any_text | st.text("redtv 手机टी", max_size=40)
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


def list_trigrams(text):
    """Trigrams of a text by version 1 of the text rules."""
    return [trigram for word in RULES_1.split_words(text) for trigram in RULES_1.word_grams(word)]


@given(any_text)
def test_a_word_gives_as_many_trigrams_as_characters(text):
    """A word of n characters gives n trigrams, each of three characters."""
    grams = list_trigrams(text)
    assert len(grams) == sum(len(word) for word in RULES_1.split_words(text))
    assert all(len(gram) == 3 for gram in grams)


@given(all_rules, some_text)
def test_a_word_is_its_own_word(rules, text):
    """By any rules, a word of a text read again is that word alone."""
    assert [rules.split_words(word) for word in rules.split_words(text)] == [[word] for word in rules.split_words(text)]


def test_every_character_has_one_normal_form():
    """By version 1 of the rules, the words of any single character are their own words."""
    found = {code: RULES_1.split_words(chr(code)) for code in range(sys.maxunicode + 1)}
    assert [code for code, words in found.items() if words and RULES_1.split_words(" ".join(words)) != words] == []


@given(all_rules, st.text())
def test_case_makes_no_difference(rules, text):
    """ASCII text in capitals has the same words; full-width letters and ligatures are normalised too."""
    plain = text.encode("ascii", "ignore").decode().replace("&", " ")
    assert rules.split_words(plain.upper()) == rules.split_words(plain.lower())
    assert rules.split_words("ＴＶ ﬁre") == ["tv", "fire"]


@given(any_text, any_text)
def test_trigrams_never_cross_a_space(one, other):
    """Two texts joined by a space give the trigrams of the first, then those of the second."""
    assert list_trigrams(f"{one} {other}") == list_trigrams(one) + list_trigrams(other)


@pytest.mark.parametrize("text", FOREIGN)
def test_every_script_gives_ids(text):
    """Hindi, German, Japanese, Hebrew, accents, misspellings and emoji next to words all give ids."""
    assert VOCABULARY.query_ids(text)


def test_marks_belong_to_their_words():
    """A Hindi word keeps its vowels: one word, as many trigrams as code points."""
    assert RULES_1.split_words("टीवी") == ["टीवी"]
    assert len(list_trigrams("टीवी")) == 4


@pytest.mark.parametrize("text", ["", "  ", "!?", "📺", "—", "\u0301"])
def test_text_without_letters_or_digits_is_empty(text):
    """Punctuation, emoji and lone marks give no entity, by any rules."""
    for rules in TEXT_RULES.values():
        vocabulary = Vocabulary((), 10, text_rules=rules)
        assert (vocabulary.has_words(text), vocabulary.entities(text), vocabulary.query_ids(text)) == (False, [], [])


def test_golden_trigrams():
    """The example of the docstring, words of one letter, digits, and a letter that casefold expands."""
    assert list_trigrams("red tv") == ["#re", "red", "ed#", "#tv", "tv#"]
    assert list_trigrams("A 4-K") == ["#a#", "#4#", "#k#"]
    assert list_trigrams("Straße") == ["#st", "str", "tra", "ras", "ass", "sse", "se#"]


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


@st.composite
def vocabularies(draw):
    """A vocabulary of some words and trigrams of a few texts, by any rules."""
    built = build_vocabulary(draw(st.lists(some_text, max_size=4)) * 2, 9, 7, words=draw(st.integers(0, 5)))
    return replace(built, text_rules=draw(all_rules))


def id_of(vocabulary, entity):
    """Id of an entity, from the order in which ids are given: padding, trigrams, buckets, words."""
    if entity.is_word:
        return 1 + len(vocabulary.trigrams) + vocabulary.buckets + vocabulary.words.index(entity.name)
    if entity.name in vocabulary.trigrams:
        return 1 + vocabulary.trigrams.index(entity.name)
    return 1 + len(vocabulary.trigrams) + zlib.crc32(entity.name.encode()) % vocabulary.buckets


@given(vocabularies(), some_text, st.integers(1, 60))
def test_every_entity_has_its_id(vocabulary, text, limit):
    """The ids of a text are those of its entities, and a limit cuts the end of both."""
    assert vocabulary.ids(text, limit) == [id_of(vocabulary, entity) for entity in vocabulary.entities(text, limit)]
    assert vocabulary.entities(text, limit) == vocabulary.entities(text)[:limit]
    assert vocabulary.has_words(text) == bool(vocabulary.query_ids(text))


@given(vocabularies(), some_text)
def test_known_words_come_first(vocabulary, text):
    """The known words of a text in order, then the grams of all its words; each is an entity of the word it names."""
    words, entities = vocabulary.split_words(text), vocabulary.entities(text)
    known = [entity for entity in entities if entity.is_word]
    assert entities[: len(known)] == known
    assert known == [Entity(word, number, True) for number, word in enumerate(words) if word in vocabulary.words]
    assert entities[len(known) :] == [
        Entity(gram, number) for number, word in enumerate(words) for gram in vocabulary.text_rules.word_grams(word)
    ]


def test_golden_entities():
    """A word that is known is an entity beside its trigrams; a word that is not known has its trigrams alone."""
    names = [entity.name for entity in WITH_WORDS.entities("Red TVs, red")]
    assert names == ["red", "red", "#re", "red", "ed#", "#tv", "tvs", "vs#", "#re", "red", "ed#"]
    assert [entity.word for entity in WITH_WORDS.entities("Red TVs, red")][:4] == [0, 2, 0, 0]
    assert WITH_WORDS.ids("Red TVs, red", 4) == [104, 104, 1, 2]
    assert len(WITH_WORDS) == 1 + 3 + 100 + 4


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
    """Shuffled texts give the same vocabulary: at most the given size, without duplicates."""
    shuffled = random.Random(shuffler.random()).sample(texts, len(texts))
    vocabulary = build_vocabulary(texts, size, 7, words=size // 2)
    assert vocabulary == build_vocabulary(shuffled, size, 7, words=size // 2)
    assert len(vocabulary.trigrams) <= size
    assert len(vocabulary.words) <= size // 2
    for names in (vocabulary.trigrams, vocabulary.words):
        assert len(names) == len(set(names))


def test_the_vocabulary_keeps_the_most_frequent():
    """The most frequent trigrams and words come first, ties in code-point order; those seen once are not known.

    A word of one character is never an entity, as its only trigram says the same.
    """
    texts = ["tv tv tv", "red red", "fan fan", "once", "4 4 4 4"]
    assert build_vocabulary(texts, 4, 7).trigrams == ("#4#", "#tv", "tv#", "#fa")
    assert build_vocabulary(texts, 3, 7).words == ()
    assert build_vocabulary(texts, 3, 7, words=2).words == ("tv", "fan")
    assert build_vocabulary(texts, 3, 7, words=9).words == ("tv", "fan", "red")
    assert "onc" not in build_vocabulary(texts, 99, 7).trigrams


@pytest.mark.parametrize("changed", ["query_limit", "title_limit", "buckets"])
def test_rules_distinguish_vocabularies(changed):
    """Everything that decides about ids, except the lists of words and trigrams, is in the rules."""
    other = Vocabulary(VOCABULARY.trigrams, **{"buckets": 100, changed: 33})
    assert other.rules() != VOCABULARY.rules()
    assert replace(VOCABULARY, text_rules=RULES_1).rules() != VOCABULARY.rules()


@given(any_text)
def test_the_ascii_path_finds_the_same_words(text):
    """The faster path for ASCII finds the same words as the pattern for all scripts."""
    plain = text.encode("ascii", "ignore").decode()
    assert RULES_1.split_words(plain) == RULES_1.split_words(f"{plain} é")[:-1]


@given(vocabularies(), st.lists(some_text, max_size=6), st.integers(1, 60))
def test_packed_ids_are_the_ids(vocabulary, texts, limit):
    """Packed rows contain the ids of the entities, cached or not, and unpack to the same arrays as padding."""
    expected = [[id_of(vocabulary, entity) for entity in vocabulary.entities(text, limit)] for text in texts]
    for _ in range(2):
        packed = [vocabulary.packed_ids(text, limit) for text in texts]
        for unpacked, padded in zip(unpack_ids(packed), pad_ids(expected), strict=True):
            assert unpacked.dtype == padded.dtype
            np.testing.assert_array_equal(unpacked, padded)


def test_the_word_cache_is_bounded(monkeypatch):
    """However many words come, or however long they are, few are cached, and all ids are right."""
    monkeypatch.setattr(tokenizer, "_MAX_CACHED_WORDS", 7)
    vocabulary = replace(WITH_WORDS)
    for text in (*(f"word{number}" for number in range(100)), "x" * 33):
        assert vocabulary.ids(text, 99) == [id_of(vocabulary, entity) for entity in vocabulary.entities(text)]
        assert len(vocabulary._gram_ids) <= 7
    assert "x" * 33 not in vocabulary._gram_ids


def test_the_text_of_a_product():
    """Values of the fields in order, through lists and dotted keys; only strings and numbers count."""
    source = {"title": "tv", "brand.name": "Acme", "brand": {"no": 7}, "tags": ["4k", None, True, {"x": "y"}]}
    assert product_text(source, ["title"]) == "tv"
    assert product_text(source, ["brand.name", "title", "tags", "brand.no", "absent"]) == "Acme tv 4k 7"
