"""The Painless script on a real node computes containment and filters products as numpy does."""

from dataclasses import replace

import numpy as np
import pytest
from opensearchpy.exceptions import TransportError
from script_index import (
    SCORING,
    D,
    create_script_index,
    lifted,
    product,
    random_points,
    random_query,
    script_scores,
    script_values,
    store,
)

from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.geometry import lorentz
from anthem_core.opensearch.schema import SCRIPT_ID_PREFIX
from anthem_plugin.modes import Filter
from anthem_plugin.scoring import painless
from anthem_plugin.scoring.params import DECIMALS_IN_PARAMS, to_float64

DISTANCE_AND_EXCESS = """
byte[] x = hasModel(doc, params) ? storedVector(doc, params.vector, params.centres) : null;
if (x == null) return [];
return [regionDistance(x, params), regionExcess(x, params)];
"""


@pytest.fixture
def index(client, index):
    """Name of an index for products, on a node where the script is stored."""
    create_script_index(client, index)
    return index


def products(points):
    """Documents with the given points."""
    return [product(point) for point in points]


def distances_and_excesses(client, index, query):
    """`[distance, excess]` of every product from the functions of the script, in the order of ids."""
    params = painless.build_filter_script(query, SCORING)["params"]
    return np.array(script_values(client, index, DISTANCE_AND_EXCESS, params))


@pytest.mark.node
@pytest.mark.parametrize("hyperboloids", [1, 3, 8])
def test_distance_and_excess_equal_numpy(client, index, hyperboloids):
    """Painless and numpy agree on distance and excess to 1e-9, for products throughout the ball of radius 3."""
    rng = np.random.default_rng(hyperboloids)
    points = random_points(rng, 40)
    store(client, index, products(points))
    for _ in range(10):
        query = random_query(rng, hyperboloids)
        computed = distances_and_excesses(client, index, query)
        exact = to_float64(query)
        expected = exact.distance(lifted(points), SCORING.gamma)
        np.testing.assert_allclose(computed[:, 0], expected, atol=1e-9)
        np.testing.assert_allclose(computed[:, 1], exact.excess(lifted(points)), atol=1e-9)


@pytest.mark.node
def test_compound_regions_equal_numpy(client, index):
    """Painless and numpy agree to 1e-9 on distance and excess of regions combined by `|` and `&`, also nested."""
    rng = np.random.default_rng(21)
    points = random_points(rng, 40)
    store(client, index, products(points))
    for _ in range(3):
        a, b, c = (random_query(rng, hyperboloids) for hyperboloids in (1, 3, 2))
        for region in (a | b, a & b, (a | b) & c, a | (b & c), (a | b) & (b | c), a | b | c):
            computed, exact = distances_and_excesses(client, index, region), to_float64(region)
            expected = exact.distance(lifted(points), SCORING.gamma)
            np.testing.assert_allclose(computed[:, 0], expected, atol=1e-9)
            np.testing.assert_allclose(computed[:, 1], exact.excess(lifted(points)), atol=1e-9)


def test_only_compound_regions_have_extra_parameters():
    """Only compound regions have `counts` and `alternatives`; hyperboloids without weight do not count."""
    rng = np.random.default_rng(22)
    a, b = random_query(rng, 8), random_query(rng, 2, weights=[1.0, 0.0])
    assert not {"counts", "alternatives"} & painless.region_params(a, SCORING).keys()
    assert painless.region_params(a | b, SCORING)["counts"] == [8, 1]
    assert painless.region_params(a | b, SCORING)["alternatives"] == [[0], [1]]
    assert (painless.too_many_hyperboloids_reason(a), painless.too_many_hyperboloids_reason(b | b | b)) == (None, None)
    assert "9 hyperboloids" in painless.too_many_hyperboloids_reason(a | b)


@pytest.mark.node
def test_distance_equals_numpy_on_float32_queries(client, index):
    """With the float32 query of the encoder, numpy agrees to 1e-5."""
    rng = np.random.default_rng(5)
    points, query = random_points(rng, 40), random_query(rng, 3)
    store(client, index, products(points))
    computed = distances_and_excesses(client, index, query)
    np.testing.assert_allclose(computed[:, 0], query.distance(lifted(points), SCORING.gamma), atol=1e-5)


@pytest.mark.node
def test_distance_and_excess_at_and_near_the_centre(client, index):
    """At the centre the distance is 0 and the excess is minus the smallest limit; near it, no precision is lost."""
    query = random_query(np.random.default_rng(6), 1)
    point = lifted(query.centres)
    store(client, index, products(point))
    for offset in (0.0, 1e-7, 1e-6, 1e-3):
        centre = point.copy()
        centre[0, 1] += offset
        exact = to_float64(replace(query, centres=centre))
        ((distance, excess),) = distances_and_excesses(client, index, exact)
        assert distance == pytest.approx(exact.distance(point, SCORING.gamma)[0], rel=1e-7, abs=1e-13)
        if offset == 0:
            assert (distance, excess) == pytest.approx((0, -exact.limits.min()), abs=1e-12)


@pytest.mark.node
def test_products_exactly_on_the_limits(client, index):
    """A product on a limit or at the origin is contained, to the decimals that are sent; a product outside is not."""
    steps = np.random.default_rng(7).integers(1, 20, D)
    points = unpack_points(np.array([steps, -steps, steps + 1, steps - 1, steps * 0]), SCORING.vector_step)
    query = random_query(np.random.default_rng(7), 1, radius=0.0)
    query = replace(query, limits=np.abs(lorentz.logmap0(points[:1])))
    store(client, index, products(points))
    distance, excess = distances_and_excesses(client, index, query).T
    assert list(excess <= 10.0**-DECIMALS_IN_PARAMS) == [True, True, False, True, True]
    assert distance[-1] == 0
    np.testing.assert_allclose(excess, to_float64(query).excess(lifted(points)), atol=1e-12)


@pytest.mark.node
def test_hyperboloids_without_weight_are_ignored(client, index):
    """A hyperboloid with weight 0 changes neither distance nor excess."""
    rng = np.random.default_rng(8)
    points, query = random_points(rng, 20), random_query(rng, 3, weights=[0.5, 0.0, 0.5])
    store(client, index, products(points))
    computed = distances_and_excesses(client, index, query)
    np.testing.assert_allclose(computed[:, 1], to_float64(query).excess(lifted(points)), atol=1e-9)
    expected = query.distance(lifted(points), SCORING.gamma)
    np.testing.assert_allclose(computed[:, 0], expected, atol=1e-5)


@pytest.mark.node
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_filter_equals_numpy(client, index, share):
    """With `slack` the script returns 1 inside and 0 outside, also for compound regions, as numpy does."""
    rng = np.random.default_rng(23)
    points = random_points(rng, 60)
    store(client, index, products(points))
    a, b = random_query(rng, 3), random_query(rng, 5)
    for region in (a, a | b, a & b):
        excess = to_float64(region).excess(lifted(points))
        slack = float(np.quantile(excess, share))
        if np.abs(excess - slack).min() < 1e-9:
            slack += 1e-8
        scores = script_scores(client, index, painless.build_filter_script(region, SCORING, Filter(slack)))
        np.testing.assert_array_equal(scores, to_float64(region).contains(lifted(points), slack))


@pytest.mark.node
@pytest.mark.parametrize("unknown", [True, False])
def test_unknown_decides_about_products_without_a_vector(client, index, unknown):
    """`unknown` decides whether a product without a vector of this model passes, whatever the slack."""
    (point,) = random_points(np.random.default_rng(24), 3)[2:]
    trigrams_alone = product(title=b"\x01\x00\xff")
    store(client, index, [{"title": "fire tv"}, product(point, model="another"), trigrams_alone])
    script = painless.build_filter_script(
        random_query(np.random.default_rng(25), 2), SCORING, Filter(99, unknown=unknown)
    )
    assert list(script_scores(client, index, script)) == [unknown] * 3


@pytest.mark.node
def test_a_filter_without_hyperboloids_knows_no_vector(client, index):
    """Where nothing fills in the hyperboloids, as when an encoder of a search pipeline fails, no product is known."""
    script = painless.build_filter_script(random_query(np.random.default_rng(26), 2), SCORING, Filter(unknown=True))
    script["params"] |= {"centres": [], "limits": [], "weights": []}
    store(client, index, products(random_points(np.random.default_rng(27), 3)))
    assert list(script_scores(client, index, script)) == [1, 1, 1]


@pytest.mark.node
def test_a_missing_script_is_refused(client, index):
    """An unknown script id is an error; the id contains the hash of the source."""
    script = painless.build_score_script(random_query(np.random.default_rng(12), 1), SCORING) | {
        "id": f"{SCRIPT_ID_PREFIX}0"
    }
    store(client, index, [{"title": "fire"}])
    with pytest.raises(TransportError, match="unable to find script"):
        script_scores(client, index, script)


def test_the_id_follows_the_source(monkeypatch):
    """A different source has a different id, so two versions never overwrite each other."""
    before = painless.script_id()
    monkeypatch.setattr(painless, "SCORE_SOURCE", painless.SCORE_SOURCE + "\n")
    assert painless.script_id() != before
    assert painless.script_id().startswith(SCRIPT_ID_PREFIX)
    assert painless.build_put_script_body()["script"]["source"] == painless.script_source()
