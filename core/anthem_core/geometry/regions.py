"""TODO: one line on what this module does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_core.geometry.lorentz import Array, logmap

if TYPE_CHECKING:
    from collections.abc import Callable

from anthem_core.geometry.containment import hyperboloid_distance

BoolArray: TypeAlias = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Region(ABC):
    """What a search asks for: one query, or regions joined by `|` (in either) and `&` (in both), nested at will.

    `None`, which `Encoder.query` returns for a text without letters or digits, is no region: joining it is a TypeError.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def size(self) -> float:
        """Size: of a query the weighted mean of its limits, of `a | b` the larger, of `a & b` the smaller size."""

    @abstractmethod
    def distance(self, points: Array, gamma: float) -> Array:
        """Distance of products, which orders: of `a | b` the smaller, of `a & b` the larger; `(N, D+1)` to `(N,)`."""

    @abstractmethod
    def excess(self, points: Array) -> Array:
        """How far out products lie, ≤ 0 within: of `a | b` the smaller, of `a & b` the larger; `(N, D+1)` to `(N,)`."""

    @abstractmethod
    def leaves(self) -> tuple[EncodedQuery, ...]:
        """The queries it is made of, from left to right."""

    @abstractmethod
    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """The same region as an either of boths, `distance = min over alternatives of max over their leaves`.

        Leaves are numbered as `leaves` gives them, from `first` on. An `&` of n regions `a | b` has 2ⁿ alternatives.
        """

    @abstractmethod
    def each(self, change: Callable[[EncodedQuery], EncodedQuery]) -> Region:
        """The region with every query changed alike."""

    def contained(self, points: Array, slack: float = 0.0) -> BoolArray:
        """Whether each product lies in the region, `excess ≤ slack`; `(N, D+1)` to `(N,)`."""
        inside: BoolArray = self.excess(points) <= slack
        return inside

    def __or__(self, other: Region | None) -> Region:
        """Either of the two.

        Raises:
            TypeError: The other is no region, such as the None of a query without letters or digits.
        """
        return Either((self, _require_region(other)))

    def __and__(self, other: Region | None) -> Region:
        """Both of the two.

        Raises:
            TypeError: The other is no region, such as the None of a query without letters or digits.
        """
        return Both((self, _require_region(other)))

    # These are asked only when the left side is no region.
    __ror__ = __or__
    __rand__ = __and__


@dataclass(frozen=True, slots=True)
class EncodedQuery(Region):
    """A query as hyperboloids: `centres (K, D+1)`, `limits (K, D)` ≥ 0, `weights (K,)` ≥ 0 that sum to 1.

    `entities (T,)` and `intersections (T, T)` are the attention that made them, for explanation alone.
    """

    centres: Array
    limits: Array
    weights: Array
    entities: Array
    intersections: Array

    @property
    def size(self) -> float:
        """Size of the query, the weighted mean of its limits; it grows with generality."""
        return float(np.sum(self.weights * self.limits.mean(axis=-1)))

    def distance(self, points: Array, gamma: float) -> Array:
        """Distance of products, `d = −log Σ w_k exp(−d_k)`; `(N, D+1)` to `(N,)`."""
        seen = logmap(self.centres[None, :, :], points[:, None, :])
        each = hyperboloid_distance(seen, self.limits[None, :, :], gamma)
        nearest = each.min(axis=-1, keepdims=True)
        total: Array = nearest[:, 0] - np.log(np.exp(nearest - each) @ self.weights)
        return total

    def excess(self, points: Array) -> Array:
        """How far the worst coordinate lies beyond its limit, `min_k max_i (|z_i| − l_i)`; `(N, D+1)` to `(N,)`."""
        seen = logmap(self.centres[None, :, :], points[:, None, :])
        worst = np.max(np.abs(seen) - self.limits[None, :, :], axis=-1)
        least: Array = np.min(np.where(self.weights > 0, worst, np.inf), axis=-1)
        return least

    def leaves(self) -> tuple[EncodedQuery, ...]:
        """Itself."""
        return (self,)

    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """Itself alone."""
        return ((first,),)

    def each(self, change: Callable[[EncodedQuery], EncodedQuery]) -> EncodedQuery:
        """The query changed."""
        return change(self)


@dataclass(frozen=True, slots=True)
class _CompoundRegion(Region):
    """Regions joined, one or more."""

    parts: tuple[Region, ...]

    def leaves(self) -> tuple[EncodedQuery, ...]:
        """The queries of all parts, from left to right."""
        return tuple(leaf for part in self.parts for leaf in part.leaves())

    def each(self, change: Callable[[EncodedQuery], EncodedQuery]) -> Region:
        """The same join of the changed parts."""
        return type(self)(tuple(part.each(change) for part in self.parts))

    def _numbered(self, first: int) -> list[tuple[tuple[int, ...], ...]]:
        found = []
        for part in self.parts:
            found.append(part.alternatives(first))
            first += len(part.leaves())
        return found


@dataclass(frozen=True, slots=True)
class Either(_CompoundRegion):
    """Contained in one part or more; distance and excess are the least."""

    @property
    def size(self) -> float:
        """Size of the largest part; what the parts cover together is no smaller."""
        return max(part.size for part in self.parts)

    def distance(self, points: Array, gamma: float) -> Array:
        """Distance to the nearest part; `(N, D+1)` to `(N,)`."""
        least: Array = np.min([part.distance(points, gamma) for part in self.parts], axis=0)
        return least

    def excess(self, points: Array) -> Array:
        """Excess over the part that it is smallest for; `(N, D+1)` to `(N,)`."""
        least: Array = np.min([part.excess(points) for part in self.parts], axis=0)
        return least

    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """Every alternative of every part."""
        return tuple(choice for part in self._numbered(first) for choice in part)


@dataclass(frozen=True, slots=True)
class Both(_CompoundRegion):
    """Contained in every part; distance and excess are the greatest."""

    @property
    def size(self) -> float:
        """Size of the smallest part; what the parts share is no larger."""
        return min(part.size for part in self.parts)

    def distance(self, points: Array, gamma: float) -> Array:
        """Distance to the furthest part; `(N, D+1)` to `(N,)`."""
        most: Array = np.max([part.distance(points, gamma) for part in self.parts], axis=0)
        return most

    def excess(self, points: Array) -> Array:
        """Excess over the part that it is largest for; `(N, D+1)` to `(N,)`."""
        most: Array = np.max([part.excess(points) for part in self.parts], axis=0)
        return most

    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """One alternative of each part at a time, joined, in every combination."""
        return tuple(sum(choice, ()) for choice in product(*self._numbered(first)))


def query_distance(query: Region, points: Array, gamma: float) -> Array:
    """Distance of products to a query, `d = −log Σ w_k exp(−d_k)`, or to a join of queries; `(N, D+1)` to `(N,)`."""
    return query.distance(points, gamma)


def excess(query: Region, points: Array) -> Array:
    """How far the worst coordinate lies beyond its limit, `min_k max_i (|z_i| − l_i)`; `(N, D+1)` to `(N,)`.

    Negative inside. Hyperboloids without weight are left out. A product is contained when `excess ≤ slack`.
    """
    return query.excess(points)


def contained(query: Region, points: Array, slack: float = 0.0) -> BoolArray:
    """Whether each product lies in a hyperboloid of the query, every `|z_i| ≤ l_i + slack`; `(N, D+1)` to `(N,)`."""
    return query.contained(points, slack)


def _require_region(value: object) -> Region:
    if isinstance(value, Region):
        return value
    found = "None, a query without letters or digits," if value is None else f"{type(value).__name__}"
    raise TypeError(
        f"found {found} where a region was wanted; leave it out, or leave the whole search to OpenSearch alone"
    )
