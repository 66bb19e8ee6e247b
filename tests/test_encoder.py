"""The two encoders, on the bundle that ships."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.encoder import ENCODER_BATCH_SIZE, Encoder
from anthem_core.geometry import lorentz

GOLDEN = Path(__file__).parent / "golden" / "general.json"
TITLES = ["fire tv stick 4k", "", "Kühlschrank weiß 200 l", "टीवी", "red kindle case " * 20, "teapot", "!!!", "x"]
QUERIES = ["fire tv", "telvision", "Kühlschrank", "テレビ", "टीवी 4k", "a", "red red red", "fire " * 40]

some_text = st.text(max_size=60)


@given(some_text)
@settings(max_examples=50)
def test_a_query_is_encoded_as_hyperboloids(encoder, text):
    """Centres are on the hyperboloid within the radius, limits are not negative, weights and attention sum to 1."""
    query = encoder.encode_query(text)
    bundle = encoder.bundle
    if query is None:
        assert bundle.vocabulary.query_ids(text) == []
        return
    assert query.centres.shape == (bundle.hyperboloids, bundle.dimension + 1)
    assert query.limits.shape == (bundle.hyperboloids, bundle.dimension)
    assert all(value.dtype == np.float32 for value in (query.centres, query.limits, query.weights))
    assert lorentz.is_on_hyperboloid(query.centres)
    assert np.linalg.norm(lorentz.logmap0(query.centres), axis=-1).max() <= bundle.radius * (1 + 1e-5)
    assert np.isfinite(query.limits).all()
    assert (query.limits >= 0).all()
    assert (query.weights >= 0).all()
    assert query.weights.sum() == pytest.approx(1, abs=1e-5)
    assert query.entities.sum() + query.intersections.sum() == pytest.approx(1, abs=1e-5)
    assert np.tril(query.intersections).max() == 0


@given(st.lists(some_text, max_size=5))
@settings(max_examples=50)
def test_products_are_encoded_as_points(encoder, texts):
    """Every text, even an empty one, gives a float32 point on the hyperboloid within the radius."""
    points = encoder.encode_products(texts)
    assert points.shape == (len(texts), encoder.bundle.dimension + 1)
    assert points.dtype == np.float32
    assert lorentz.is_on_hyperboloid(points)
    assert (np.linalg.norm(lorentz.logmap0(points), axis=-1) <= encoder.bundle.radius * (1 + 1e-5)).all()


@pytest.mark.parametrize("text", ["", "   ", "?!", "📺"])
def test_a_query_without_letters_is_none(encoder, text):
    """A text without letters or digits has no hyperboloids."""
    assert encoder.encode_query(text) is None


def test_a_batch_equals_its_texts_one_by_one(encoder):
    """Neither the other texts of a batch nor padding change a point."""
    singles = np.concatenate([encoder.encode_products([title]) for title in TITLES])
    np.testing.assert_allclose(encoder.encode_products(TITLES), singles, atol=2e-5, rtol=1e-5)


def test_points_keep_the_order_of_their_texts(encoder):
    """Points are in the order of the texts, over several batches and for texts of any length."""
    texts = [f"{'word ' * (number % 17)}{number}" for number in range(2 * ENCODER_BATCH_SIZE + 3)]
    forwards, backwards = encoder.encode_products(texts), encoder.encode_products(texts[::-1])
    np.testing.assert_allclose(forwards, backwards[::-1], atol=2e-5, rtol=1e-5)
    assert len(np.unique(forwards.round(4), axis=0)) == len(texts)


def test_encoding_is_deterministic(bundle, encoder):
    """The same texts give the same bits, in this session and in a new one."""
    other = Encoder(bundle)
    np.testing.assert_array_equal(encoder.encode_products(TITLES), other.encode_products(TITLES))
    for text in QUERIES:
        np.testing.assert_array_equal(encoder.encode_query(text).centres, other.encode_query(text).centres)


def test_an_encoder_is_thread_safe(encoder):
    """Eight threads at once get the same as a single thread."""
    texts = QUERIES * 8
    with ThreadPoolExecutor(8) as pool:
        queries = list(pool.map(encoder.encode_query, texts))
        points = list(pool.map(encoder.encode_products, [TITLES] * 16))
    sequential = {text: encoder.encode_query(text) for text in QUERIES}
    for text, query in zip(texts, queries, strict=True):
        for name in ("centres", "limits", "weights", "entities", "intersections"):
            np.testing.assert_array_equal(getattr(query, name), getattr(sequential[text], name))
    for thread_points in points:
        np.testing.assert_array_equal(thread_points, encoder.encode_products(TITLES))


def test_case_and_width_make_no_difference(encoder):
    """Texts that differ only in case, width and punctuation give the same bits."""
    np.testing.assert_array_equal(encoder.encode_products(["FIRE  TV"]), encoder.encode_products(["fire-tv"]))
    np.testing.assert_array_equal(encoder.encode_query("ＦＩＲＥ tv!").limits, encoder.encode_query("fire tv").limits)


def test_golden_numbers(encoder):
    """The shipped bundle computes the same as when it was made; for a new one: python tests/golden/refresh.py."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["model"] == encoder.bundle.model_id, "another bundle: run python tests/golden/refresh.py"
    points = encoder.encode_products(golden["titles"])
    np.testing.assert_allclose(points[:, :4], golden["points"], atol=1e-4)
    for text, expected in golden["queries"].items():
        query = encoder.encode_query(text)
        assert query.size == pytest.approx(expected["size"], abs=1e-4)
        np.testing.assert_allclose(query.weights, expected["weights"], atol=1e-4)
        np.testing.assert_allclose(query.distance(points, encoder.bundle.gamma), expected["distances"], atol=1e-4)
