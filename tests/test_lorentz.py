"""The Lorentz model in float64 and float32, against independent oracles: explicit matrices, geoopt and torch."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anthem_core.geometry import lorentz

D = 4
RADIUS = 3.0
# Absolute error allowed within the radius.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}

numbers = st.floats(-1, 1, width=32, allow_subnormal=False)
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@st.composite
def tangents(draw, radius=RADIUS):
    """Tangent vectors at the origin no longer than a radius, in float64, including tiny ones and zero."""
    direction = np.array(draw(st.lists(numbers, min_size=D, max_size=D)))
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 1e-3, 1e-8]))
    return radius * scale * direction / max(1.0, np.linalg.norm(direction))


def points(dtype=np.float64):
    """Points within the radius; float32 ones are rounded from float64."""
    return tangents().map(lambda v: lorentz.expmap0(v).astype(dtype))


def boost_matrix(centre):
    """Matrix of the Lorentz transformation that moves a centre to the origin, `(D+1, D+1)`."""
    time, space = centre[0], centre[1:]
    matrix = np.empty((len(centre), len(centre)))
    matrix[0, 0] = time
    matrix[0, 1:] = matrix[1:, 0] = -space
    matrix[1:, 1:] = np.eye(len(space)) + np.outer(space, space) / (1 + time)
    return matrix


@both_dtypes
@given(v=tangents())
def test_logmap0_inverts_expmap0(dtype, v):
    """Logmap0 of expmap0 of v is v, in the dtype of v."""
    v = v.astype(dtype)
    back = lorentz.logmap0(lorentz.expmap0(v))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, v, atol=TOLERANCE[dtype], rtol=0)


@both_dtypes
@given(data=st.data())
def test_expmap0_inverts_logmap0(dtype, data):
    """Expmap0 of logmap0 of a point is the point, relative to its time."""
    x = data.draw(points(dtype))
    back = lorentz.expmap0(lorentz.logmap0(x))
    assert back.dtype == dtype
    np.testing.assert_allclose(back / x[0], x / x[0], atol=TOLERANCE[dtype], rtol=0)


@both_dtypes
@given(v=tangents())
def test_points_are_on_the_hyperboloid(dtype, v):
    """Expmap0 gives <x,x> = -1 and x0 >= 1."""
    x = lorentz.expmap0(v.astype(dtype))
    assert x.dtype == dtype
    assert abs(lorentz.inner(x, x) + 1) <= 100 * np.finfo(dtype).eps * x[0] ** 2
    assert x[0] >= 1
    assert lorentz.is_on_hyperboloid(x)


@pytest.mark.parametrize("x", [[1.0, 1.0], [-np.sqrt(2), 1.0], [np.nan, 0.0], [np.inf, np.inf]])
def test_other_vectors_are_not_on_the_hyperboloid(x):
    """A light-like vector, a point of the lower sheet, NaN and infinity are not on the hyperboloid."""
    with np.errstate(invalid="ignore"):
        assert not lorentz.is_on_hyperboloid(np.array([[1.0, 0.0], x]))


@given(points(), points())
def test_boost_equals_the_explicit_matrix(c, x):
    """The boost is the linear map given by the explicit matrix."""
    np.testing.assert_allclose(lorentz.boost(c, x), boost_matrix(c) @ x, atol=1e-12 * c[0] * x[0], rtol=0)


@both_dtypes
@given(data=st.data())
def test_boost_moves_the_centre_to_the_origin(dtype, data):
    """A centre boosted by itself is the origin."""
    c = data.draw(points(dtype))
    moved = lorentz.boost(c, c)
    assert moved.dtype == dtype
    np.testing.assert_allclose(moved, np.eye(1, D + 1)[0], atol=10 * TOLERANCE[dtype], rtol=0)


@given(points(), points(), points())
def test_boost_preserves_inner_products(c, x, y):
    """<Bx, By> = <x, y>."""
    moved = lorentz.inner(lorentz.boost(c, x), lorentz.boost(c, y))
    np.testing.assert_allclose(moved, lorentz.inner(x, y), rtol=0, atol=1e-12 * c[0] ** 2 * x[0] * y[0])


@given(points(), points())
def test_length_of_logmap_is_the_distance(c, x):
    """|logmap(c, x)| is the geodesic distance between c and x."""
    np.testing.assert_allclose(np.linalg.norm(lorentz.logmap(c, x)), lorentz.dist(c, x), atol=1e-9, rtol=0)


@given(points())
def test_logmap_at_the_origin_is_logmap0(x):
    """Relative to the origin, a point is at its tangent vector."""
    np.testing.assert_allclose(lorentz.logmap(np.eye(1, D + 1)[0], x), lorentz.logmap0(x), atol=1e-12, rtol=0)


@both_dtypes
@given(data=st.data())
def test_distance_to_itself_is_zero(dtype, data):
    """dist(x, x) is exactly 0, no distance is negative, and distance is symmetric."""
    x, y = data.draw(points(dtype)), data.draw(points(dtype))
    assert lorentz.dist(x, x) == 0
    assert lorentz.dist(x, y) >= 0
    assert lorentz.dist(x, y) == lorentz.dist(y, x)
    assert lorentz.dist(x, y).dtype == dtype


@both_dtypes
@given(data=st.data())
def test_triangle_inequality(dtype, data):
    """d(a, c) <= d(a, b) + d(b, c)."""
    a, b, c = (data.draw(points(dtype)) for _ in range(3))
    detour = lorentz.dist(a, b) + lorentz.dist(b, c)
    assert lorentz.dist(a, c) <= detour + (1e-6 if dtype == np.float64 else 5e-3)


@pytest.mark.parametrize("radius", [1e-8, 1e-4, 0.5, 3.0])
def test_distance_of_points_on_a_line(radius):
    """Points at 1 and 1 + r on a line through the origin are at distance r, even for tiny r."""
    direction = np.array([0.6, 0.0, -0.8, 0.0])
    near, far = lorentz.expmap0(direction), lorentz.expmap0((1 + radius) * direction)
    np.testing.assert_allclose(lorentz.dist(near, far), radius, rtol=1e-6)


@given(tangents(), tangents())
def test_float32_error_within_the_radius(c, x):
    """Within radius 3, tangent coordinates in float32 differ by less than 2e-5 from those in float64."""
    exact = lorentz.logmap(lorentz.expmap0(c), lorentz.expmap0(x))
    rounded = lorentz.logmap(lorentz.expmap0(c).astype(np.float32), lorentz.expmap0(x).astype(np.float32))
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=2e-5, rtol=0)


def test_golden_values_in_one_dimension():
    """On the line a point is (cosh u, sinh u), and its coordinate relative to a centre at c is u - c."""
    c, x = lorentz.expmap0(np.array([0.5])), lorentz.expmap0(np.array([-0.75]))
    np.testing.assert_allclose(x, [np.cosh(0.75), -np.sinh(0.75)], rtol=1e-15)
    np.testing.assert_allclose(lorentz.inner(c, x), -np.cosh(1.25), rtol=1e-15)
    np.testing.assert_allclose(lorentz.logmap(c, x), [-1.25], rtol=1e-14)
    np.testing.assert_allclose(lorentz.dist(c, x), 1.25, rtol=1e-14)


@given(st.lists(points(), min_size=2, max_size=4), points())
def test_batches_equal_single_points(points_of_batch, c):
    """Leading axes broadcast: a batch gives the same as its points one by one."""
    batch = np.stack(points_of_batch)
    for function in (lorentz.logmap, lorentz.dist, lorentz.inner, lorentz.boost):
        one_by_one = np.stack([function(c, x) for x in points_of_batch])
        np.testing.assert_allclose(function(c[None], batch), one_by_one, atol=1e-12, rtol=1e-12)


@pytest.mark.train
@given(points(), points())
def test_distance_equals_geoopt(a, b):
    """The distance equals geoopt's, except near zero, where geoopt's is inexact."""
    import geoopt
    import torch

    ours = lorentz.dist(a, b)
    assume(ours > 0.1)
    theirs = geoopt.Lorentz().dist(torch.tensor(a), torch.tensor(b))
    assert theirs.dtype == torch.float64
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-9, rtol=0)


@pytest.mark.train
@both_dtypes
@given(data=st.data())
def test_numpy_equals_torch(dtype, data):
    """Every function gives the same result in numpy and in torch, in the same dtype."""
    import torch

    from anthem_model.geometry import lorentz as twin

    v, c, x = data.draw(tangents()).astype(dtype), data.draw(points(dtype)), data.draw(points(dtype))
    size = c[0] * x[0] * np.cosh(np.linalg.norm(v))
    tolerance = (1e-6 if dtype == np.float32 else 1e-12) * size
    pairs = [
        *((getattr(lorentz, name)(v), getattr(twin, name)(torch.tensor(v))) for name in ("lift", "expmap0")),
        (lorentz.logmap0(x), twin.logmap0(torch.tensor(x))),
        *(
            (getattr(lorentz, name)(c, x), getattr(twin, name)(torch.tensor(c), torch.tensor(x)))
            for name in ("inner", "boost", "logmap")
        ),
    ]
    for ours, theirs in pairs:
        assert ours.dtype == theirs.numpy().dtype == dtype
        np.testing.assert_allclose(ours, theirs.numpy(), atol=tolerance, rtol=0)


@pytest.mark.train
@given(st.lists(points(), min_size=1, max_size=4), st.lists(points(), min_size=1, max_size=4))
def test_pairwise_logmap_equals_logmap(centres, products):
    """Torch's matrix form gives `logmap` of every centre and product."""
    import torch

    from anthem_model.geometry.lorentz import pairwise_logmap

    c, x = np.stack(centres), np.stack(products)
    coordinates = pairwise_logmap(torch.tensor(c)[None], torch.tensor(x))[0]
    assert coordinates.dtype == torch.float64
    expected = lorentz.logmap(c[None], x[:, None])
    np.testing.assert_allclose(coordinates.numpy(), expected, atol=1e-10, rtol=0)


@pytest.mark.train
@given(st.lists(points(), min_size=2, max_size=5))
def test_pairwise_inner_equals_inner(batch):
    """Torch's matrix of inner products holds the inner product of every pair."""
    import torch

    from anthem_model.geometry.lorentz import pairwise_inner

    x = np.stack(batch)
    np.testing.assert_allclose(
        pairwise_inner(torch.tensor(x)).numpy(), lorentz.inner(x[:, None], x[None]), atol=1e-10, rtol=0
    )


@pytest.mark.train
@given(v=tangents(radius=30))
def test_bounded_stays_within_the_radius(v):
    """A bounded vector is no longer than the radius or the original, and keeps its direction."""
    import torch

    from anthem_model.geometry.lorentz import bounded

    short = bounded(torch.tensor(v), RADIUS).numpy()
    assert np.linalg.norm(short) <= min(RADIUS, np.linalg.norm(v)) * (1 + 1e-12) + 1e-12
    np.testing.assert_allclose(short * np.linalg.norm(v), v * np.linalg.norm(short), atol=1e-9)


@pytest.mark.train
@given(points(), points())
def test_midpoint_is_equidistant(a, b):
    """The centroid of two points of equal weight is on the hyperboloid, at half their distance from each."""
    import torch

    from anthem_model.geometry.lorentz import midpoint

    middle = midpoint(torch.tensor(a + b)).numpy()
    assert lorentz.is_on_hyperboloid(middle, 1e-9)
    half = lorentz.dist(a, b) / 2
    np.testing.assert_allclose([lorentz.dist(a, middle), lorentz.dist(middle, b)], half, atol=1e-6)
