"""The attention score, with a small graph of random weights (tests/golden/attention.py) in a bundle."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import (
    ALL_SIGNALS,
    ATTENTION_GRAPH,
    PRODUCT_GRAPH,
    REQUIRED_FILES,
    compute_model_id,
    load_bundle,
    save_manifest,
)
from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.errors import BundleError
from anthem_plugin.scoring.params import ScoringParams

TITLES = ["fire tv stick 4k", "", "Kühlschrank weiß 200 l", "टीवी", "red kindle case " * 20, "teapot", "!!!", "x"]

some_text = st.text(max_size=60)


@pytest.fixture(scope="module")
def attention(attention_encoder):
    """The attention scorer of that bundle."""
    return AttentionScorer(attention_encoder.bundle)


@pytest.fixture
def folder(attention_encoder, tmp_path):
    """A copy of that bundle that a test may damage."""
    return Path(shutil.copytree(attention_encoder.bundle.path, tmp_path / "copy"))


@given(some_text, st.lists(some_text, max_size=9))
@settings(max_examples=50)
def test_every_title_has_a_score(attention, query, titles):
    """A score is finite if both query and title have letters or digits, otherwise NaN."""
    scores = attention.score_titles(query, titles)
    assert scores.shape == (len(titles),)
    assert [bool(np.isfinite(score)) for score in scores] == [
        bool(extract_trigrams(query) and extract_trigrams(t)) for t in titles
    ]


def test_a_batch_equals_its_titles_one_by_one(attention):
    """Neither the other titles, nor padding, nor their order changes a score, over several runs of the graph."""
    titles = [f"{'word ' * (number % 23)}{number}" for number in range(600)] + TITLES
    singles = np.concatenate([attention.score_titles("fire tv 4", [title]) for title in titles])
    np.testing.assert_allclose(attention.score_titles("fire tv 4", titles), singles, atol=1e-6)
    np.testing.assert_allclose(attention.score_titles("fire tv 4", titles[::-1])[::-1], singles, atol=1e-6)
    assert len(np.unique(singles[np.isfinite(singles)].round(5))) > 300


def test_the_better_match_scores_higher(attention):
    """A title that contains the query's words scores higher than one that shares no word."""
    match, other = attention.score_titles("fire tv", ["new fire tv stick", "ceramic teapot"])
    assert match > other
    assert match == pytest.approx(1, abs=1e-6), "the title contains every trigram of the query"


@given(st.sampled_from(["fire tv", "Kühlschrank", "टीवी", "fire " * 40]), some_text)
@settings(max_examples=30)
def test_a_grid_is_labelled_with_trigrams(attention, query, title):
    """Rows are the query's trigrams, columns the title's, up to the limits; the score is that of `score_titles`."""
    vocabulary = attention.bundle.vocabulary
    grid = attention.explain_title(query, title)
    if not extract_trigrams(title):
        assert grid is None
        return
    assert grid.query == extract_trigrams(query, vocabulary.query_limit)
    assert grid.title == extract_trigrams(title, vocabulary.title_limit)
    assert grid.cells.shape == (len(grid.query), len(grid.title))
    assert grid.score == pytest.approx(attention.score_titles(query, [title])[0], abs=1e-6)


def test_equal_trigrams_have_the_strongest_cell(attention):
    """In each row the cell of the same trigram is the strongest; a query without letters has no grid."""
    grid = attention.explain_title("tv", "red tv")
    strongest = [grid.title[number] for number in grid.cells.argmax(axis=1)]
    assert strongest == grid.query == ["#tv", "tv#"]
    assert attention.explain_title("?!", "red tv") is None


def test_an_attention_scorer_is_thread_safe(attention_encoder, attention):
    """Eight threads at once, on a scorer that has not read its graph yet, get the same as a single thread."""
    expected, fresh = attention.score_titles("fire tv", TITLES), AttentionScorer(attention_encoder.bundle)
    with ThreadPoolExecutor(8) as pool:
        for scores in pool.map(lambda _: fresh.score_titles("fire tv", TITLES), range(32)):
            np.testing.assert_array_equal(scores, expected)


def test_the_graph_changes_the_model_id(bundle, attention_encoder, folder):
    """The attention graph is part of the model id; without it the id depends on the other files alone."""
    (folder / ATTENTION_GRAPH).unlink()
    without = compute_model_id(folder, bundle.vocabulary.rules())
    assert without != attention_encoder.bundle.model_id
    assert bundle.has_attention or without == bundle.model_id


def test_the_graph_is_part_of_the_bundle(attention_encoder):
    """The bundle's size includes the graph, and its fusion has weights for all three signals."""
    bundle = attention_encoder.bundle
    assert bundle.has_attention
    assert bundle.size_bytes == sum((bundle.path / name).stat().st_size for name in (*REQUIRED_FILES, ATTENTION_GRAPH))
    assert ScoringParams.from_bundle(bundle).attention_fusion == bundle.fusion[ALL_SIGNALS]
    assert load_bundle(bundle.path) == bundle


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"attention.onnx is missing\. Copy the whole"),
        (lambda path: path.write_bytes(b"not a graph"), "attention.onnx has SHA-256 .*, the manifest says"),
    ],
)
def test_a_damaged_graph_is_refused(folder, damage, message):
    """A bundle whose attention graph is missing or differs from the manifest is refused, with what to do."""
    damage(folder / ATTENTION_GRAPH)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_graph_that_the_manifest_does_not_list_is_refused(folder):
    """A graph that was added after export is refused."""
    plain = load_bundle(folder)
    (folder / ATTENTION_GRAPH).rename(folder / "aside")
    save_manifest(replace(plain, model_id=compute_model_id(folder, plain.vocabulary.rules())))
    assert not load_bundle(folder).has_attention
    (folder / "aside").rename(folder / ATTENTION_GRAPH)
    with pytest.raises(BundleError, match=r"attention.onnx has SHA-256 .*, the manifest says None"):
        load_bundle(folder)


def test_a_bundle_without_attention(folder):
    """It loads and ranks by two signals; an attention scorer for it raises an error that names the missing graph."""
    bundle = load_bundle(folder)
    (folder / ATTENTION_GRAPH).unlink()
    save_manifest(replace(bundle, model_id=compute_model_id(folder, bundle.vocabulary.rules())))
    plain = load_bundle(folder)
    assert ScoringParams.from_bundle(plain).attention_fusion is None
    with pytest.raises(BundleError, match=r"has no attention.onnx.*rank without attention"):
        AttentionScorer(plain)


def test_a_foreign_graph_is_refused_at_first_use(attention_encoder, add_attention, tmp_path):
    """A bundle whose graph has other inputs and outputs loads, but scoring with it is an error."""
    foreign = add_attention(attention_encoder.bundle, tmp_path, attention_encoder.bundle.path / PRODUCT_GRAPH)
    with pytest.raises(BundleError, match=r"attention.onnx has inputs and outputs .*trigrams.*; expected .*query_mask"):
        AttentionScorer(foreign).score_titles("fire tv", ["tv"])
