"""Containment in a query's hyperboloids: golden values computed by hand, properties, and the torch twin."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.geometry import containment, lorentz
from anthem_core.geometry.containment import hyperboloid_distance
from anthem_core.geometry.regions import EncodedQuery

D = 3
GAMMA = 0.2

tangent = st.lists(st.floats(-1.5, 1.5, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
limit = st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
point_sets = st.lists(tangent, min_size=1, max_size=5).map(lambda tangents: lorentz.expmap0(np.stack(tangents)))


def encoded(centres, limits, weights):
    """A query of hyperboloids whose centres are given as tangent vectors."""
    return EncodedQuery(
        lorentz.expmap0(np.array(centres, float)),
        np.array(limits, float),
        np.array(weights, float),
        np.empty(0),
        np.empty(0),
    )


@st.composite
def queries(draw, max_hyperboloids=3):
    """Queries of one to three hyperboloids with positive weights."""
    count = draw(st.integers(1, max_hyperboloids))
    weights = np.array(draw(st.lists(st.floats(0.05, 1), min_size=count, max_size=count)))
    hyperboloids = draw(st.lists(st.tuples(tangent, limit), min_size=count, max_size=count))
    return encoded(
        [centre for centre, _ in hyperboloids], [limits for _, limits in hyperboloids], weights / weights.sum()
    )


def grown(query, growth):
    """The query with every limit larger."""
    return replace(query, limits=query.limits + growth)


def test_golden_distance_on_a_line():
    """Limit 0.5, product 0.8 away: outside 0.3, inside 0.5, so d = 0.3 + 0.2 * 0.5 = 0.4, and the excess is 0.3."""
    query = encoded([[0.25]], [[0.5]], [1.0])
    product = lorentz.expmap0(np.array([[1.05]]))
    np.testing.assert_allclose(query.distance(product, GAMMA), [0.4], rtol=1e-12)
    np.testing.assert_allclose(query.excess(product), [0.3], rtol=1e-12)


def test_golden_distance_in_a_plane():
    """At z = (3, -1), limits (0, 5): d = 3 + 0.2 * 1; at z = (-0.3, 0.4), limits (1, 1): d = 0.2 * 0.5."""
    z = np.array([[3.0, -1.0], [-0.3, 0.4]])
    limits = np.array([[0.0, 5.0], [1.0, 1.0]])
    np.testing.assert_allclose(hyperboloid_distance(z, limits, GAMMA), [3.2, 0.1], rtol=1e-12)


def test_golden_distance_to_two_hyperboloids():
    """Distances 0.4 and 0.1 with weights 1/4 and 3/4 combine to -log(e^-0.4 / 4 + 3 e^-0.1 / 4)."""
    query = encoded([[0.0], [0.3]], [[0.5], [0.6]], [0.25, 0.75])
    product = lorentz.expmap0(np.array([[0.8]]))
    expected = -np.log(0.25 * np.exp(-0.4) + 0.75 * np.exp(-0.1))
    np.testing.assert_allclose(query.distance(product, GAMMA), [expected], rtol=1e-12)


def test_golden_size():
    """Size is the weighted mean of the limits: (1 + 3)/2 / 4 + 3 (0 + 1)/2 / 4 = 0.875."""
    assert encoded([[0, 0], [0, 0]], [[1, 3], [0, 1]], [0.25, 0.75]).size == pytest.approx(0.875)


@given(queries(), point_sets)
def test_a_query_uses_the_formulas_of_its_arrays(query, products):
    """Distance and excess of an encoded query are the containment formulas, applied to its arrays."""
    arrays = (query.centres, query.limits, query.weights, products)
    np.testing.assert_array_equal(query.distance(products, GAMMA), containment.query_distance(*arrays, GAMMA))
    np.testing.assert_array_equal(query.excess(products), containment.excess(*arrays))


@given(queries(max_hyperboloids=1), point_sets, st.floats(0, 0.5))
def test_contained_means_every_coordinate_within(query, products, slack):
    """A product is contained if and only if every |z_i| <= l_i + slack."""
    z = lorentz.logmap(query.centres, products)
    expected = (np.abs(z) - query.limits <= slack).all(axis=-1)
    np.testing.assert_array_equal(query.contains(products, slack), expected)


@given(queries())
def test_centres_are_contained(query):
    """A hyperboloid contains its own centre, even with limits of zero."""
    assert query.contains(query.centres, slack=1e-9).all()


@given(queries(), point_sets, st.floats(0, 1), st.floats(0, 1))
def test_growing_never_excludes_a_product(query, products, growth, slack):
    """With larger limits or a larger slack, everything that was contained still is."""
    before = query.contains(products)
    assert not (before & ~grown(query, growth).contains(products)).any()
    assert not (before & ~query.contains(products, slack)).any()


@given(tangent, limit, st.floats(0, 1))
def test_growing_never_increases_the_part_outside(z, limits, growth):
    """Larger limits never increase the part outside, which is the distance at gamma 0."""
    assert hyperboloid_distance(z, limits + growth, 0.0) <= hyperboloid_distance(z, limits, 0.0)


@given(queries(max_hyperboloids=1), point_sets, st.integers(2, 5))
def test_equal_hyperboloids_equal_one(query, products, count):
    """K copies of a hyperboloid have the distance and the excess of that hyperboloid."""
    copies = replace(
        query,
        centres=np.repeat(query.centres, count, axis=0),
        limits=np.repeat(query.limits, count, axis=0),
        weights=np.full(count, 1 / count),
    )
    np.testing.assert_allclose(copies.distance(products, GAMMA), query.distance(products, GAMMA), atol=1e-12)
    np.testing.assert_array_equal(copies.excess(products), query.excess(products))


@given(queries(), tangent, point_sets)
def test_a_hyperboloid_of_weight_zero_has_no_effect(query, centre, products):
    """Weight zero removes a hyperboloid from distance, excess and containment, however large it is."""
    extended = replace(
        query,
        centres=np.vstack([query.centres, lorentz.expmap0(centre)[None]]),
        limits=np.vstack([query.limits, np.full((1, D), 100.0)]),
        weights=np.append(query.weights, 0.0),
    )
    np.testing.assert_allclose(extended.distance(products, GAMMA), query.distance(products, GAMMA), atol=1e-12)
    np.testing.assert_array_equal(extended.excess(products), query.excess(products))


@given(queries(max_hyperboloids=1), point_sets)
def test_inside_means_nothing_outside(query, products):
    """The excess is at most 0 exactly where no part of the product lies outside."""
    z = lorentz.logmap(query.centres, products)
    np.testing.assert_array_equal(query.excess(products) <= 0, hyperboloid_distance(z, query.limits, 0.0) == 0)


@given(queries(), point_sets)
def test_distance_lies_between_those_of_the_hyperboloids(query, products):
    """A query's distance lies between those of its nearest and its furthest hyperboloid."""
    z = lorentz.logmap(query.centres[None], products[:, None])
    distances = hyperboloid_distance(z, query.limits[None], GAMMA)
    combined = query.distance(products, GAMMA)
    assert (distances.min(axis=-1) - 1e-12 <= combined).all()
    assert (combined <= distances.max(axis=-1) + 1e-12).all()


@given(queries(), point_sets)
def test_distance_is_finite_far_away(query, products):
    """Even hundreds of units away the sum of exponentials does not underflow to 0."""
    without_limits = replace(query, limits=query.limits * 0)
    assert np.isfinite(without_limits.distance(products, 1e4)).all()


@pytest.mark.train
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(query=queries(), products=point_sets)
def test_torch_equals_numpy(dtype, query, products):
    """Distance and excess are the same in torch, in the dtype of the input."""
    import torch

    from anthem_model.geometry import containment as twin

    query = replace(query, **{name: getattr(query, name).astype(dtype) for name in ("centres", "limits", "weights")})
    products = products.astype(dtype)
    tensors = [torch.tensor(value)[None] for value in (query.centres, query.limits, query.weights)]
    torch_distance = twin.query_distance(*tensors, torch.tensor(products), GAMMA)[0].numpy()
    torch_excess = twin.excess(*tensors, torch.tensor(products))[0].numpy()
    distance, excess = query.distance(products, GAMMA), query.excess(products)
    assert torch_distance.dtype == torch_excess.dtype == distance.dtype == excess.dtype == dtype
    # Torch takes roots of max(r², 1e-12), to have a gradient: 1e-6 of a length.
    tolerance = 1e-4 if dtype == np.float32 else 3e-6
    np.testing.assert_allclose(torch_distance, distance, atol=tolerance, rtol=0)
    np.testing.assert_allclose(torch_excess, excess, atol=tolerance, rtol=0)


@pytest.mark.train
@given(queries(), point_sets)
def test_torch_ignores_hyperboloids_of_weight_zero(query, products):
    """In torch as in numpy, a hyperboloid of weight zero does not change the excess, even if it contains everything."""
    import torch

    from anthem_model.geometry.containment import excess as torch_excess

    centres = torch.tensor(np.vstack([query.centres, query.centres[:1]]))[None]
    limits = torch.tensor(np.vstack([query.limits, np.full((1, D), 100.0)]))[None]
    weights = torch.tensor(np.append(query.weights, 0.0))[None]
    extended = torch_excess(centres, limits, weights, torch.tensor(products))[0].numpy()
    np.testing.assert_allclose(extended, query.excess(products), atol=3e-6, rtol=0)
