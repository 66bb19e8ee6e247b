"""Laws of the two encoders, on the bundle that ships."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.encoder import ENCODER_BATCH_SIZE, Encoder
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import query_distance

GOLDEN = Path(__file__).parent / "golden" / "general.json"
TITLES = ["fire tv stick 4k", "", "Kühlschrank weiß 200 l", "टीवी", "red kindle case " * 20, "teapot", "!!!", "x"]
QUERIES = ["fire tv", "telvision", "Kühlschrank", "テレビ", "टीवी 4k", "a", "red red red", "fire " * 40]

some_text = st.text(max_size=60)


@given(some_text)
@settings(max_examples=50)
def test_a_query_is_hyperboloids(encoder, text):
    """Centres lie on the sheet within the radius, limits are not negative, weights and attention sum to 1."""
    query = encoder.query(text)
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
def test_products_are_points(encoder, texts):
    """Every text, an empty one too, gives a float32 point on the sheet within the radius."""
    points = encoder.products(texts)
    assert points.shape == (len(texts), encoder.bundle.dimension + 1)
    assert points.dtype == np.float32
    assert lorentz.is_on_hyperboloid(points)
    assert (np.linalg.norm(lorentz.logmap0(points), axis=-1) <= encoder.bundle.radius * (1 + 1e-5)).all()


@pytest.mark.parametrize("text", ["", "   ", "?!", "📺"])
def test_a_query_without_letters_is_left_alone(encoder, text):
    """No letters or digits, no hyperboloids: the query is left to OpenSearch."""
    assert encoder.query(text) is None


def test_a_batch_equals_its_texts_one_by_one(encoder):
    """Neither company nor padding changes a point."""
    singles = np.concatenate([encoder.products([title]) for title in TITLES])
    np.testing.assert_allclose(encoder.products(TITLES), singles, atol=2e-5, rtol=1e-5)


def test_points_keep_the_order_of_their_texts(encoder):
    """Points come in the order of the texts, over several batches and whatever their lengths."""
    texts = [f"{'word ' * (number % 17)}{number}" for number in range(2 * ENCODER_BATCH_SIZE + 3)]
    forwards, backwards = encoder.products(texts), encoder.products(texts[::-1])
    np.testing.assert_allclose(forwards, backwards[::-1], atol=2e-5, rtol=1e-5)
    assert len(np.unique(forwards.round(4), axis=0)) == len(texts)


def test_encoding_is_deterministic(bundle, encoder):
    """The same texts give the same bits, in this session and in a new one."""
    other = Encoder(bundle)
    np.testing.assert_array_equal(encoder.products(TITLES), other.products(TITLES))
    for text in QUERIES:
        np.testing.assert_array_equal(encoder.query(text).centres, other.query(text).centres)


def test_threads_may_share_an_encoder(encoder):
    """Eight threads at once get what one gets alone."""
    texts = QUERIES * 8
    with ThreadPoolExecutor(8) as pool:
        queries = list(pool.map(encoder.query, texts))
        points = list(pool.map(encoder.products, [TITLES] * 16))
    alone = {text: encoder.query(text) for text in QUERIES}
    for text, found in zip(texts, queries, strict=True):
        for name in ("centres", "limits", "weights", "entities", "intersections"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone[text], name))
    for found in points:
        np.testing.assert_array_equal(found, encoder.products(TITLES))


def test_case_and_width_make_no_difference(encoder):
    """What is normalised away is not seen: the same words give the same bits."""
    np.testing.assert_array_equal(encoder.products(["FIRE  TV"]), encoder.products(["fire-tv"]))
    np.testing.assert_array_equal(encoder.query("ＦＩＲＥ tv!").limits, encoder.query("fire tv").limits)


def test_golden_numbers(encoder):
    """The shipped bundle computes what it did when it was made; after a new one: python tests/golden/refresh.py."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["model"] == encoder.bundle.model, "another bundle: run python tests/golden/refresh.py"
    points = encoder.products(golden["titles"])
    np.testing.assert_allclose(points[:, :4], golden["points"], atol=1e-4)
    for text, wanted in golden["queries"].items():
        query = encoder.query(text)
        assert query.size == pytest.approx(wanted["size"], abs=1e-4)
        np.testing.assert_allclose(query.weights, wanted["weights"], atol=1e-4)
        np.testing.assert_allclose(query_distance(query, points, encoder.bundle.gamma), wanted["distances"], atol=1e-4)
