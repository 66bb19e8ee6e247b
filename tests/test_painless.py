"""The Painless script on a real node computes what numpy computes."""

import numpy as np
import pytest
from opensearchpy.exceptions import TransportError

from anthem_core.fusion import FusionWeights, fuse
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import SCRIPT_ID_PREFIX, VectorFields
from anthem_plugin.modes import Filter
from anthem_plugin.scoring import painless
from anthem_plugin.scoring.params import ScoringParams, to_float64

D = 16
FUSION = FusionWeights(bias=-0.5, lexical=3.0, containment=0.8, half_saturation=5.0, median_distance=2.5)
SCORING = ScoringParams(model_id="0123456789abcdef", dimension=D, gamma=0.3, slack=0.01, fusion=FUSION)
DISTANCE_AND_EXCESS = """
float[] x = storedVector(doc, params);
if (x == null) return [];
return [regionDistance(x, params), regionExcess(x, params)];
"""


def random_query(rng, hyperboloids, radius=3.0, weights=None):
    """A query in the form that an encoder returns: float32, centres within the radius."""
    tangent = rng.normal(size=(hyperboloids, D))
    tangent *= radius * rng.random((hyperboloids, 1)) / np.linalg.norm(tangent, axis=-1, keepdims=True)
    limits = rng.random((hyperboloids, D)) * (rng.random((hyperboloids, D)) > 0.2)
    normalised = rng.dirichlet(np.ones(hyperboloids)) if weights is None else np.array(weights)
    empty = np.zeros(0, np.float32)
    return EncodedQuery(
        *(part.astype(np.float32) for part in (lorentz.expmap0(tangent), limits, normalised)), empty, empty
    )


def random_points(rng, count, radius=3.0):
    """Points throughout the ball of the radius, including its boundary."""
    tangent = rng.normal(size=(count, D))
    lengths = np.concatenate([[0.0, radius], radius * rng.random(count - 2)])
    tangent *= lengths[:, None] / np.linalg.norm(tangent, axis=-1, keepdims=True)
    return lorentz.expmap0(tangent).astype(np.float32)


@pytest.fixture
def index(client, index):
    """Name of an index with vectors of dimension D, on a node where the script is stored."""
    title = {"properties": {"title": {"type": "text"}}}
    client.indices.create(index=index, body={"settings": {"number_of_shards": 1}, "mappings": title})
    client.indices.put_mapping(index=index, body=VectorFields().mapping(D))
    client.put_script(id=painless.script_id(), body=painless.build_put_script_body(), context=painless.SCRIPT_CONTEXT)
    return index


def store(client, index, documents):
    """Index documents with their positions as ids and refresh."""
    for number, document in enumerate(documents):
        client.index(index=index, id=str(number), body=document)
    client.indices.refresh(index=index)


def products(points, model=SCORING.model_id):
    """Documents with the given points and the same title."""
    return [{"title": "fire tv"} | VectorFields().document(point, model, "fire tv") for point in points]


def distances_and_excesses(client, index, query, scoring=SCORING):
    """`[distance, excess]` of every product from the functions of the script, in the order of ids; None without vector.

    A `script_fields` script returns them exactly; a score would be rounded to float32.
    """
    source = painless.CONTAINMENT_SOURCE + DISTANCE_AND_EXCESS
    script = {"lang": "painless", "source": source, "params": painless.script_params(query, scoring)}
    body = {"size": 1000, "script_fields": {"values": {"script": script}}, "query": {"match_all": {}}}
    hits = client.search(index=index, body=body)["hits"]["hits"]
    by_id = {int(hit["_id"]): hit.get("fields", {}).get("values") for hit in hits}
    return [by_id[number] for number in range(len(by_id))]


def script_scores(client, index, script, query=None):
    """Score of every product from a score script, in the order of ids."""
    body = {"size": 1000, "query": {"script_score": {"query": query or {"match_all": {}}, "script": script}}}
    response = client.search(index=index, body=body)
    assert response["_shards"]["failed"] == 0
    by_id = {int(hit["_id"]): hit["_score"] for hit in response["hits"]["hits"]}
    return np.array([by_id[number] for number in range(len(by_id))])


def lifted(points):
    """Points as the script reads them from the index, time recomputed."""
    return lorentz.lift(points[:, 1:].astype(np.float64))


@pytest.mark.node
@pytest.mark.parametrize("hyperboloids", [1, 3, 8])
def test_distance_and_excess_equal_numpy(client, index, hyperboloids):
    """Painless and numpy agree on distance and excess to 1e-9, for products throughout the ball of radius 3."""
    rng = np.random.default_rng(hyperboloids)
    points = random_points(rng, 40)
    store(client, index, products(points))
    for _ in range(10):
        query = random_query(rng, hyperboloids)
        computed = np.array(distances_and_excesses(client, index, query))
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
            computed, exact = np.array(distances_and_excesses(client, index, region)), to_float64(region)
            expected = exact.distance(lifted(points), SCORING.gamma)
            np.testing.assert_allclose(computed[:, 0], expected, atol=1e-9)
            np.testing.assert_allclose(computed[:, 1], exact.excess(lifted(points)), atol=1e-9)


def test_only_compound_regions_have_extra_parameters():
    """Only compound regions have `counts` and `alternatives`; hyperboloids without weight do not count."""
    rng = np.random.default_rng(22)
    a, b = random_query(rng, 8), random_query(rng, 2, weights=[1.0, 0.0])
    assert not {"counts", "alternatives"} & painless.script_params(a, SCORING).keys()
    assert painless.script_params(a | b, SCORING)["counts"] == [8, 1]
    assert painless.script_params(a | b, SCORING)["alternatives"] == [[0], [1]]
    assert (painless.too_many_hyperboloids_reason(a), painless.too_many_hyperboloids_reason(b | b | b)) == (None, None)
    assert "9 hyperboloids" in painless.too_many_hyperboloids_reason(a | b)


@pytest.mark.node
def test_distance_equals_numpy_on_float32_queries(client, index):
    """With the float32 query of the encoder, numpy agrees to 1e-5."""
    rng = np.random.default_rng(5)
    points, query = random_points(rng, 40), random_query(rng, 3)
    store(client, index, products(points))
    computed = np.array(distances_and_excesses(client, index, query))
    np.testing.assert_allclose(computed[:, 0], query.distance(lifted(points), SCORING.gamma), atol=1e-5)


@pytest.mark.node
def test_distance_and_excess_at_and_near_the_centre(client, index):
    """At the centre the distance is 0 and the excess is minus the smallest limit; near it, no precision is lost."""
    query = random_query(np.random.default_rng(6), 1)
    centre = query.centres[0]
    near = np.array([centre, centre, centre, centre])
    for row, step in enumerate([0.0, 1e-7, 1e-6, 1e-3]):
        near[row, 1] += np.float32(step)
    store(client, index, products(near))
    computed = np.array(distances_and_excesses(client, index, query))
    exact = to_float64(query)
    assert computed[0, 0] == pytest.approx(0, abs=1e-12)
    assert computed[0, 1] == pytest.approx(-exact.limits.min(), abs=1e-12)
    expected = exact.distance(lifted(near), SCORING.gamma)
    np.testing.assert_allclose(computed[:, 0], expected, rtol=1e-7, atol=1e-13)


@pytest.mark.node
def test_products_exactly_on_the_limits(client, index):
    """A product on a limit or at the origin is contained, a product outside is not; both implementations agree."""
    query = random_query(np.random.default_rng(7), 1, radius=0.0)
    limits = query.limits[0].astype(np.float64)
    tangents = np.array([limits, -limits, limits + 1e-4, limits * 0.999, limits * 0])
    points = lorentz.expmap0(tangents).astype(np.float32)
    store(client, index, products(points))
    distance, excess = np.array(distances_and_excesses(client, index, query)).T
    assert list(excess <= 1e-6) == [True, True, False, True, True]
    assert distance[-1] == 0
    np.testing.assert_allclose(excess, to_float64(query).excess(lifted(points)), atol=1e-12)


@pytest.mark.node
def test_hyperboloids_without_weight_are_ignored(client, index):
    """A hyperboloid with weight 0 changes neither distance nor excess."""
    rng = np.random.default_rng(8)
    points, query = random_points(rng, 20), random_query(rng, 3, weights=[0.5, 0.0, 0.5])
    store(client, index, products(points))
    computed = np.array(distances_and_excesses(client, index, query))
    np.testing.assert_allclose(computed[:, 1], to_float64(query).excess(lifted(points)), atol=1e-9)
    expected = query.distance(lifted(points), SCORING.gamma)
    np.testing.assert_allclose(computed[:, 0], expected, atol=1e-5)


@pytest.mark.node
def test_score_is_one_plus_fused(client, index):
    """The score is `1 + fuse(lexical, distance)` in float32, with BM25 as the lexical score."""
    rng = np.random.default_rng(9)
    points, query = random_points(rng, 40), random_query(rng, 3)
    store(client, index, products(points))
    match = {"match": {"title": "fire"}}
    lexical = np.array([hit["_score"] for hit in client.search(index=index, body={"query": match})["hits"]["hits"]])[0]
    distance = to_float64(query).distance(lifted(points), SCORING.gamma)
    expected = 1 + fuse(np.full(len(points), lexical), distance, FUSION)
    scores = script_scores(client, index, painless.build_score_script(query, SCORING), match)
    np.testing.assert_allclose(scores, expected, atol=2e-7)


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
    foreign = {"title": "fire tv"} | VectorFields().document(point, "another", "fire tv")
    store(client, index, [{"title": "fire tv"}, foreign])
    script = painless.build_filter_script(
        random_query(np.random.default_rng(25), 2), SCORING, Filter(99, unknown=unknown)
    )
    assert list(script_scores(client, index, script)) == [unknown, unknown]


@pytest.mark.node
def test_products_without_a_usable_vector_get_the_median_distance(client, index):
    """Missing vector, model or field, another model or dimension: the median distance, and no product is lost."""
    rng = np.random.default_rng(10)
    (point,), query = random_points(rng, 2)[1:], random_query(rng, 3)
    other = f"{index}-other"
    foreign = {"properties": {"anthem": {"properties": {"vector": {"type": "float"}, "model": {"type": "keyword"}}}}}
    client.indices.create(index=f"{other}-bare", body={"mappings": {"properties": {"title": {"type": "text"}}}})
    client.indices.create(index=f"{other}-small", body={"mappings": VectorFields().mapping(3)})
    client.indices.create(index=f"{other}-float", body={"mappings": foreign})
    del foreign["properties"]["anthem"]["properties"]["vector"]
    client.indices.create(index=f"{other}-empty", body={"mappings": {"dynamic": False} | foreign})
    anonymous = VectorFields().mapping(D)
    del anonymous["properties"]["anthem"]["properties"]["model"]
    client.indices.create(index=f"{other}-anonymous", body={"mappings": {"dynamic": False} | anonymous})
    good = VectorFields().document(point, SCORING.model_id, "x")
    model = {"model": SCORING.model_id}
    unusable = [
        (index, {"title": "fire tv"}),
        (index, {"anthem": {"vector": good["anthem"]["vector"]}}),
        (index, {"anthem": model}),
        (index, VectorFields().document(point, "fedcba9876543210", "x")),
        (f"{other}-bare", {"title": "fire tv"}),
        (f"{other}-small", {"anthem": {"vector": [1.0, 0.0, 0.0, 0.0]} | model}),
        (f"{other}-float", {"anthem": {"vector": 1.5} | model}),
        (f"{other}-empty", good),
        (f"{other}-anonymous", good),
    ]
    for number, (name, document) in enumerate(unusable):
        client.index(index=name, id=str(number), body=document)
    client.index(index=index, id=str(len(unusable)), body=good)
    client.indices.refresh(index=f"{index}*")
    scores = script_scores(client, f"{index}*", painless.build_score_script(query, SCORING))
    median = 1 + fuse(np.ones(1), np.array([np.nan]), FUSION)
    assert len(scores) == len(unusable) + 1
    np.testing.assert_allclose(scores[:-1], np.repeat(median, len(unusable)), atol=2e-7)
    assert abs(scores[-1] - median) > 1e-4


@pytest.mark.node
@pytest.mark.parametrize(
    "extreme",
    [
        {"bias": 1e308, "lexical": 1e308, "containment": 1e308},
        {"bias": -1e308, "lexical": -1e308, "containment": 1e308},
        {"bias": 1.7e308, "lexical": 1.7e308, "containment": 1.7e308},
        {"lexical": 0, "half_saturation": 0},
        {"half_saturation": -1},
        {"gamma": 1e308},
        {"median_distance": 1e308, "model": "none"},
        {"weights": [0.0, 0.0, 0.0]},
        {"weights": [1e-300, 1e-300, 1e-300]},
        {"limits": [[1e308] * D] * 3},
        {"limits": [[-1e308] * D] * 3},
        {"centres": [[1e308] * (D + 1)] * 3},
        {"centres": [[-1] + [0] * D] * 3},
        {"centres": [[1] + [0] * D] * 3, "limits": [[0] * D] * 3, "weights": [1, 0, 0], "gamma": 0},
    ],
)
def test_the_script_never_fails_and_stays_between_1_and_2(client, index, extreme):
    """Extreme parameters and integers in their place never fail; every score is within [1, 2]."""
    rng = np.random.default_rng(11)
    store(client, index, [*products(random_points(rng, 5)), *products(np.full((1, D + 1), 3e38, np.float32))])
    script = painless.build_score_script(random_query(rng, 3), SCORING)
    script["params"] |= extreme
    scores = script_scores(client, index, script)
    assert len(scores) == 6
    assert np.all((scores >= 1) & (scores <= 2))


@pytest.mark.node
def test_a_missing_script_is_refused(client, index):
    """An unknown script id is an error; the id contains the hash of the source."""
    script = painless.build_score_script(random_query(np.random.default_rng(12), 1), SCORING) | {
        "id": "anthem-containment-0"
    }
    store(client, index, [{"title": "fire"}])
    with pytest.raises(TransportError, match="unable to find script"):
        script_scores(client, index, script)


def test_the_id_follows_the_source(monkeypatch):
    """A different source has a different id, so two versions never overwrite each other."""
    before = painless.script_id()
    monkeypatch.setattr(painless, "_SCORE_SOURCE", painless._SCORE_SOURCE + "\n")
    assert painless.script_id() != before
    assert painless.script_id().startswith(SCRIPT_ID_PREFIX)
    assert painless.build_put_script_body()["script"]["source"] == painless.script_source()
