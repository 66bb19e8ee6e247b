"""Laws of the comparison of sizes with generality."""

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

said = st.frozensets(st.sampled_from("abcdef"), max_size=4)
numbered = st.lists(said, max_size=8).map(lambda many: {str(number): one for number, one in enumerate(many)})


@given(numbered)
def test_pairs_are_all_proper_subsets(spoken):
    """Every pair of queries of which one holds all words of the other and more is found, once."""
    found = list(nested_pairs(spoken))
    wanted = {(a, b) for a in spoken for b in spoken if spoken[a] and spoken[a] < spoken[b]}
    assert len(found) == len(set(found))
    assert set(found) == wanted


@given(numbered)
def test_fewer_words_win_every_pair(spoken):
    """With the negative number of words as size the more general query of each pair is larger, with certainty."""
    found = compare_nested({query: -float(len(one)) for query, one in spoken.items()}, spoken)
    if found is not None:
        assert found.larger == 1
        assert found.interval[0] < 1 <= found.interval[1] + 1e-9


@given(numbered)
def test_equal_sizes_win_no_pair(spoken):
    """A tie is no win."""
    found = compare_nested(dict.fromkeys(spoken, 0.5), spoken)
    assert found is None or (found.larger == 0 and found.pairs > 0)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=4), max_size=8), st.lists(st.sampled_from("abcde"), max_size=3)
)
def test_titles_are_those_that_hold_every_word(titles, asked):
    """The count is that of going through all titles one by one; no word asked, no title."""
    counted = sum(bool(asked) and set(asked) <= set(title) for title in titles)
    assert count_matching_titles(asked, index_titles(" ".join(title) for title in titles)) == counted


@given(st.lists(st.integers(1, 4), min_size=3, max_size=30).filter(lambda many: len(set(many)) > 1))
def test_no_order_beats_the_ceiling(goal):
    """Ranks without ties that follow the goal as well as they can reach the ceiling, and no more."""
    best = stats.rankdata(goal, method="ordinal").tolist()
    assert spearman(best, goal) == pytest.approx(spearman_ceiling(goal))
    assert spearman(best[::-1], goal) <= spearman_ceiling(goal) + 1e-12


def test_golden_ceiling():
    """Of four, three tied: √(1 − (27 − 3) / (64 − 4)) = √0.6; without ties it is 1."""
    assert spearman_ceiling([4, 4, 4, 1]) == pytest.approx(math.sqrt(0.6))
    assert spearman_ceiling([1, 2, 3]) == 1


@pytest.mark.parametrize(
    ("values", "goal"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4]), ([1, 2], [1, 2]), ([], [])]
)
def test_nothing_to_tell(values, goal):
    """A side that is constant, or fewer than three queries, give no correlation."""
    assert spearman(values, goal) is None


def test_sizes_are_the_queries_own(encoder):
    """Every query has the size of its region; one without letters has none."""
    found = query_sizes(encoder, {"a": "fire", "b": "!!", "c": "fire tv"})
    assert found == {"a": encoder.query("fire").size, "c": encoder.query("fire tv").size}


@pytest.fixture(scope="module")
def catalogue():
    """A small generated catalogue."""
    return generate_catalogue(products=700)


def test_the_catalogue_tells_all(encoder, catalogue):
    """All rows are there, the counts are those of the queries, the values are JSON and within the ceiling."""
    queries = {query: catalogue.queries[query] for query in catalogue.qrels["dev"]}
    found = measure_generality(query_sizes(encoder, queries), catalogue, queries)
    rows = {row.against: row for row in found.correlations}
    assert set(rows) == {CATEGORY_ONLY_LABEL, CATEGORY_DEPTH_LABEL, MATCHING_TITLES_LABEL}
    assert rows[CATEGORY_DEPTH_LABEL].queries == len(queries)
    alone = [query for query in queries if not catalogue.query_metadata[query]["constraints"]]
    assert rows[CATEGORY_ONLY_LABEL].queries == len(alone)
    assert all(abs(row.size) <= row.ceiling for row in rows.values())
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["nested"]["pairs"] == found.nested.pairs


def test_the_rivals_are_words_and_rarity(encoder):
    """Fewer words and commoner words count as more general: on queries sorted by both they correlate at the ceiling."""
    titles = ["red sofa large", "red sofa small", "red lamp small", "red rug"]
    texts = {"1": "red", "2": "red sofa", "3": "red sofa large"}
    dataset = Dataset({str(number): Product(str(number), title) for number, title in enumerate(titles)}, texts)
    (row,) = measure_generality(query_sizes(encoder, texts), dataset, texts).correlations
    assert (row.against, row.queries) == (MATCHING_TITLES_LABEL, 3)
    assert row.words == pytest.approx(1) == row.idf == row.ceiling
    assert [len(split_words(text)) for text in texts.values()] == [1, 2, 3]


def test_depth_counts_upwards():
    """A size that falls with depth correlates with generality, positively."""
    texts = {"1": "home", "2": "home lamps", "3": "home lamps desk"}
    depths = {query: {"depth": int(query), "constraints": 0} for query in texts}
    dataset = Dataset({"p": Product("p", "garden hose")}, texts, query_metadata=depths)
    found = {query: 1 / int(query) for query in texts}
    rows = {row.against: row.size for row in measure_generality(found, dataset, texts).correlations}
    assert rows == {CATEGORY_ONLY_LABEL: pytest.approx(1), CATEGORY_DEPTH_LABEL: pytest.approx(1)}


def test_nothing_to_compare(encoder):
    """Without metadata, matching titles and nested pairs there is nothing to say."""
    dataset = Dataset({"p": Product("p", "garden hose")}, {"1": "fire", "2": "kindle"})
    assert measure_generality(query_sizes(encoder, dataset.queries), dataset, dataset.queries) is None
