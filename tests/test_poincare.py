"""The Poincaré ball has the distances of the Lorentz model, and its translations are the Lorentz boosts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.geometry.lorentz import boost, dist, expmap0
from anthem_core.geometry.poincare import ball_distance, from_ball, mobius_add, move_to_origin, to_ball

# Radii up to 3, as far as the encoders place points.
points = st.tuples(st.integers(0, 10**6), st.floats(0, 3), st.sampled_from([2, 3, 96])).map(
    lambda drawn: expmap0(drawn[1] * unit_vectors(*drawn[::2]))
)
TOLERANCE = 1e-9


def unit_vectors(seed, dimension, count=3):
    """Some directions."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@settings(max_examples=40)
@given(points)
def test_the_ball_keeps_distances(found):
    """The distance of two points is the same in both models, and so is the point after the way there and back."""
    a, b, _ = found
    assert ball_distance(to_ball(a), to_ball(b)) == pytest.approx(dist(a, b), abs=TOLERANCE)
    np.testing.assert_allclose(from_ball(to_ball(found)), found, atol=1e-8)
    assert (np.linalg.norm(to_ball(found), axis=-1) < 1).all()


@settings(max_examples=40)
@given(points)
def test_a_translation_is_the_boost_of_the_other_model(found):
    """Moving a centre to the origin and then to the ball is the same as to the ball and then to the origin."""
    centre, *others = found
    moved = move_to_origin(to_ball(centre), to_ball(np.array(others)))
    np.testing.assert_allclose(moved, to_ball(boost(centre, np.array(others))), atol=TOLERANCE)


@settings(max_examples=40)
@given(points)
def test_a_translation_keeps_distances_and_can_be_undone(found):
    """The centre goes to the origin, distances stay, and the opposite translation brings every point back."""
    centre, a, b = to_ball(found)
    moved_a, moved_b = (move_to_origin(centre, point) for point in (a, b))
    np.testing.assert_allclose(move_to_origin(centre, centre), 0, atol=TOLERANCE)
    assert ball_distance(moved_a, moved_b) == pytest.approx(ball_distance(a, b), abs=1e-8)
    np.testing.assert_allclose(mobius_add(centre, moved_a), a, atol=1e-8)
