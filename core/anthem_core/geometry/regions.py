"""Regions of hyperbolic space that products are searched in: one encoded query, or several joined by `|` and `&`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_core.geometry import containment

if TYPE_CHECKING:
    from collections.abc import Callable

    from anthem_core.geometry.lorentz import Array

BoolArray: TypeAlias = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Region(ABC):
    """What a search looks for: one encoded query, or regions joined by `|` (in either) and `&` (in both), nested.

    `Encoder.encode_query` returns None for a text without letters or digits. None is not a region: joining it raises
    TypeError.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def size(self) -> float:
        """How general the region is: the weighted mean of a query's limits, the larger for `|`, the smaller for `&`."""

    @abstractmethod
    def distance(self, points: Array, gamma: float) -> Array:
        """Distance of products, which ranks them: the smaller for `|`, the larger for `&`; `(N, D+1)` to `(N,)`."""

    @abstractmethod
    def excess(self, points: Array) -> Array:
        """How far outside products lie, ≤ 0 inside: the smaller for `|`, the larger for `&`; `(N, D+1)` to `(N,)`."""

    @abstractmethod
    def queries(self) -> tuple[EncodedQuery, ...]:
        """The encoded queries that make up the region, from left to right."""

    @abstractmethod
    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """The region in disjunctive normal form: its distance is the minimum over alternatives of the maximum within.

        An alternative is a tuple of indices into `queries()`, counted from `first`. Joining n regions `a | b` by `&`
        gives 2ⁿ alternatives.
        """

    @abstractmethod
    def map_queries(self, function: Callable[[EncodedQuery], EncodedQuery]) -> Region:
        """The same region with the function applied to every query."""

    def contains(self, points: Array, slack: float = 0.0) -> BoolArray:
        """Whether each product lies in the region, `excess ≤ slack`; `(N, D+1)` to `(N,)`."""
        inside: BoolArray = self.excess(points) <= slack
        return inside

    def __or__(self, other: Region | None) -> Region:
        """Region of everything in either of the two.

        Raises:
            TypeError: The other operand is not a region, such as the None of a query without letters or digits.
        """
        return Either((self, _require_region(other)))

    def __and__(self, other: Region | None) -> Region:
        """Region of everything in both.

        Raises:
            TypeError: The other operand is not a region, such as the None of a query without letters or digits.
        """
        return Both((self, _require_region(other)))

    # Python calls these only when the left operand is not a region, so they always raise.
    __ror__ = __or__
    __rand__ = __and__


@dataclass(frozen=True, slots=True)
class EncodedQuery(Region):
    """A query as K hyperboloids: `centres (K, D+1)`, `limits (K, D)` ≥ 0, `weights (K,)` ≥ 0 that sum to 1.

    `entities (T,)` and `intersections (T, T)` are the attention weights of the query's T trigrams, used only to explain
    a result.
    """

    centres: Array
    limits: Array
    weights: Array
    entities: Array
    intersections: Array

    @property
    def size(self) -> float:
        """Weighted mean of the limits, `Σ_k w_k·mean_i(l_ki)`; it grows with the generality of the query."""
        return float(np.sum(self.weights * self.limits.mean(axis=-1)))

    def distance(self, points: Array, gamma: float) -> Array:
        """Distance of products, `d = −log Σ_k w_k·exp(−d_k)`; `(N, D+1)` to `(N,)`."""
        return containment.query_distance(self.centres, self.limits, self.weights, points, gamma)

    def excess(self, points: Array) -> Array:
        """How far the worst coordinate exceeds its limit, `min_k max_i (|z_i| − l_i)`; `(N, D+1)` to `(N,)`."""
        return containment.excess(self.centres, self.limits, self.weights, points)

    def queries(self) -> tuple[EncodedQuery, ...]:
        """The query itself."""
        return (self,)

    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """One alternative, the query itself."""
        return ((first,),)

    def map_queries(self, function: Callable[[EncodedQuery], EncodedQuery]) -> EncodedQuery:
        """The function's result for this query."""
        return function(self)


@dataclass(frozen=True, slots=True)
class _CompoundRegion(Region):
    """One or more regions that are joined."""

    parts: tuple[Region, ...]

    def queries(self) -> tuple[EncodedQuery, ...]:
        """The queries of all parts, from left to right."""
        return tuple(query for part in self.parts for query in part.queries())

    def map_queries(self, function: Callable[[EncodedQuery], EncodedQuery]) -> Region:
        """The same join of the changed parts."""
        return type(self)(tuple(part.map_queries(function) for part in self.parts))

    def _part_alternatives(self, first: int) -> list[tuple[tuple[int, ...], ...]]:
        alternatives = []
        for part in self.parts:
            alternatives.append(part.alternatives(first))
            first += len(part.queries())
        return alternatives


@dataclass(frozen=True, slots=True)
class Either(_CompoundRegion):
    """Union: a product is contained if at least one part contains it; distance and excess are the minimum."""

    @property
    def size(self) -> float:
        """Size of the largest part; the union is no smaller than that."""
        return max(part.size for part in self.parts)

    def distance(self, points: Array, gamma: float) -> Array:
        """Distance to the nearest part; `(N, D+1)` to `(N,)`."""
        nearest: Array = np.min([part.distance(points, gamma) for part in self.parts], axis=0)
        return nearest

    def excess(self, points: Array) -> Array:
        """The smallest excess of any part; `(N, D+1)` to `(N,)`."""
        smallest: Array = np.min([part.excess(points) for part in self.parts], axis=0)
        return smallest

    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """The alternatives of all parts, one after the other."""
        return tuple(alternative for part in self._part_alternatives(first) for alternative in part)


@dataclass(frozen=True, slots=True)
class Both(_CompoundRegion):
    """Intersection: a product is contained if every part contains it; distance and excess are the maximum."""

    @property
    def size(self) -> float:
        """Size of the smallest part; the intersection is no larger than that."""
        return min(part.size for part in self.parts)

    def distance(self, points: Array, gamma: float) -> Array:
        """Distance to the furthest part; `(N, D+1)` to `(N,)`."""
        furthest: Array = np.max([part.distance(points, gamma) for part in self.parts], axis=0)
        return furthest

    def excess(self, points: Array) -> Array:
        """The largest excess of any part; `(N, D+1)` to `(N,)`."""
        largest: Array = np.max([part.excess(points) for part in self.parts], axis=0)
        return largest

    def alternatives(self, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """One alternative of each part, concatenated, in every combination."""
        return tuple(sum(combination, ()) for combination in product(*self._part_alternatives(first)))


def _require_region(value: object) -> Region:
    if isinstance(value, Region):
        return value
    if value is None:
        raise TypeError(
            "Cannot join a region with None, which the encoder returns for a query without letters or digits. "
            "Leave that query out, or search without reranking."
        )
    raise TypeError(f"Cannot join a region with {type(value).__name__}; expected another region.")
