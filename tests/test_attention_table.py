"""The attention score as a table: laws of the table, of packed titles, and of the bundle that ships."""

import base64
import json
from collections import Counter
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.attention import (
    SIGNIFICANT_DIGITS,
    AttentionScorer,
    AttentionTable,
    build_attention_table,
    weigh_entities,
)
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.packed_titles import MAX_STORED_ID, MAX_WEIGHT
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.encoding.tokenizer import split_words
from anthem_core.errors import BundleError
from anthem_sandbox.catalogue import generate_catalogue

IDS = 12  # few, so that a title often has ids of the table and often the same id twice
stored_ids = st.integers(0, MAX_STORED_ID)
weights = st.integers(0, MAX_WEIGHT)
some_entities = st.lists(st.tuples(stored_ids, weights), max_size=12)
# As titles have them: the largest weight of a title is 15, so their sum is never 0.
weighted_entities = st.lists(st.tuples(st.integers(0, IDS), weights), max_size=8).map(
    lambda entities: [(number, MAX_WEIGHT if place == 0 else weight) for place, (number, weight) in enumerate(entities)]
)
some_titles = st.lists(weighted_entities, min_size=1, max_size=6)
few_examples = settings(max_examples=50)


@st.composite
def attention_tables(draw):
    """A table of random entries with the scales of a real one: `answered` up to 1, cells from −3 to 0."""
    ids = np.array(sorted(draw(st.sets(st.integers(0, IDS - 1), min_size=1, max_size=6))))
    trigrams, rng = draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    answered = np.exp(rng.uniform(-6, 0, (len(ids) + 1, trigrams)))
    cells = rng.uniform(-3, 0, answered.shape)
    return AttentionTable(
        ids, answered, answered * cells, rng.uniform(-1, 0, len(ids) + 1), rng.dirichlet(np.ones(trigrams))
    )


def join_titles(titles):
    """Entities of titles, each a list of ids with their weights."""
    ids, weights = (np.array([entity[part] for title in titles for entity in title], np.int64) for part in (0, 1))
    return TitleEntities(ids, weights.astype(np.uint8), np.array([len(title) for title in titles], np.int64))


def score_naively(table, title):
    """Score of one title, by plain loops over the documented formula."""
    rows = {int(number): row for row, number in enumerate(table.ids)}
    found = [(rows.get(number, len(rows)), weight) for number, weight in title]
    if not found:
        return float("nan")
    score = 0.0
    for column, attention in enumerate(table.attention):
        answered = sum(table.answered[row][column] for row, _ in found)
        score += attention * sum(table.answered_cells[row][column] for row, _ in found) / answered
    return score + sum(weight * table.explained[row] for row, weight in found) / sum(weight for _, weight in found)


@given(attention_tables(), some_titles)
def test_the_score_is_the_documented_formula(table, titles):
    """One vectorised pass gives the sums of the formula, computed title by title; NaN for a title without entities."""
    scores = table.score(join_titles(titles))
    assert scores.shape == (len(titles),)
    np.testing.assert_allclose(scores, [score_naively(table, title) for title in titles], rtol=1e-9, atol=1e-12)


@given(attention_tables(), some_titles, st.randoms(use_true_random=False))
def test_neither_order_nor_batch_changes_a_score(table, titles, random):
    """A title scores the same alone, among others in any order, and with its entities in any order."""
    singles = [table.score(join_titles([title]))[0] for title in titles]
    order = random.sample(range(len(titles)), len(titles))
    shuffled = [random.sample(titles[number], len(titles[number])) for number in order]
    np.testing.assert_allclose(table.score(join_titles(shuffled)), np.array(singles)[order], rtol=1e-9, atol=1e-12)


@given(attention_tables(), st.lists(st.integers(IDS, MAX_STORED_ID), min_size=1, max_size=8))
def test_unknown_ids_count_as_the_default(table, ids):
    """A title of ids without rows has the score of the default row, whatever and however many they are."""
    expected = table.attention @ (table.answered_cells[-1] / table.answered[-1]) + table.explained[-1]
    title = [(number, MAX_WEIGHT) for number in ids]
    assert table.score(join_titles([title]))[0] == pytest.approx(expected, rel=1e-9)


@given(attention_tables())
def test_no_titles_have_no_scores(table):
    """A batch of no titles gives an empty array; one of titles without entities gives NaN for each."""
    assert table.score(join_titles([])).shape == (0,)
    assert np.isnan(table.score(join_titles([[], []]))).all()


@given(attention_tables(), some_titles)
def test_a_score_lies_between_the_extremes_of_the_table(table, titles):
    """A title's answers are means of cells and its coverage one of `explained`, so no score exceeds the extremes."""
    cells = table.answered_cells / table.answered
    scores = table.score(join_titles([title for title in titles if title] or [[(0, MAX_WEIGHT)]]))
    assert (scores <= table.attention @ cells.max(0) + table.explained.max() + 1e-9).all()
    assert (scores >= table.attention @ cells.min(0) + table.explained.min() - 1e-9).all()


@given(st.lists(some_entities, max_size=6))
def test_packed_titles_are_read_back(titles):
    """Unpacking gives the titles that were packed, each with the same ids and weights, in some order."""
    unpacked = TitleEntities.unpack(join_titles(titles).pack())
    assert unpacked.lengths.tolist() == [len(title) for title in titles]
    ends = np.cumsum(unpacked.lengths)[:-1]
    columns = zip(np.split(unpacked.ids, ends), np.split(unpacked.weights, ends), strict=True) if titles else ()
    found = [Counter(zip(ids.tolist(), weights.tolist(), strict=True)) for ids, weights in columns]
    assert found == [Counter(title) for title in titles]


def read_naively(packed):
    """Entities of one packed title, read byte by byte as its format is documented."""
    content = list(packed)

    def read_number():
        part = content.pop(0)
        return part if part < 128 else part - 128 + 128 * read_number()

    count = read_number() if content else 0
    pairs = [content.pop(0) for _ in range((count + 1) // 2)]
    weights = [half for pair in pairs for half in (pair % 16, pair // 16)][:count]
    ids = list(accumulate(read_number() for _ in range(count)))
    assert not content
    return list(zip(ids, weights, strict=True))


@given(st.lists(st.one_of(some_entities, st.just([(9, 5)] * 128)), min_size=1, max_size=4))
def test_packed_titles_have_the_documented_bytes(titles):
    """The number of entities, weights, gaps between ascending ids; equal titles have equal bytes, in any order."""
    packed = join_titles(titles).pack()
    assert [read_naively(content) for content in packed] == [sorted(title) for title in titles]
    assert join_titles([title[::-1] for title in titles]).pack() == packed


@given(attention_tables(), some_titles)
def test_a_packed_title_has_the_same_score(table, titles):
    """What an index stores scores as the title itself does."""
    entities = join_titles(titles)
    scores = table.score(TitleEntities.unpack(entities.pack()))
    np.testing.assert_allclose(scores, table.score(entities), rtol=1e-9, atol=1e-12)


@given(some_entities.filter(bool), st.data())
def test_malformed_titles_are_refused_or_skipped(title, data):
    """Other bytes than those of a title are a ValueError that shows them, or a title without entities; others stay."""
    (good,) = join_titles([title]).pack()
    bad = data.draw(
        st.sampled_from([good + b"\1", good + b"\x80", good[:-1], b"\x80", b"\1\xff", b"\1\5\x80\x80\x80\1",
                         b"\1\5\xff\xff\x7f", b"\xff\xff\xff"])
    )  # fmt: skip
    with pytest.raises(ValueError, match="expected the number of its entities") as caught:
        TitleEntities.unpack([b"", good, bad])
    assert bad[:12].hex(" ") in str(caught.value)
    skipped = TitleEntities.unpack([bad, good, b"", bad, good], skip_malformed=True)
    assert skipped.lengths.tolist() == [0, len(title), 0, 0, len(title)]
    assert skipped.pack() == [b"", good, b"", b"", good]


@given(st.lists(st.binary(max_size=12), max_size=5))
def test_any_bytes_are_read_or_skipped(titles):
    """Whatever an index contains, each title is read as the documented format, or has no entities."""
    found = TitleEntities.unpack(titles, skip_malformed=True)
    starts = np.cumsum(found.lengths) - found.lengths
    for packed, start, length in zip(titles, starts, found.lengths, strict=True):
        entities = list(zip(found.ids[start:][:length].tolist(), found.weights[start:][:length].tolist(), strict=True))
        assert not entities or entities == read_naively(packed)


@given(st.lists(st.lists(st.integers(0, IDS - 1), max_size=6), max_size=5), st.integers(0, 2**32 - 1))
def test_weights_are_shares_of_the_largest(titles, seed):
    """A weight is `15·exp(logit − largest)` to the nearest whole number; the largest of every title is 15."""
    rng = np.random.default_rng(seed)
    by_id, by_place = rng.normal(0, 3, IDS), rng.normal(0, 1, 6)
    ids, lengths = np.array([number for title in titles for number in title], np.int64), [len(t) for t in titles]
    found = np.split(weigh_entities(ids, np.array(lengths, np.int64), by_id, by_place), np.cumsum(lengths)[:-1])
    for title, computed in zip(titles, found, strict=False):
        logits = np.array([by_id[number] + by_place[place] for place, number in enumerate(title)])
        assert computed.dtype == np.uint8
        assert max(computed, default=MAX_WEIGHT) == MAX_WEIGHT
        assert np.abs(computed - MAX_WEIGHT * np.exp(logits - logits.max(initial=-99))).max(initial=0) <= 0.5 + 1e-9


def random_outputs(trigrams, neighbours, seed):
    """Outputs of a table's graph for a query, with neighbours that trigrams share."""
    rng = np.random.default_rng(seed)
    ids = np.array([rng.choice(IDS, neighbours, replace=False) for _ in range(trigrams)])
    explained, entry = rng.uniform(-1, 0, IDS), rng.uniform(0.1, 1, (2, trigrams, neighbours))
    return {
        "ids": ids,
        "answered": entry[0],
        "answered_cells": -entry[1],
        "explained": explained[ids],
        "default_answered": rng.uniform(0.1, 1, trigrams),
        "default_answered_cells": rng.uniform(-1, 0, trigrams),
        "default_explained": np.array(-0.5),
        "attention": rng.dirichlet(np.ones(trigrams)),
    }


@few_examples
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_a_table_has_the_entries_of_its_graph(trigrams, neighbours, seed):
    """A neighbour has its own entries in the columns of its trigrams and defaults elsewhere, to five digits."""
    outputs = random_outputs(trigrams, neighbours, seed)
    table = build_attention_table(outputs)
    assert table.ids.tolist() == sorted({int(number) for number in outputs["ids"].ravel()})
    for name in ("answered", "answered_cells"):
        expected = np.tile(outputs[f"default_{name}"], (len(table.ids) + 1, 1))
        for column, row in np.ndindex(trigrams, neighbours):
            expected[table.ids.searchsorted(outputs["ids"][column, row]), column] = outputs[name][column, row]
        np.testing.assert_allclose(getattr(table, name), expected, rtol=0.5 * 10 ** (1 - SIGNIFICANT_DIGITS))
    explained = dict(zip(outputs["ids"].ravel().tolist(), outputs["explained"].ravel(), strict=True))
    np.testing.assert_allclose(table.explained, [*map(explained.get, table.ids.tolist()), -0.5], rtol=5e-5)
    assert all(float(f"{value:.{SIGNIFICANT_DIGITS - 1}e}") == value for value in table.answered.ravel())


@pytest.fixture(scope="module")
def scorer(bundle):
    """Attention scorer of the bundle that ships."""
    return AttentionScorer(bundle)


@pytest.fixture(scope="module")
def texts():
    """Thirty queries and 1,500 titles of the generated catalogue, with unusual ones."""
    catalogue = generate_catalogue(seed=5)
    titles = [product.title for product in list(catalogue.products.values())[::4]]
    return list(catalogue.queries.values())[::20][:30], [*titles, "", "?!", "Kühlschrank weiß", "x" * 900, "टीवी"]


def test_the_shipped_bundle_scores_by_the_formula(scorer, texts):
    """On real queries and titles, the score is that of the plain loops, and a batch equals its titles one by one."""
    queries, titles = texts
    entities = [scorer.encode_titles([title]) for title in titles[-40:]]
    for query in queries[:5]:
        table, scores = scorer.encode_query(query), scorer.score_titles(query, titles)
        naive = [score_naively(table, list(zip(e.ids.tolist(), e.weights.tolist(), strict=True))) for e in entities]
        np.testing.assert_allclose(scores[-40:], naive, rtol=1e-9)
        np.testing.assert_allclose([table.score(e)[0] for e in entities], naive, rtol=1e-9)
        np.testing.assert_allclose(scorer.score_titles(query, titles[::-1])[::-1], scores, rtol=1e-9)


def test_rounded_weights_change_a_score_little(scorer, texts):
    """With exact weights instead of fifteenths, no score of a real title changes by more than .02."""
    queries, titles = texts
    entities = scorer.encode_titles(titles)
    by_id, by_place = scorer._logits
    places = np.concatenate([np.arange(length) for length in entities.lengths])
    exact = replace(entities, weights=np.exp((by_id[entities.ids] + by_place[places]).astype(np.float64)))
    for query in queries:
        table = scorer.encode_query(query)
        difference = np.abs(table.score(entities) - table.score(exact))
        assert np.nanmax(difference) < 0.02


def test_the_shipped_table_orders_as_the_grid(bundle, scorer, texts):
    """Over titles that share a word with the query, table and grid correlate by .95 on average, and always by .8."""
    queries, titles = texts
    explainer, correlations = GridExplainer(bundle), []
    for query in queries[-12:]:
        sample = [title for title in titles if set(split_words(query)) & set(split_words(title))][:40]
        exact = [explainer.explain_title(query, title).score for title in sample]
        correlations.append(np.corrcoef(scorer.score_titles(query, sample), exact)[0, 1])
    assert np.mean(correlations) > 0.95
    assert min(correlations) > 0.8


def test_a_title_takes_few_bytes_in_an_index(scorer, texts):
    """A packed title takes less than two bytes a trigram, in base64, as in `_source`, less than 2.7."""
    _, titles = texts
    entities = scorer.encode_titles(titles)
    packed = entities.pack()
    assert sum(map(len, packed)) < 2 * entities.lengths.sum()
    assert sum(len(base64.b64encode(title)) for title in packed) < 2.7 * entities.lengths.sum()
    assert packed[titles.index("")] == packed[titles.index("?!")] == b""


def test_golden_trigrams_and_scores(scorer):
    """The shipped bundle stores and scores the same as when it was made; for a new one: tests/golden/refresh.py."""
    golden = json.loads((Path(__file__).parent / "golden" / "general.json").read_text(encoding="utf-8"))
    stored = TitleEntities.unpack([bytes.fromhex(packed) for packed in golden["trigrams"]])
    computed = TitleEntities.unpack(scorer.encode_titles(golden["titles"]).pack())
    assert computed.lengths.tolist() == stored.lengths.tolist()
    assert computed.ids.tolist() == stored.ids.tolist()
    np.testing.assert_allclose(computed.weights.astype(int), stored.weights.astype(int), atol=1)
    for query, expected in golden["queries"].items():
        scores = scorer.score_titles(query, golden["titles"])
        np.testing.assert_allclose(scores, np.array(expected["attention"], float), atol=1e-3)


@pytest.mark.parametrize("buckets", [2**16 - 1, 2**16])
def test_ids_must_fit_in_two_bytes(bundle, buckets):
    """A vocabulary of up to 65,536 ids has an attention score; for a larger one the error says what to do."""
    vocabulary = replace(bundle.vocabulary, trigrams=(), words=(), buckets=buckets)
    large = replace(bundle, vocabulary=vocabulary)
    if len(vocabulary) <= 2**16:
        AttentionScorer(large)
        return
    with pytest.raises(BundleError, match=r"has 65537 ids; an index stores ids up to 65535\. .*smaller vocabulary"):
        AttentionScorer(large)
