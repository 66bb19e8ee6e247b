"""Laws of the attention score, with a small graph of random weights (tests/golden/attention.py) in a bundle."""

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
def attention(attentive):
    """The attention of that bundle."""
    return AttentionScorer(attentive.bundle)


@pytest.fixture
def folder(attentive, tmp_path):
    """A copy of that bundle, free to be damaged."""
    return Path(shutil.copytree(attentive.bundle.path, tmp_path / "copy"))


@given(some_text, st.lists(some_text, max_size=9))
@settings(max_examples=50)
def test_a_score_a_title(attention, query, titles):
    """Every title has a score, a finite one where query and title have letters or digits, NaN where one has none."""
    found = attention.scores(query, titles)
    assert found.shape == (len(titles),)
    assert [bool(np.isfinite(score)) for score in found] == [
        bool(extract_trigrams(query) and extract_trigrams(t)) for t in titles
    ]


def test_company_changes_no_score(attention):
    """Neither the other titles, nor padding, nor their order changes a score, over several runs of the graph."""
    titles = [f"{'word ' * (number % 23)}{number}" for number in range(600)] + TITLES
    alone = np.concatenate([attention.scores("fire tv 4", [title]) for title in titles])
    np.testing.assert_allclose(attention.scores("fire tv 4", titles), alone, atol=1e-6)
    np.testing.assert_allclose(attention.scores("fire tv 4", titles[::-1])[::-1], alone, atol=1e-6)
    assert len(np.unique(alone[np.isfinite(alone)].round(5))) > 300


def test_the_better_match_scores_higher(attention):
    """A title that holds the query's words stands above one that shares no word."""
    same, other = attention.scores("fire tv", ["new fire tv stick", "ceramic teapot"])
    assert same > other
    assert same == pytest.approx(1, abs=1e-6), "each trigram of the query has itself in the title"


@given(st.sampled_from(["fire tv", "Kühlschrank", "टीवी", "fire " * 40]), some_text)
@settings(max_examples=30)
def test_a_grid_has_the_trigrams_for_labels(attention, query, title):
    """Rows are the query's trigrams, columns the title's, within the limits; its score is that of `scores`."""
    vocabulary = attention.bundle.vocabulary
    grid = attention.grid(query, title)
    if not extract_trigrams(title):
        assert grid is None
        return
    assert grid.query == extract_trigrams(query, vocabulary.query_limit)
    assert grid.title == extract_trigrams(title, vocabulary.title_limit)
    assert grid.cells.shape == (len(grid.query), len(grid.title))
    assert grid.score == pytest.approx(attention.scores(query, [title])[0], abs=1e-6)


def test_a_cell_belongs_to_its_labels(attention):
    """The same trigram in query and title is the strongest cell of its row, and a query without words has no grid."""
    grid = attention.grid("tv", "red tv")
    best = [grid.title[number] for number in grid.cells.argmax(axis=1)]
    assert best == grid.query == ["#tv", "tv#"]
    assert attention.grid("?!", "red tv") is None


def test_threads_may_share_an_attention(attentive, attention):
    """Eight threads at once, the first to use it among them, get what one gets alone."""
    wanted, fresh = attention.scores("fire tv", TITLES), AttentionScorer(attentive.bundle)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: fresh.scores("fire tv", TITLES), range(32)):
            np.testing.assert_array_equal(found, wanted)


def test_the_graph_makes_another_model(bundle, attentive, folder):
    """Attention is part of the model id; without it the id is that of the other files, as it always was."""
    (folder / ATTENTION_GRAPH).unlink()
    without = compute_model_id(folder, bundle.vocabulary.rules())
    assert without != attentive.bundle.model
    assert bundle.attends or without == bundle.model


def test_the_graph_counts_as_part_of_the_bundle(attentive):
    """Its size is in that of the bundle, and its weights are those of all three signals."""
    bundle = attentive.bundle
    assert bundle.attends
    assert bundle.bytes == sum((bundle.path / name).stat().st_size for name in (*REQUIRED_FILES, ATTENTION_GRAPH))
    assert ScoringParams.of(bundle).attentive == bundle.fusion[ALL_SIGNALS]
    assert load_bundle(bundle.path) == bundle


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"lacks attention.onnx\. Copy the whole"),
        (lambda path: path.write_bytes(b"no graph"), "attention.onnx has SHA-256 .*, the manifest says"),
    ],
)
def test_a_damaged_graph_is_refused(folder, damage, message):
    """A graph that the manifest lists and that is gone, or is another, is refused with what to do."""
    damage(folder / ATTENTION_GRAPH)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_graph_that_was_slipped_in_is_refused(folder):
    """A graph that the manifest does not know is refused as well: nobody vouches for it."""
    plain = load_bundle(folder)
    (folder / ATTENTION_GRAPH).rename(folder / "aside")
    save_manifest(replace(plain, model=compute_model_id(folder, plain.vocabulary.rules())))
    assert not load_bundle(folder).attends
    (folder / "aside").rename(folder / ATTENTION_GRAPH)
    with pytest.raises(BundleError, match=r"attention.onnx has SHA-256 .*, the manifest says None"):
        load_bundle(folder)


def test_a_bundle_without_attention_has_none(folder):
    """It loads and ranks by two signals as before; who asks for attention is told what is missing."""
    bundle = load_bundle(folder)
    (folder / ATTENTION_GRAPH).unlink()
    save_manifest(replace(bundle, model=compute_model_id(folder, bundle.vocabulary.rules())))
    plain = load_bundle(folder)
    assert ScoringParams.of(plain).attentive is None
    with pytest.raises(BundleError, match=r"has no attention.onnx.*rank without attention"):
        AttentionScorer(plain)


def test_a_foreign_graph_is_refused_at_first_use(attentive, with_attention, tmp_path):
    """A graph with other inputs and outputs is no reason to refuse the bundle, and an error once it is asked."""
    foreign = with_attention(attentive.bundle, tmp_path, attentive.bundle.path / PRODUCT_GRAPH)
    with pytest.raises(BundleError, match=r"attention.onnx has inputs and outputs .*trigrams.* were wanted"):
        AttentionScorer(foreign).scores("fire tv", ["tv"])
