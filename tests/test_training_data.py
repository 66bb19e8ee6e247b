"""The split of a dataset into training and validation, and BM25."""

import math
import random
from dataclasses import replace

import pytest
from training_dataset import build_dataset

pytestmark = pytest.mark.train
pytest.importorskip("bm25s", reason="the extra `train` is not installed")

from anthem_model.data.bm25 import Bm25Index
from anthem_model.data.training_shop import max_validation_queries, split_dataset


@pytest.fixture(scope="module")
def split():
    """The dataset, split."""
    return split_dataset("tiny", build_dataset(), random.Random(0))


def test_training_and_validation_are_disjoint(split):
    """They share no query and no title, and contain nothing of `test`; gains are grades divided by the top grade."""
    train, validation = split.train, split.validation
    assert validation.judged_queries
    assert not {query.text for query in train.judged_queries} & {query.text for query in validation.judged_queries}
    assert not set(train.titles) & set(validation.titles)
    assert len(train.titles) + len(validation.titles) == 20
    assert len(validation.titles) <= 4
    assert {gain for query in train.judged_queries for gain in query.gains} == {1.0, 1 / 3, 0.0}


def test_duplicates_of_validation_titles_are_not_trained_on():
    """If every title belongs to two products, training and validation still share no title."""
    dataset = build_dataset()
    duplicates = {f"{name}b": replace(product, id=f"{name}b") for name, product in dataset.products.items()}
    doubled = replace(dataset, products=dataset.products | duplicates)
    split = split_dataset("doubled", doubled, random.Random(0))
    assert split.validation.judged_queries
    assert not set(split.train.titles) & set(split.validation.titles)


def test_judgments_stay_with_their_titles(split):
    """After the split, every gain belongs to the title that was judged."""
    dataset = build_dataset()
    query_ids = {text: query for query, text in dataset.queries.items()}
    for shop in (split.train, split.validation):
        for query in shop.judged_queries:
            judgments = dataset.qrels["train"][query_ids[query.text]]
            grades = {dataset.products[name].title: grade for name, grade in judgments.items()}
            for row, gain in zip(query.rows, query.gains, strict=True):
                assert gain == grades[shop.titles[row]] / 3


@pytest.mark.parametrize(("judged", "expected"), [(0, 0), (2, 0), (3, 1), (30, 10), (90, 30), (180, 30), (600, 100)])
def test_the_number_of_validation_queries(judged, expected):
    """A sixth of the judged queries are for validation; of few queries a third, up to thirty."""
    assert max_validation_queries(judged) == expected


def test_golden_bm25_score():
    """The score is that of Lucene's formula, idf * tf / (tf + k1 (1 - b + b * length / mean))."""
    scores = Bm25Index(["red teapots", "a blue kettle"]).scores("the teapot")
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert scores == pytest.approx([idf / (1 + 1.2), 0.0], rel=1e-4)


@pytest.mark.parametrize("query", ["", "zzz", "the of", "!?"])
def test_bm25_scores_without_a_match_are_0(query):
    """A query of unknown words or stop words has the score 0 for every text, and no top rows."""
    index = Bm25Index(["red teapot", "blue kettle"])
    assert index.scores(query).tolist() == [0.0, 0.0]
    assert index.top_rows(query, 2) == []


def test_bm25_top_rows_are_sorted_by_score():
    """The top rows have the highest scores, best first; ties are in the order of the rows."""
    index = Bm25Index(["red kettle", "a mug", "red red", "red kettle"])
    scores = index.scores("red kettle")
    assert index.top_rows("red kettle", 9) == sorted((0, 2, 3), key=lambda row: (-scores[row], row)) == [0, 3, 2]
    assert index.top_rows("red kettle", 1) == [0]
