"""Pseudo-queries: their words, their typing errors, and the texts that initialise a model."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.data import pseudo_queries
from anthem_model.data.pseudo_queries import (
    add_typing_errors,
    initialisation_texts,
    misspell,
    sample_pseudo_queries,
    sample_pseudo_query,
)

COLOURS, THINGS = ("red", "blue", "green"), ("teapot", "kettle", "mug", "lamp")
TITLES = [f"{colour} {thing} {size}" for size in ("small", "large") for colour in COLOURS for thing in THINGS]
few_examples = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 999)
words_of_a_title = st.text("abcdefgh", min_size=1, max_size=9)


@given(st.lists(words_of_a_title, min_size=1, max_size=9), seeds)
def test_a_pseudo_query_consists_of_words_of_the_title(words, seed):
    """It has one to five words of the title, none more often than the title; the same seed gives the same words."""
    query = sample_pseudo_query(words, random.Random(seed))
    assert 1 <= len(query) <= 5
    assert all(query.count(word) <= words.count(word) for word in query)
    assert query == sample_pseudo_query(words, random.Random(seed))


@given(st.text(max_size=12), seeds)
def test_a_misspelled_word_differs_by_one_letter(word, seed):
    """The length changes by at most 1; the first letter and short words do not change."""
    misspelled = misspell(word, random.Random(seed))
    assert abs(len(misspelled) - len(word)) <= 1
    assert misspelled[:1] == word[:1]
    if len(word) < 4:
        assert misspelled == word


@given(st.lists(words_of_a_title, min_size=1, max_size=5), seeds)
def test_typing_errors_are_few(words, seed):
    """A typed query has at most one word less than intended, and its length differs by at most 2."""
    typed = add_typing_errors(list(words), random.Random(seed))
    assert len(words) - 1 <= len(typed.split()) <= len(words)
    assert abs(len(typed) - len(" ".join(words))) <= 2


@few_examples
@given(st.integers(0, 2**31), st.integers(0, 300))
def test_pseudo_queries_of_a_catalogue(seed, count):
    """There are as many as requested, at most four per title, each from the words of one title."""
    queries = sample_pseudo_queries(TITLES, random.Random(seed), count)
    assert len(queries) == min(count, 4 * len(TITLES))
    title_words = [set(title.split()) for title in TITLES]
    assert all(any(set(query.split()) <= words for words in title_words) for query in queries)


def test_initialisation_texts_are_limited(monkeypatch):
    """Up to the limit they are titles, pseudo-queries and queries; above it a sample of these, each at most once."""
    texts = initialisation_texts(TITLES, ["red mug"], random.Random(0), 5)
    assert texts[: len(TITLES)] == TITLES
    assert texts[len(TITLES) + 5 :] == ["red mug"]
    monkeypatch.setattr(pseudo_queries, "MAX_INITIALISATION_TEXTS", 7)
    sample = initialisation_texts(TITLES, ["red mug"], random.Random(0), 5)
    assert len(sample) == 7
    assert not Counter(sample) - Counter(texts)
    samples = [initialisation_texts(TITLES, ["red mug"] * 20, random.Random(seed), 5) for seed in range(5)]
    assert all("red mug" in texts for texts in samples)


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=9), max_size=9), st.integers(0, 2**31))
def test_a_misspelled_text_has_as_many_words(words, seed):
    """Two to six words stay as many, short ones stay as they are, and each keeps its first letter; others give None."""
    text = pseudo_queries.misspell_text(" ".join(words), random.Random(seed))
    assert (text is None) == (not 2 <= len(words) <= 6)
    for before, after in zip(words, text.split() if text else (), strict=text is not None):
        assert after[0] == before[0]
        assert len(before) >= 4 or after == before
