"""Points as an index stores them: a byte a coordinate, in steps of a power of two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anthem_core.encoding.stored_vectors import MAX_STEPS, choose_step, pack_points, read_vector, unpack_points
from anthem_core.geometry.lorentz import is_on_hyperboloid, lift

D = 4
steps = st.integers(-12, 4).map(lambda power: 2.0**power)
coordinates = arrays(np.float64, (3, D), elements=st.floats(-5, 5))


@given(arrays(np.int8, (3, D), elements=st.integers(-MAX_STEPS, MAX_STEPS)), steps)
def test_stored_vectors_are_packed_as_they_were(vectors, step):
    """Every vector of whole steps is that of its own point, which is on the hyperboloid."""
    points = unpack_points(vectors, step)
    assert is_on_hyperboloid(points)
    assert np.array_equal(points[:, 1:] / step, vectors)
    assert np.array_equal(pack_points(points, step), vectors)


@given(coordinates, steps)
def test_a_coordinate_moves_by_half_a_step_at_most(space, step):
    """A stored coordinate is the nearest whole step; those beyond 127 steps are cut off there."""
    stored = unpack_points(pack_points(lift(space), step), step)[:, 1:]
    fits = np.abs(space) <= MAX_STEPS * step
    assert (np.abs(stored - space)[fits] <= step / 2).all()
    assert np.array_equal(stored[~fits], np.sign(space[~fits]) * MAX_STEPS * step)


@given(coordinates)
def test_the_step_is_the_smallest_that_leaves_room(space):
    """With the chosen power of two 1.25 times the largest coordinate fits in 127 steps, with half of it it does not."""
    step, largest = choose_step(lift(space)), max(np.abs(space).max(), 1e-3)
    assert np.log2(step) == np.round(np.log2(step))
    assert 1.25 * largest <= MAX_STEPS * step * (1 + 1e-12)
    assert 1.25 * largest > MAX_STEPS * step / 2


@given(st.lists(st.integers(-128, 127), min_size=D, max_size=D), st.data())
def test_vectors_are_read_from_a_source(vector, data):
    """Whole numbers are read, also those that were written as floats."""
    written = [data.draw(st.sampled_from([number, float(number)])) for number in vector]
    assert read_vector(written, D).tolist() == vector


@pytest.mark.parametrize("bad", [128, -129, 0.5, float("inf"), float("nan"), 10**400, "1", None, [1]])
def test_anything_else_is_no_vector(bad):
    """Another length, or a number that is not whole or not in a byte, is no vector."""
    for stored in ([0, 0, 0, bad], [1.0, bad, 0, 0], bad, [0] * (D - 1), [0] * (D + 1), {}, "0 0 0 0"):
        assert read_vector(stored, D) is None


def test_the_shipped_step_fits_its_products(encoder):
    """In the bundle that ships, coordinates of ordinary titles use between a quarter and all of a byte."""
    largest = np.abs(encoder.encode_vectors(["cordless drill", "fire tv stick 4k", "red ceramic teapot"])).max()
    assert MAX_STEPS / 4 < largest < MAX_STEPS
