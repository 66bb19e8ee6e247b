"""The four ways of reranking, and what a caller can set in two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ModeName: TypeAlias = Literal["cluster", "client", "filter", "retrieve", "none"]

FILTER_MATCH_LIMIT = 50_000
DEFAULT_NEIGHBOURS = 50
MAX_NEIGHBOURS = 1000
HNSW_OVERFETCH = 3  # times k: HNSW orders by the Euclidean distance of coordinates, which is not that of the space


@dataclass(frozen=True, slots=True)
class Filter:
    """How `filter` mode filters: by every `|z_i| ≤ l_i + slack`, the bundle's slack if none is given.

    A smaller slack, below 0 too, lets less pass. A product without a vector stays unless `unknown` is false. A search
    that finds more than `limit` products is left alone: each costs a run of the script.

    Raises:
        ValueError: The slack is no finite number, or the limit is below 1.
    """

    slack: float | None = None
    unknown: bool = True
    limit: int = FILTER_MATCH_LIMIT

    def __post_init__(self) -> None:
        if self.slack is not None and not isfinite(self.slack):
            raise ValueError(f"slack is {self.slack}; a finite number was wanted")
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit}; 1 or more was wanted")


@dataclass(frozen=True, slots=True)
class Retrieve:
    """How `retrieve` mode retrieves: the `k` products nearest to each centre of the query, on every shard.

    They pass `filter`, a query clause, where one is given; else all clauses of the caller's query but its words.

    Raises:
        ValueError: `k` is not within 1 and 1,000, or the filter is empty.
    """

    k: int = DEFAULT_NEIGHBOURS
    filter: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_NEIGHBOURS:
            raise ValueError(f"k is {self.k}; 1 to {MAX_NEIGHBOURS:,} was wanted")
        if self.filter is not None and not self.filter:
            raise ValueError("filter is {}; a query clause was wanted, or none")


DEFAULT_WINDOW = 100
