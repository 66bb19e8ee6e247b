"""Sizes of queries compared with their generality."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anthem_core.beir import Dataset, Product
from anthem_core.encoding.tokenizer import split_words
from anthem_evaluation.generality import (
    CATEGORY_DEPTH_LABEL,
    CATEGORY_ONLY_LABEL,
    MATCHING_TITLES_LABEL,
    compare_nested,
    count_matching_titles,
    index_titles,
    measure_generality,
    nested_pairs,
    query_sizes,
    spearman,
    spearman_ceiling,
)
from anthem_sandbox.catalogue import generate_catalogue

word_sets = st.frozensets(st.sampled_from("abcdef"), max_size=4)
queries_of_words = st.lists(word_sets, max_size=8).map(
    lambda queries: {str(number): words for number, words in enumerate(queries)}
)


@given(queries_of_words)
def test_nested_pairs_are_all_proper_subsets(queries):
    """Every pair of queries where one has all words of the other and more is returned once."""
    pairs = list(nested_pairs(queries))
    expected = {(a, b) for a in queries for b in queries if queries[a] and queries[a] < queries[b]}
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


@given(queries_of_words)
def test_fewer_words_win_every_pair(queries):
    """With the negative number of words as size, the broader query of each pair is larger."""
    result = compare_nested({query: -float(len(words)) for query, words in queries.items()}, queries)
    if result is not None:
        assert result.larger == 1
        assert result.interval[0] < 1 <= result.interval[1] + 1e-9


@given(queries_of_words)
def test_equal_sizes_win_no_pair(queries):
    """A tie does not count as larger."""
    result = compare_nested(dict.fromkeys(queries, 0.5), queries)
    assert result is None or (result.larger == 0 and result.pairs > 0)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=4), max_size=8), st.lists(st.sampled_from("abcde"), max_size=3)
)
def test_matching_titles_contain_every_word(titles, query):
    """The count equals that of checking every title; a query without words matches no title."""
    expected = sum(bool(query) and set(query) <= set(title) for title in titles)
    assert count_matching_titles(query, index_titles(" ".join(title) for title in titles)) == expected


@given(st.lists(st.integers(1, 4), min_size=3, max_size=30).filter(lambda values: len(set(values)) > 1))
def test_no_order_exceeds_the_ceiling(target):
    """Ranks without ties that follow the target as well as possible reach the ceiling exactly."""
    best = stats.rankdata(target, method="ordinal").tolist()
    assert spearman(best, target) == pytest.approx(spearman_ceiling(target))
    assert spearman(best[::-1], target) <= spearman_ceiling(target) + 1e-12


def test_the_ceiling_computed_by_hand():
    """Three of four values tied: √(1 − (27 − 3) / (64 − 4)) = √0.6; without ties it is 1."""
    assert spearman_ceiling([4, 4, 4, 1]) == pytest.approx(math.sqrt(0.6))
    assert spearman_ceiling([1, 2, 3]) == 1


@pytest.mark.parametrize(
    ("values", "target"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4]), ([1, 2], [1, 2]), ([], [])]
)
def test_undefined_correlations(values, target):
    """A constant side, or fewer than three values, gives no correlation."""
    assert spearman(values, target) is None


def test_query_sizes(encoder):
    """Every query has the size of its region; a query without letters is left out."""
    sizes = query_sizes(encoder, {"a": "fire", "b": "!!", "c": "fire tv"})
    assert sizes == {"a": encoder.encode_query("fire").size, "c": encoder.encode_query("fire tv").size}


@pytest.fixture(scope="module")
def catalogue():
    """A small generated catalogue."""
    return generate_catalogue(products=700)


def test_generality_of_the_catalogue(encoder, catalogue):
    """All rows are present with the right counts, and the values are valid JSON and within the ceiling."""
    queries = {query: catalogue.queries[query] for query in catalogue.qrels["dev"]}
    generality = measure_generality(query_sizes(encoder, queries), catalogue, queries)
    rows = {row.against: row for row in generality.correlations}
    assert set(rows) == {CATEGORY_ONLY_LABEL, CATEGORY_DEPTH_LABEL, MATCHING_TITLES_LABEL}
    assert rows[CATEGORY_DEPTH_LABEL].queries == len(queries)
    category_only = [query for query in queries if not catalogue.query_metadata[query]["constraints"]]
    assert rows[CATEGORY_ONLY_LABEL].queries == len(category_only)
    assert all(abs(row.size) <= row.ceiling for row in rows.values())
    value = json.loads(json.dumps(asdict(generality), allow_nan=False))
    assert value["nested"]["pairs"] == generality.nested.pairs


def test_simpler_predictors(encoder):
    """Fewer and more common words predict generality: on queries sorted by both, they reach the ceiling."""
    titles = ["red sofa large", "red sofa small", "red lamp small", "red rug"]
    texts = {"1": "red", "2": "red sofa", "3": "red sofa large"}
    dataset = Dataset({str(number): Product(str(number), title) for number, title in enumerate(titles)}, texts)
    (row,) = measure_generality(query_sizes(encoder, texts), dataset, texts).correlations
    assert (row.against, row.queries) == (MATCHING_TITLES_LABEL, 3)
    assert row.words == pytest.approx(1) == row.idf == row.ceiling
    assert [len(split_words(text)) for text in texts.values()] == [1, 2, 3]


def test_a_shallow_category_is_more_general():
    """A size that falls with the depth of the category correlates positively with generality."""
    texts = {"1": "home", "2": "home lamps", "3": "home lamps desk"}
    depths = {query: {"depth": int(query), "constraints": 0} for query in texts}
    dataset = Dataset({"p": Product("p", "garden hose")}, texts, query_metadata=depths)
    sizes = {query: 1 / int(query) for query in texts}
    rows = {row.against: row.size for row in measure_generality(sizes, dataset, texts).correlations}
    assert rows == {CATEGORY_ONLY_LABEL: pytest.approx(1), CATEGORY_DEPTH_LABEL: pytest.approx(1)}


def test_no_indicator_of_generality(encoder):
    """Without metadata, matching titles and nested pairs the result is None."""
    dataset = Dataset({"p": Product("p", "garden hose")}, {"1": "fire", "2": "kindle"})
    assert measure_generality(query_sizes(encoder, dataset.queries), dataset, dataset.queries) is None
