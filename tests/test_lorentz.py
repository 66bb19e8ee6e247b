"""Laws of the Lorentz model, in float64 and float32, against independent oracles: explicit matrices, geoopt, torch."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anthem_core.geometry import lorentz

D = 4
RADIUS = 3.0
# Absolute error allowed for what is computed within the radius.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}

numbers = st.floats(-1, 1, width=32, allow_subnormal=False)
both = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@st.composite
def tangents(draw, radius=RADIUS):
    """A tangent vector at the origin no longer than a radius, in float64; tiny and zero ones among them."""
    direction = np.array(draw(st.lists(numbers, min_size=D, max_size=D)))
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 1e-3, 1e-8]))
    return radius * scale * direction / max(1.0, np.linalg.norm(direction))


def points(dtype=np.float64):
    """Points within the radius; float32 ones are rounded from float64."""
    return tangents().map(lambda v: lorentz.expmap0(v).astype(dtype))


def boost_matrix(centre):
    """The Lorentz transformation that moves a centre to the origin, written out, `(D+1, D+1)`."""
    time, space = centre[0], centre[1:]
    matrix = np.empty((len(centre), len(centre)))
    matrix[0, 0] = time
    matrix[0, 1:] = matrix[1:, 0] = -space
    matrix[1:, 1:] = np.eye(len(space)) + np.outer(space, space) / (1 + time)
    return matrix


@both
@given(v=tangents())
def test_log0_undoes_exp0(dtype, v):
    """Log0 of exp0 of v is v, in the dtype of v."""
    v = v.astype(dtype)
    back = lorentz.logmap0(lorentz.expmap0(v))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, v, atol=TOLERANCE[dtype], rtol=0)


@both
@given(data=st.data())
def test_exp0_undoes_log0(dtype, data):
    """Exp0 of log0 of a point is the point, relative to its time."""
    x = data.draw(points(dtype))
    back = lorentz.expmap0(lorentz.logmap0(x))
    assert back.dtype == dtype
    np.testing.assert_allclose(back / x[0], x / x[0], atol=TOLERANCE[dtype], rtol=0)


@both
@given(v=tangents())
def test_points_lie_on_the_sheet(dtype, v):
    """Exp0 gives <x,x> = -1 and x0 >= 1."""
    x = lorentz.expmap0(v.astype(dtype))
    assert x.dtype == dtype
    assert abs(lorentz.inner(x, x) + 1) <= 100 * np.finfo(dtype).eps * x[0] ** 2
    assert x[0] >= 1
    assert lorentz.is_on_hyperboloid(x)


@pytest.mark.parametrize("x", [[1.0, 1.0], [-np.sqrt(2), 1.0], [np.nan, 0.0], [np.inf, np.inf]])
def test_on_sheet_refuses_what_is_off_it(x):
    """A light-like vector, the lower sheet, NaN and infinity lie on no sheet."""
    with np.errstate(invalid="ignore"):
        assert not lorentz.is_on_hyperboloid(np.array([[1.0, 0.0], x]))


@given(points(), points())
def test_boost_equals_the_explicit_matrix(c, x):
    """The boost is the linear map of the matrix written out."""
    np.testing.assert_allclose(lorentz.boost(c, x), boost_matrix(c) @ x, atol=1e-12 * c[0] * x[0], rtol=0)


@both
@given(data=st.data())
def test_boost_moves_the_centre_to_the_origin(dtype, data):
    """The centre seen from itself is the origin."""
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
def test_length_of_seen_is_the_distance(c, x):
    """|seen_from(c, x)| is the geodesic distance of c and x."""
    np.testing.assert_allclose(np.linalg.norm(lorentz.logmap(c, x)), lorentz.dist(c, x), atol=1e-9, rtol=0)


@given(points())
def test_seen_from_the_origin_is_log0(x):
    """The origin sees a point at its tangent vector."""
    np.testing.assert_allclose(lorentz.logmap(np.eye(1, D + 1)[0], x), lorentz.logmap0(x), atol=1e-12, rtol=0)


@both
@given(data=st.data())
def test_distance_to_itself_is_zero(dtype, data):
    """distance(x, x) is 0 exactly, no distance is negative, and it is symmetric."""
    x, y = data.draw(points(dtype)), data.draw(points(dtype))
    assert lorentz.dist(x, x) == 0
    assert lorentz.dist(x, y) >= 0
    assert lorentz.dist(x, y) == lorentz.dist(y, x)
    assert lorentz.dist(x, y).dtype == dtype


@both
@given(data=st.data())
def test_triangle_inequality(dtype, data):
    """d(a, c) <= d(a, b) + d(b, c)."""
    a, b, c = (data.draw(points(dtype)) for _ in range(3))
    way = lorentz.dist(a, b) + lorentz.dist(b, c)
    assert lorentz.dist(a, c) <= way + (1e-6 if dtype == np.float64 else 5e-3)


@pytest.mark.parametrize("radius", [1e-8, 1e-4, 0.5, 3.0])
def test_distance_of_points_on_a_line(radius):
    """Points at 1 and 1 + r on one line through the origin are r apart, however small r is."""
    direction = np.array([0.6, 0.0, -0.8, 0.0])
    near, far = lorentz.expmap0(direction), lorentz.expmap0((1 + radius) * direction)
    np.testing.assert_allclose(lorentz.dist(near, far), radius, rtol=1e-6)


@given(tangents(), tangents())
def test_float32_error_within_the_radius(c, x):
    """In float32 the tangent coordinates of points within radius 3 are off by less than 2e-5 of float64's."""
    exact = lorentz.logmap(lorentz.expmap0(c), lorentz.expmap0(x))
    rounded = lorentz.logmap(lorentz.expmap0(c).astype(np.float32), lorentz.expmap0(x).astype(np.float32))
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=2e-5, rtol=0)


def test_golden_values_in_one_dimension():
    """On the line a point is (cosh u, sinh u), and u - c is what a centre at c sees."""
    c, x = lorentz.expmap0(np.array([0.5])), lorentz.expmap0(np.array([-0.75]))
    np.testing.assert_allclose(x, [np.cosh(0.75), -np.sinh(0.75)], rtol=1e-15)
    np.testing.assert_allclose(lorentz.inner(c, x), -np.cosh(1.25), rtol=1e-15)
    np.testing.assert_allclose(lorentz.logmap(c, x), [-1.25], rtol=1e-14)
    np.testing.assert_allclose(lorentz.dist(c, x), 1.25, rtol=1e-14)


@given(st.lists(points(), min_size=2, max_size=4), points())
def test_batches_equal_single_points(many, c):
    """Leading axes broadcast: a batch gives what its points give one by one."""
    batch = np.stack(many)
    for function in (lorentz.logmap, lorentz.dist, lorentz.inner, lorentz.boost):
        one_by_one = np.stack([function(c, x) for x in many])
        np.testing.assert_allclose(function(c[None], batch), one_by_one, atol=1e-12, rtol=1e-12)


@pytest.mark.train
@given(points(), points())
def test_distance_equals_geoopts(a, b):
    """The distance is geoopt's, away from zero, where geoopt's is no distance."""
    import geoopt
    import torch

    ours = lorentz.dist(a, b)
    assume(ours > 0.1)
    theirs = geoopt.Lorentz().dist(torch.tensor(a), torch.tensor(b))
    assert theirs.dtype == torch.float64
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-9, rtol=0)


@pytest.mark.train
@both
@given(data=st.data())
def test_numpy_equals_torch(dtype, data):
    """Every function gives the same in numpy and in torch, in the same dtype."""
    import torch

    from anthem_model.geometry import lorentz as twin

    v, c, x = data.draw(tangents()).astype(dtype), data.draw(points(dtype)), data.draw(points(dtype))
    size = c[0] * x[0] * np.cosh(np.linalg.norm(v))
    tolerance = (1e-6 if dtype == np.float32 else 1e-12) * size
    pairs = [
        *((getattr(lorentz, name)(v), getattr(twin, name)(torch.tensor(v))) for name in ("lift", "exp0")),
        (lorentz.logmap0(x), twin.logmap0(torch.tensor(x))),
        *(
            (getattr(lorentz, name)(c, x), getattr(twin, name)(torch.tensor(c), torch.tensor(x)))
            for name in ("inner", "boost", "seen_from")
        ),
    ]
    for ours, theirs in pairs:
        assert ours.dtype == theirs.numpy().dtype == dtype
        np.testing.assert_allclose(ours, theirs.numpy(), atol=tolerance, rtol=0)


@pytest.mark.train
@given(st.lists(points(), min_size=1, max_size=4), st.lists(points(), min_size=1, max_size=4))
def test_seen_pairwise_equals_seen_from(centres, products):
    """Torch's matrix form sees every product from every centre as `seen_from` does."""
    import torch

    from anthem_model.geometry.lorentz import pairwise_logmap

    c, x = np.stack(centres), np.stack(products)
    found = pairwise_logmap(torch.tensor(c)[None], torch.tensor(x))[0]
    assert found.dtype == torch.float64
    wanted = lorentz.logmap(c[None], x[:, None])
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-10, rtol=0)


@pytest.mark.train
@given(st.lists(points(), min_size=2, max_size=5))
def test_pairwise_inner_equals_inner(many):
    """Torch's matrix of inner products holds the inner product of every pair."""
    import torch

    from anthem_model.geometry.lorentz import pairwise_inner

    x = np.stack(many)
    np.testing.assert_allclose(
        pairwise_inner(torch.tensor(x)).numpy(), lorentz.inner(x[:, None], x[None]), atol=1e-10, rtol=0
    )


@pytest.mark.train
@given(v=tangents(radius=30))
def test_bounded_stays_within_the_radius(v):
    """A bounded vector is no longer than the radius nor than it was, and keeps its direction."""
    import torch

    from anthem_model.geometry.lorentz import bounded

    short = bounded(torch.tensor(v), RADIUS).numpy()
    assert np.linalg.norm(short) <= min(RADIUS, np.linalg.norm(v)) * (1 + 1e-12) + 1e-12
    np.testing.assert_allclose(short * np.linalg.norm(v), v * np.linalg.norm(short), atol=1e-9)


@pytest.mark.train
@given(points(), points())
def test_midpoint_of_two_is_as_far_from_both(a, b):
    """The centroid of two points of the same weight lies on the sheet, half the distance from each."""
    import torch

    from anthem_model.geometry.lorentz import midpoint

    middle = midpoint(torch.tensor(a + b)).numpy()
    assert lorentz.is_on_hyperboloid(middle, 1e-9)
    half = lorentz.dist(a, b) / 2
    np.testing.assert_allclose([lorentz.dist(a, middle), lorentz.dist(middle, b)], half, atol=1e-6)
