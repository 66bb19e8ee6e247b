"""LambdaMART of the comparison: its features and its training."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("lightgbm")
pytestmark = pytest.mark.train

from anthem_model.data.bm25 import Bm25Index
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from candidates import CandidateSplit, QueryCandidates
from rankers.lambdamart import train_lambdamart
from rankers.ltr_features import FEATURE_NAMES, FeatureExtractor, FieldStatistics, longest_phrase, shortest_span

TERMS = st.lists(st.sampled_from("abcd"), max_size=8)
COLOURS = ("red", "blue", "green", "white", "black")
THINGS = ("hammer", "kettle", "ladder", "lamp", "faucet", "mirror", "drill", "shelf")
TITLES = [f"{colour} {thing} {size} inch" for size in (6, 12) for colour in COLOURS for thing in THINGS]
BRANDS = {TITLES[0]: "Goodnest"}


def features(query, title):
    """Features of a pair by name."""
    return dict(zip(FEATURE_NAMES, FeatureExtractor(TITLES, BRANDS).features(query, title), strict=True))


@given(TERMS, TERMS)
def test_longest_phrase_is_the_longest_common_run(query, title):
    """No longer run of the query is a run of the title."""
    runs = [query[start:end] for start in range(len(query)) for end in range(start + 1, len(query) + 1)]
    common = [len(run) for run in runs if any(title[place : place + len(run)] == run for place in range(len(title)))]
    assert longest_phrase(query, title) == max(common, default=0)


@given(TERMS, TERMS)
def test_shortest_span_holds_all_shared_terms(query, title):
    """No shorter part of the title holds every term that it shares with the query."""
    shared = set(query) & set(title)
    parts = [title[start:end] for start in range(len(title)) for end in range(start + 1, len(title) + 1)]
    expected = min((len(part) for part in parts if shared <= set(part)), default=0) if shared else 0
    assert shortest_span(query, title) == expected


@given(st.sampled_from(COLOURS), st.sampled_from(THINGS), st.integers(0, len(TITLES) - 1))
def test_bm25_is_that_of_the_catalogue(colour, thing, row):
    """BM25 of a pair is the score that an index over all titles gives."""
    query = f"{thing}s for {colour}"
    expected = Bm25Index(TITLES).scores(query)[row]
    assert features(query, TITLES[row])["bm25_english"] == pytest.approx(float(expected), rel=1e-4)


def test_bm25_by_hand():
    """One text of two has the term once, at mean length: `log(1 + 1.5/1.5) / (1 + 1.2)`."""
    statistics = FieldStatistics.of([["a", "b"], ["c", "d"]])
    assert statistics.bm25(["a"], ["a", "b"]) == pytest.approx(math.log(2) / 2.2)
    assert statistics.bm25(["x"], ["a", "b"]) == 0


def test_features_say_what_matches():
    """Coverage counts stems, numbers match exactly, and brands are known by title."""
    found = features("12 inch hammers", "red hammer 12 inch")
    assert found["stem_coverage"] == 1
    assert found["word_coverage"] == pytest.approx(2 / 3)
    assert found["number_coverage"] == 1
    assert found["phrase"] == pytest.approx(2 / 3)
    assert features("6 inch hammer", "red hammer 12 inch")["missing_numbers"] == 1
    assert features("goodnest hammer", TITLES[0])["brand_coverage"] == 1
    assert features("goodnest hammer", TITLES[1])["brand_coverage"] == 0


@given(st.text(max_size=30), st.text(max_size=30))
def test_features_of_any_text_are_finite(query, title):
    """There is a number for every feature, whatever the texts are."""
    values = FeatureExtractor(TITLES, {}).features(query, title)
    assert len(values) == len(FEATURE_NAMES)
    assert np.isfinite(values).all()


def make_shop(queries):
    """A shop whose products are relevant by their thing alone, and irrelevant if only the colour is right."""
    judged = []
    for colour, thing in queries:
        rows = [row for row, title in enumerate(TITLES) if colour in title.split() or thing in title.split()]
        gains = [float(thing in TITLES[row].split()) for row in rows]
        judged.append(JudgedQuery(f"{colour} {thing}", tuple(rows), tuple(gains)))
    return TrainingShop("shop", TITLES, judged)


def make_split(shop):
    """The judged products of a shop as candidates."""
    names = [f"q{number}" for number in range(len(shop.judged_queries))]
    queries = dict(zip(names, shop.judged_queries, strict=True))
    qrels = {
        name: {f"p{row}": int(gain) for row, gain in zip(query.rows, query.gains, strict=True)}
        for name, query in queries.items()
    }
    pools = {name: dict.fromkeys(grades, 1.0) for name, grades in qrels.items()}
    found = {name: QueryCandidates(pool, pool, pool) for name, pool in pools.items()}
    return CandidateSplit({name: query.text for name, query in queries.items()}, qrels, found)


def test_lambdamart_learns_which_word_counts():
    """After training on judgments, it ranks by the last word of the query; the same seed gives the same scores."""
    pairs = [(colour, thing) for colour in COLOURS for thing in THINGS]
    random.Random(0).shuffle(pairs)
    titles = {f"p{row}": title for row, title in enumerate(TITLES)}
    arguments = (make_shop(pairs[:30]), make_split(make_shop(pairs[30:])), titles, {})
    ranker, same = (train_lambdamart(*arguments, seed=0) for _ in range(2))
    scores = ranker.score_titles("red lamp", ["blue lamp 6 inch", "red shelf 6 inch"])
    assert scores[0] > scores[1]
    assert torch.equal(scores, same.score_titles("red lamp", ["blue lamp 6 inch", "red shelf 6 inch"]))
    assert ranker.count_parameters() > 0
