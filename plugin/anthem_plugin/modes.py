"""How a search is reranked: the names of the modes, and the options of `filter` and `retrieve`."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.encoding.bundle import Bundle

ModeName: TypeAlias = Literal["cluster", "client", "filter", "retrieve", "none"]

DEFAULT_WINDOW = 100  # lexical hits that are reranked unless the bundle names a number; in cluster mode on every shard
FILTER_MATCH_LIMIT = 50_000
DEFAULT_NEIGHBOURS = 50
MAX_NEIGHBOURS = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """Options of `filter` mode: a product passes when every `|z_i| ≤ l_i + slack`.

    Attributes:
        slack: Added to every limit; can be negative. The lower, the fewer products pass. Defaults to the bundle's.
        unknown: Whether products without a vector pass.
        limit: A search that matches more products than this is not filtered, because each one costs a script run.

    Raises:
        ValueError: The slack is not finite, or the limit is below 1.
        TypeError: An option has the wrong type.
    """

    slack: float | None = None
    unknown: bool = True
    limit: int = FILTER_MATCH_LIMIT

    def __post_init__(self) -> None:
        _check_type("slack", 0.0 if self.slack is None else self.slack, Real, "a number, or None")
        _check_type("unknown", self.unknown, bool, "True or False")
        _check_type("limit", self.limit, Integral, "a whole number")
        if self.slack is not None and not isfinite(self.slack):
            raise ValueError(f"slack is {self.slack}; expected a finite number")
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit}; expected 1 or more")


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Options of `retrieve` mode, which adds the nearest products of each centre to the lexical hits.

    Attributes:
        k: Products per centre and shard.
        filter: Query clause that added products must match. Defaults to every clause of the caller's query except
            its words.

    Raises:
        ValueError: `k` is not between 1 and 1,000, or the filter is empty.
        TypeError: An option has the wrong type.
    """

    k: int = DEFAULT_NEIGHBOURS
    filter: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_type("k", self.k, Integral, "a whole number")
        _check_type("filter", {} if self.filter is None else self.filter, dict, "a query clause, or None")
        if not 1 <= self.k <= MAX_NEIGHBOURS:
            raise ValueError(f"k is {self.k}; expected 1 to {MAX_NEIGHBOURS:,}")
        if self.filter is not None and not self.filter:
            raise ValueError("filter is {}; expected a query clause, or None")


# What a caller may pass as `mode`: a name, or the options of a mode that has some.
RerankMode: TypeAlias = ModeName | Filter | Retrieve
ScriptMode: TypeAlias = Literal["cluster"] | Filter | Retrieve  # the modes whose searches call the stored script
ResolvedMode: TypeAlias = ScriptMode | Literal["client", "none"]


def resolve_mode(mode: RerankMode) -> ResolvedMode:
    """The mode with its options: `"filter"` becomes `Filter()`, `"retrieve"` becomes `Retrieve()`.

    Raises:
        ValueError: The mode does not exist.
    """
    if isinstance(mode, Filter | Retrieve):
        return mode
    if mode not in get_args(ModeName):
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(get_args(ModeName))}, a Filter or a Retrieve")
    if mode == "filter":
        return Filter()
    return Retrieve() if mode == "retrieve" else mode


def default_window(bundle: Bundle) -> int:
    """Lexical hits to rerank where a search names no number: the bundle's, which `anthem tune` writes, or 100."""
    return bundle.window or DEFAULT_WINDOW


def mode_name(mode: ResolvedMode) -> ModeName:
    """Name of a mode."""
    if isinstance(mode, Filter):
        return "filter"
    return "retrieve" if isinstance(mode, Retrieve) else mode


def _check_type(name: str, value: object, kind: type, expected: str) -> None:
    """Check the type of an option; True and False are no numbers.

    Raises:
        TypeError: It is another one.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} is {value!r}; expected {expected}")
