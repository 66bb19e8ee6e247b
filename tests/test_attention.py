"""The attention score, with small graphs of random weights (tests/golden/attention.py) in a bundle."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_words import has_words

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.bundle import (
    ATTENTION_FILES,
    ATTENTION_GRAPH,
    ATTENTION_TABLE_GRAPH,
    PRODUCT_GRAPH,
    compute_model_id,
    list_bundle_files,
    load_bundle,
    save_manifest,
)
from anthem_core.encoding.packed_titles import MAX_WEIGHT
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.errors import BundleError
from anthem_plugin.scoring.params import ATTENTION, BOTH, CONTAINMENT, ScoringParams

TITLES = ["fire tv stick 4k", "", "Kühlschrank weiß 200 l", "टीवी", "red kindle case " * 20, "teapot", "!!!", "x"]

some_text = st.text(max_size=60)
some_queries = st.one_of(some_text, st.sampled_from(["fire tv", "Kühlschrank", "टीवी", "fire " * 40]))


@pytest.fixture(scope="module")
def attention(attention_encoder):
    """The attention scorer of that bundle."""
    return AttentionScorer(attention_encoder.bundle)


@pytest.fixture(scope="module")
def explainer(attention_encoder):
    """The grid explainer of that bundle."""
    return GridExplainer(attention_encoder.bundle)


@pytest.fixture
def folder(attention_encoder, tmp_path):
    """A copy of that bundle that a test may damage."""
    return Path(shutil.copytree(attention_encoder.bundle.path, tmp_path / "copy"))


@given(some_queries, st.lists(some_text, max_size=9))
@settings(max_examples=50)
def test_every_title_has_a_score(attention, query, titles):
    """A score is finite if both query and title have letters or digits, otherwise NaN."""
    scores = attention.score_titles(query, titles)
    assert scores.shape == (len(titles),)
    assert [bool(np.isfinite(score)) for score in scores] == [has_words(query) and has_words(t) for t in titles]


@given(some_queries, st.lists(some_text, max_size=5))
@settings(max_examples=50)
def test_a_score_is_the_formula_of_the_table(attention, query, titles):
    """It is the sum, title by title and entity by entity, that the docstring of the table states."""
    table, entities = attention.encode_query(query), attention.encode_titles(titles)
    scores = attention.score_titles(query, titles)
    rows = {} if table is None else dict(zip(table.ids.tolist(), range(len(table.ids)), strict=True))
    start = 0
    for score, length in zip(scores, entities.lengths.tolist(), strict=True):
        ids, weights = entities.ids[start : start + length].tolist(), entities.weights[start : start + length].tolist()
        start += length
        if table is None or not ids:
            assert np.isnan(score)
            continue
        at = [rows.get(number, len(rows)) for number in ids]
        answers = sum(
            weight * sum(table.answered_cells[row][i] for row in at) / sum(table.answered[row][i] for row in at)
            for i, weight in enumerate(table.attention)
        )
        coverage = sum(w * table.explained[row] for w, row in zip(weights, at, strict=True)) / sum(weights)
        assert score == pytest.approx(answers + coverage, abs=1e-12)


@given(st.lists(some_text, max_size=9))
@settings(max_examples=50)
def test_stored_titles_score_the_same(attention, titles):
    """What an index stores of titles gives the scores of the titles."""
    entities, table = attention.encode_titles(titles), attention.encode_query("fire tv")
    packed = entities.pack()
    stored = TitleEntities.unpack(packed)
    assert stored.pack() == packed
    np.testing.assert_allclose(table.score(stored), table.score(entities), atol=1e-12)


@given(st.lists(some_text.filter(has_words), min_size=1, max_size=9))
@settings(max_examples=50)
def test_the_weights_of_a_title_are_shares_of_its_largest(attention, titles):
    """In every title at least one entity has the weight 15, whatever the other titles are."""
    entities = attention.encode_titles(titles)
    starts = np.cumsum(entities.lengths) - entities.lengths
    assert np.maximum.reduceat(entities.weights, starts).tolist() == [MAX_WEIGHT] * len(titles)
    alone = [attention.encode_titles([title]).weights for title in titles]
    assert np.concatenate(alone).tolist() == entities.weights.tolist()


def test_a_batch_equals_its_titles_one_by_one(attention):
    """Neither the other titles nor their order changes a score."""
    query = "word 12 345 tv"
    titles = [f"{'word ' * (number % 23)}{number}" for number in range(600)] + TITLES
    singles = np.concatenate([attention.score_titles(query, [title]) for title in titles])
    np.testing.assert_allclose(attention.score_titles(query, titles), singles, atol=1e-9)
    np.testing.assert_allclose(attention.score_titles(query, titles[::-1])[::-1], singles, atol=1e-9)
    assert len(np.unique(singles[np.isfinite(singles)].round(5))) > 50


def test_the_better_match_scores_higher(attention):
    """A title that contains the query's words scores higher than one that shares no word."""
    match, other = attention.score_titles("fire tv", ["new fire tv stick", "ceramic teapot"])
    assert match > other


@given(some_queries.filter(has_words), some_text)
@settings(max_examples=50)
def test_a_grid_is_labelled_with_entities(explainer, query, title):
    """Rows are the query's entities, columns the title's, up to the limits."""
    vocabulary = explainer.bundle.vocabulary
    grid = explainer.explain_title(query, title)
    if not has_words(title):
        assert grid is None
        return
    assert grid.query == vocabulary.entities(query, vocabulary.query_limit)
    assert grid.title == vocabulary.entities(title, vocabulary.title_limit)
    assert grid.cells.shape == (len(grid.query), len(grid.title))
    assert np.isfinite(grid.score)


def test_equal_entities_have_the_strongest_cell(explainer):
    """In each row the cell of the same entity is the strongest; a query without letters has no grid."""
    grid = explainer.explain_title("tv", "red tv")
    strongest = [grid.title[number].name for number in grid.cells.argmax(axis=1)]
    assert strongest == [entity.name for entity in grid.query]
    assert strongest[-2:] == ["#tv", "tv#"]
    assert explainer.explain_title("?!", "red tv") is None


@given(some_queries.filter(has_words), some_text.filter(has_words))
@settings(max_examples=50)
def test_a_grid_of_the_shipped_bundle_shares_out_attention(bundle, query, title):
    """Its cells are shares: none is negative, and they sum to at most 1."""
    cells = GridExplainer(bundle).explain_title(query, title).cells if bundle.has_attention else np.zeros(1)
    assert (cells >= 0).all()
    assert cells.sum() <= 1 + 1e-5


def test_an_attention_scorer_is_thread_safe(attention_encoder, attention):
    """Eight threads at once, on a scorer that has not read its graph yet, get the same as a single thread."""
    expected, fresh = attention.score_titles("fire tv", TITLES), AttentionScorer(attention_encoder.bundle)
    with ThreadPoolExecutor(8) as pool:
        for scores in pool.map(lambda _: fresh.score_titles("fire tv", TITLES), range(32)):
            np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("name", ATTENTION_FILES)
def test_each_graph_changes_the_model_id(attention_encoder, folder, name):
    """Both attention graphs are part of the model id; without them the id depends on the other files alone."""
    (folder / name).unlink()
    without = compute_model_id(folder, attention_encoder.bundle.rules())
    assert without != attention_encoder.bundle.model_id


def test_the_graphs_are_part_of_the_bundle(attention_encoder):
    """The bundle's size includes the graphs, and its fusion has weights for every set of signals."""
    bundle = attention_encoder.bundle
    assert bundle.has_attention
    files = list_bundle_files(bundle.path)
    assert bundle.size_bytes == sum((bundle.path / name).stat().st_size for name in files)
    assert ScoringParams.from_bundle(bundle).fusions.keys() == {CONTAINMENT, ATTENTION, BOTH}
    assert load_bundle(bundle.path) == bundle


@pytest.mark.parametrize("name", ATTENTION_FILES)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"{} is missing\. Copy the whole"),
        (lambda path: path.write_bytes(b"not a graph"), "{} has SHA-256 .*, the manifest says"),
    ],
)
def test_a_damaged_graph_is_refused(folder, name, damage, message):
    """A bundle whose attention graph is missing or differs from the manifest is refused, with what to do."""
    damage(folder / name)
    with pytest.raises(BundleError, match=message.format(name)):
        load_bundle(folder)


def without_attention(folder):
    """The bundle in a folder without its attention graphs, which are moved aside."""
    bundle = load_bundle(folder)
    for name in ATTENTION_FILES:
        (folder / name).rename(folder / f"aside-{name}")
    save_manifest(replace(bundle, model_id=compute_model_id(folder, bundle.rules())))
    return load_bundle(folder)


@pytest.mark.parametrize("name", ATTENTION_FILES)
def test_a_graph_that_the_manifest_does_not_list_is_refused(folder, name):
    """A graph that was added after export is refused."""
    assert not without_attention(folder).has_attention
    (folder / f"aside-{name}").rename(folder / name)
    with pytest.raises(BundleError, match=rf"{name} has SHA-256 .*, the manifest says None"):
        load_bundle(folder)


def test_a_bundle_without_attention(folder):
    """It loads and ranks by two signals; an attention scorer for it raises an error that names the missing graph."""
    plain = without_attention(folder)
    assert ScoringParams.from_bundle(plain).fusions.keys() == {CONTAINMENT}
    assert ScoringParams.from_bundle(plain).signals == CONTAINMENT
    with pytest.raises(BundleError, match=r"has no attention_table.onnx.*rank without attention"):
        AttentionScorer(plain)


def test_a_foreign_graph_is_refused_at_first_use(attention_encoder, add_attention, tmp_path):
    """A bundle whose graph has other inputs and outputs loads, but scoring with it is an error."""
    foreign = add_attention(attention_encoder.bundle, tmp_path, attention_encoder.bundle.path / PRODUCT_GRAPH)
    expected = rf"{ATTENTION_TABLE_GRAPH} has inputs and outputs .*trigrams.*; expected .*query_mask"
    with pytest.raises(BundleError, match=expected):
        AttentionScorer(foreign).score_titles("fire tv", ["tv"])
    shutil.copy(attention_encoder.bundle.path / PRODUCT_GRAPH, tmp_path / ATTENTION_GRAPH)
    with pytest.raises(BundleError, match=rf"{ATTENTION_GRAPH} has inputs and outputs .*; expected .*titles"):
        GridExplainer(foreign).explain_title("fire tv", "tv")
