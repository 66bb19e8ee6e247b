"""Places queries and products in the Poincaré disk by multidimensional scaling, with each product on its true side.

The first query is at the origin, and every other point has its wanted distance from it exactly; only its angle is
free. The angles are chosen so that the other distances come as close to the wanted ones as they can in two dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.geometry.poincare import ball_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.lorentz import Array

ANGLES = 180  # that are tried for each point
MAX_SWEEPS, MIN_SWEEPS = 40, 4
SWEPT_PAIRS = 100_000  # of points, after which no further sweep begins
SMALLEST_DISTANCE = 0.05  # a smaller one counts as this, or the points that are nearly equal decide everything
SIDE_WEIGHT = 30.0  # of a product on the wrong side of a region, against the error of one distance
SIDE_GAP = 1.04  # of its reach, that a product stays away from the edge of a region


@dataclass(frozen=True, slots=True)
class WantedPlaces:
    """What a map should show.

    Attributes:
        distances: Wanted distances between all points, queries first, `(Q + N, Q + N)`.
        reaches: Radius of each region, `(Q,)`; a point belongs inside if its wanted distance is at most this.
    """

    distances: Array
    reaches: Array

    def place(self) -> Array:
        """Places in the disk, `(Q + N, 2)`; the same for the same wishes."""
        radii, angles = self.distances[0], self._choose_angles()
        places: Array = np.tanh(radii / 2)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        return places

    def wrong_sides(self, places: Array) -> int:
        """Number of pairs of a region and a product whose place is on the wrong side of the region's edge."""
        count = len(self.reaches)
        shown = ball_distance(places[:count, None], places[None, count:])
        sides = [distances <= self.reaches[:, None] for distances in (shown, self.distances[:count, count:])]
        return int((sides[0] != sides[1])[1:].sum())  # those of the first region are exact

    def _choose_angles(self) -> Array:
        """Angles of least cost, one point at a time until none moves any more.

        First the queries are placed, then the products from the furthest to the nearest, each at the best angle for
        those that are there already.
        """
        radii = self.distances[0]
        queries = len(self.reaches)
        order = [*range(1, queries), *(queries + np.argsort(-radii[queries:], kind="stable")).tolist()]
        angles = np.zeros(len(radii))
        for number, point in enumerate(order):
            angles[point] = self._best_angle(point, order[:number], angles)
        sweeps = min(MAX_SWEEPS, max(MIN_SWEEPS, SWEPT_PAIRS // len(radii) ** 2))
        for _ in range(sweeps):
            before = angles.copy()
            for point in order:
                angles[point] = self._best_angle(point, [other for other in order if other != point], angles)
            if np.array_equal(before, angles):
                break
        return _turn(angles)

    def _best_angle(self, point: int, others: Sequence[int], angles: Array) -> float:
        if not others:
            return 0.0
        rest, radii = np.array(others), self.distances[0]
        candidates = np.arange(ANGLES) * (2 * np.pi / ANGLES)
        cosines = np.cos(candidates[:, None] - angles[rest][None])
        far, near = np.cosh(radii), np.sinh(radii)
        shown = np.arccosh(np.maximum(far[point] * far[rest] - near[point] * near[rest] * cosines, 1))
        wanted = self.distances[point, rest]
        costs = (((shown - wanted) / np.maximum(wanted, SMALLEST_DISTANCE)) ** 2).sum(-1)
        # The edges that count are those of the regions for a product, and that of its own region for a query.
        bounded = (rest < len(self.reaches)) != (point < len(self.reaches))
        reaches = self.reaches[np.minimum(rest, point)[bounded]]
        costs += _side_costs(shown[:, bounded], wanted[bounded], reaches).sum(-1)
        return float(candidates[np.argmin(np.round(costs, 9))])


def _side_costs(shown: Array, wanted: Array, reaches: Array) -> Array:
    """Costs of products beyond the edge of a region that they should be inside, or the other way round."""
    beyond = np.where(wanted <= reaches, shown * SIDE_GAP - reaches, reaches * SIDE_GAP - shown)
    costs: Array = SIDE_WEIGHT * np.where(beyond > 0, beyond / reaches + 0.1, 0.0)
    return costs


def measure_errors(places: Array, distances: Array) -> tuple[float, float]:
    """Mean and largest relative error `|shown − true| / true` of the distances of places; equal points are left out."""
    rows, columns = np.triu_indices(len(places), 1)
    true, shown = distances[rows, columns], ball_distance(places[rows], places[columns])
    errors = np.abs(shown - true)[true > 1e-6] / true[true > 1e-6]
    return (float(errors.mean()), float(errors.max())) if errors.size else (0.0, 0.0)


def _turn(angles: Array) -> Array:
    """The same angles turned so that the second point lies to the right, and the third above it."""
    if len(angles) < 2:
        return angles
    turned: Array = (angles - angles[1] + np.pi) % (2 * np.pi) - np.pi
    if len(angles) > 2 and turned[2] < 0:
        turned = -turned
    return turned
