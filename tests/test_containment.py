"""Laws of containment in a query's hyperboloids, golden values worked out by hand, and the torch twin."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.geometry import lorentz
from anthem_core.geometry.containment import hyperboloid_distance
from anthem_core.geometry.regions import EncodedQuery, contained, excess, query_distance

D = 3
GAMMA = 0.2

tangent = st.lists(st.floats(-1.5, 1.5, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
limit = st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
point_sets = st.lists(tangent, min_size=1, max_size=5).map(lambda many: lorentz.expmap0(np.stack(many)))


def query(centres, limits, weights):
    """A query of hyperboloids whose centres are given as tangent vectors."""
    return EncodedQuery(
        lorentz.expmap0(np.array(centres, float)),
        np.array(limits, float),
        np.array(weights, float),
        np.empty(0),
        np.empty(0),
    )


@st.composite
def queries(draw, most=3):
    """Queries of one to three hyperboloids with positive weights."""
    count = draw(st.integers(1, most))
    weights = np.array(draw(st.lists(st.floats(0.05, 1), min_size=count, max_size=count)))
    many = draw(st.lists(st.tuples(tangent, limit), min_size=count, max_size=count))
    return query([centre for centre, _ in many], [one for _, one in many], weights / weights.sum())


def grown(asked, by):
    """The query with every limit larger."""
    return replace(asked, limits=asked.limits + by)


def test_golden_distance_on_a_line():
    """Limit 0.5, product 0.8 away: outside 0.3, inside 0.5, so d = 0.3 + 0.2 * 0.5 = 0.4, and the excess is 0.3."""
    asked = query([[0.25]], [[0.5]], [1.0])
    product = lorentz.expmap0(np.array([[1.05]]))
    np.testing.assert_allclose(query_distance(asked, product, GAMMA), [0.4], rtol=1e-12)
    np.testing.assert_allclose(excess(asked, product), [0.3], rtol=1e-12)


def test_golden_distance_in_a_plane():
    """Seen at (3, -1), limits (0, 5): d = 3 + 0.2 * 1; seen at (-0.3, 0.4), limits (1, 1): d = 0.2 * 0.5."""
    seen = np.array([[3.0, -1.0], [-0.3, 0.4]])
    limits = np.array([[0.0, 5.0], [1.0, 1.0]])
    np.testing.assert_allclose(hyperboloid_distance(seen, limits, GAMMA), [3.2, 0.1], rtol=1e-12)


def test_golden_distance_to_two_hyperboloids():
    """Distances 0.4 and 0.1 with weights 1/4 and 3/4 unite to -log(e^-0.4 / 4 + 3 e^-0.1 / 4)."""
    asked = query([[0.0], [0.3]], [[0.5], [0.6]], [0.25, 0.75])
    product = lorentz.expmap0(np.array([[0.8]]))
    wanted = -np.log(0.25 * np.exp(-0.4) + 0.75 * np.exp(-0.1))
    np.testing.assert_allclose(query_distance(asked, product, GAMMA), [wanted], rtol=1e-12)


def test_golden_size():
    """Size is the weighted mean of the limits: (1 + 3)/2 / 4 + 3 (0 + 1)/2 / 4 = 0.875."""
    assert query([[0, 0], [0, 0]], [[1, 3], [0, 1]], [0.25, 0.75]).size == pytest.approx(0.875)


@given(queries(most=1), point_sets, st.floats(0, 0.5))
def test_contained_means_every_coordinate_within(asked, products, slack):
    """A product is contained when every |z_i| <= l_i + slack, and only then."""
    seen = lorentz.logmap(asked.centres, products)
    wanted = (np.abs(seen) - asked.limits <= slack).all(axis=-1)
    np.testing.assert_array_equal(contained(asked, products, slack), wanted)


@given(queries())
def test_centres_are_contained(asked):
    """A hyperboloid contains its own centre, be its limits zero."""
    assert contained(asked, asked.centres, slack=1e-9).all()


@given(queries(), point_sets, st.floats(0, 1), st.floats(0, 1))
def test_growing_never_takes_a_product_out(asked, products, by, slack):
    """Larger limits, or a larger slack, keep whatever was contained."""
    before = contained(asked, products)
    assert not (before & ~contained(grown(asked, by), products)).any()
    assert not (before & ~contained(asked, products, slack)).any()


@given(tangent, limit, st.floats(0, 1))
def test_growing_never_moves_a_product_further_out(seen, limits, by):
    """Larger limits never increase the part outside, which is the distance at gamma 0."""
    assert hyperboloid_distance(seen, limits + by, 0.0) <= hyperboloid_distance(seen, limits, 0.0)


@given(queries(most=1), point_sets, st.integers(2, 5))
def test_equal_hyperboloids_equal_one(asked, products, count):
    """K times the same hyperboloid is that hyperboloid, in distance and in excess."""
    many = replace(
        asked,
        centres=np.repeat(asked.centres, count, axis=0),
        limits=np.repeat(asked.limits, count, axis=0),
        weights=np.full(count, 1 / count),
    )
    np.testing.assert_allclose(
        query_distance(many, products, GAMMA), query_distance(asked, products, GAMMA), atol=1e-12
    )
    np.testing.assert_array_equal(excess(many, products), excess(asked, products))


@given(queries(), tangent, point_sets)
def test_a_hyperboloid_without_weight_does_nothing(asked, centre, products):
    """Weight zero takes a hyperboloid out of distance, excess and containment, however large it is."""
    more = replace(
        asked,
        centres=np.vstack([asked.centres, lorentz.expmap0(centre)[None]]),
        limits=np.vstack([asked.limits, np.full((1, D), 100.0)]),
        weights=np.append(asked.weights, 0.0),
    )
    np.testing.assert_allclose(
        query_distance(more, products, GAMMA), query_distance(asked, products, GAMMA), atol=1e-12
    )
    np.testing.assert_array_equal(excess(more, products), excess(asked, products))


@given(queries(most=1), point_sets)
def test_inside_means_nothing_outside(asked, products):
    """The excess is at most 0 exactly where no part of the product lies outside."""
    seen = lorentz.logmap(asked.centres, products)
    np.testing.assert_array_equal(excess(asked, products) <= 0, hyperboloid_distance(seen, asked.limits, 0.0) == 0)


@given(queries(), point_sets)
def test_distance_lies_between_those_of_the_hyperboloids(asked, products):
    """The query's distance is no less than the nearest hyperboloid's and no more than the furthest's."""
    seen = lorentz.logmap(asked.centres[None], products[:, None])
    each = hyperboloid_distance(seen, asked.limits[None], GAMMA)
    found = query_distance(asked, products, GAMMA)
    assert (each.min(axis=-1) - 1e-12 <= found).all()
    assert (found <= each.max(axis=-1) + 1e-12).all()


@given(queries(), point_sets)
def test_distance_is_finite_far_away(asked, products):
    """Hundreds of units away the exponentials do not vanish: the nearest is taken out of the sum first."""
    far = replace(asked, limits=asked.limits * 0)
    found = query_distance(far, products, 1e4)
    assert np.isfinite(found).all()


@pytest.mark.train
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(asked=queries(), products=point_sets)
def test_torch_equals_numpy(dtype, asked, products):
    """Distance and excess are the same in torch, in the dtype of what comes in."""
    import torch

    from anthem_model.geometry import containment as twin

    asked = replace(asked, **{name: getattr(asked, name).astype(dtype) for name in ("centres", "limits", "weights")})
    products = products.astype(dtype)
    values = [torch.tensor(value)[None] for value in (asked.centres, asked.limits, asked.weights)]
    far = twin.query_distance(*values, torch.tensor(products), GAMMA)[0].numpy()
    beyond = twin.excess(*values, torch.tensor(products))[0].numpy()
    wanted = query_distance(asked, products, GAMMA)
    assert far.dtype == beyond.dtype == wanted.dtype == excess(asked, products).dtype == dtype
    # The torch root is cut at 1e-12 beneath, so that it has a gradient: 1e-6 of a length.
    tolerance = 1e-4 if dtype == np.float32 else 3e-6
    np.testing.assert_allclose(far, wanted, atol=tolerance, rtol=0)
    np.testing.assert_allclose(beyond, excess(asked, products), atol=tolerance, rtol=0)


@pytest.mark.train
@given(queries(), point_sets)
def test_torch_leaves_out_what_has_no_weight(asked, products):
    """Torch's excess, like numpy's, does not see a hyperboloid of weight zero that contains everything."""
    import torch

    from anthem_model.geometry.containment import excess as twin

    centres = torch.tensor(np.vstack([asked.centres, asked.centres[:1]]))[None]
    limits = torch.tensor(np.vstack([asked.limits, np.full((1, D), 100.0)]))[None]
    weights = torch.tensor(np.append(asked.weights, 0.0))[None]
    found = twin(centres, limits, weights, torch.tensor(products))[0].numpy()
    np.testing.assert_allclose(found, excess(asked, products), atol=3e-6, rtol=0)
