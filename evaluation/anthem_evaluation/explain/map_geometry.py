"""Plane geometry of the map's picture: intersections of outlines, and places for numbers that do not overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.lorentz import Array

_DIRECTIONS = np.exp(1j * np.pi * (np.arange(16) / 8 + 0.25))
_LABEL_OFFSETS = (0.0, 0.7, 1.1, 1.6, 2.2, 3.0, 4.0)  # of a label's size, away from its point
_ROUND = np.exp(1j * np.pi * np.arange(8) / 4) / 2  # the edge of a label, in its size


def intersect_convex(corners: Array, others: Sequence[Array]) -> Array:
    """Corners `(M, 2)` of the intersection of convex outlines, each anticlockwise; none if they have no common part."""
    found = [complex(*corner) for corner in corners]
    for other in others:
        ends = [complex(*corner) for corner in other]
        for start, end in zip(ends, ends[1:] + ends[:1], strict=True):
            found = _cut(found, start, end)
    return np.array([[corner.real, corner.imag] for corner in found]).reshape(-1, 2)


def place_labels(points: Array, size: float, outlines: Sequence[Array]) -> Array:
    """Centres `(N, 2)` of labels of one size, each as near to its point as the labels before it allow.

    A label stays on the sides of the convex outlines on which its point is, if there is a free place.
    """
    centres: list[complex] = []
    for x, y in points:
        point = complex(x, y)
        candidates = [point + size * step * way for step in _LABEL_OFFSETS for way in _DIRECTIONS]
        free = [place for place in candidates if all(abs(place - other) >= size for other in centres)]
        clear = (place for place in free if _same_sides(point, place, size, outlines))
        centres.append(next(clear, free[0] if free else candidates[-1]))
    return np.array([[centre.real, centre.imag] for centre in centres]).reshape(-1, 2)


def place_name(outline: Array, taken: Array, box: Array, view: Array) -> Array:
    """The corner `(2,)` of an outline where a name is furthest from what is drawn, `(N, 2)`.

    `box (2,)` is half the size of the name. Corners where it would leave the `view (2, 2)`, which has the lower left
    and the upper right corner, are left out if others remain.
    """
    distances = (np.abs(outline[:, None] - taken[None]) / box).max(-1).min(-1)
    fits = ((outline - box >= view[0]) & (outline + box <= view[1])).all(-1)
    place: Array = outline[np.argmax(np.round(np.where(fits, distances, distances - 1e6), 6))]
    return place


def _same_sides(point: complex, place: complex, size: float, outlines: Sequence[Array]) -> bool:
    edge = [place + size * way for way in _ROUND]
    return all(len({_contains(outline, each) for each in (point, *edge)}) == 1 for outline in outlines)


def _contains(corners: Array, point: complex) -> bool:
    """Whether a convex outline contains a point."""
    ends = corners[:, 0] + 1j * corners[:, 1]
    return bool((((np.roll(ends, -1) - ends).conjugate() * (point - ends)).imag >= 0).all())


def _cut(corners: Sequence[complex], start: complex, end: complex) -> list[complex]:
    """The part of a polygon on the left of a line."""

    def side(corner: complex) -> float:
        return ((end - start).conjugate() * (corner - start)).imag

    kept: list[complex] = []
    for corner, following in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        here, there = side(corner), side(following)
        if here >= 0:
            kept.append(corner)
        if (here > 0 > there) or (here < 0 < there):
            kept.append(corner + (following - corner) * (here / (here - there)))
    return kept
