"""Searches, the products that they showed, and the clicks on them, read from UBI's queries and events."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_evaluation.judgments import comparable_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

LogEntry: TypeAlias = Mapping[str, Any]  # a document of `ubi_queries` or `ubi_events`

_Shown: TypeAlias = tuple[tuple[str, ...], Sequence[int]]  # products and their positions

IMPRESSION_ACTION = "impression"
DEFAULT_CLICK_ACTION = "click"
LARGEST_POSITION = 10**6
MIN_IMPRESSIONS = 10


@dataclass(frozen=True, slots=True)
class ShownList:
    """One search: its text, the products that it showed, their positions, from 1, and those that were clicked."""

    text: str
    products: tuple[str, ...]
    positions: Sequence[int]
    clicked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClickLog:
    """Searches with what they showed, and what could not be used: the reasons with their counts."""

    searches: list[ShownList]
    unused: dict[str, int] = field(default_factory=dict)


def build_click_log(
    queries: Iterable[LogEntry],
    events: Iterable[LogEntry],
    actions: Collection[str] = (DEFAULT_CLICK_ACTION,),
    application: str | None = None,
) -> ClickLog:
    """Join queries and events by `query_id`; both are read once, the events first.

    A search showed the products of its `impression` events, at their `position.ordinal`; without any, those of
    `query_response_hit_ids`, in that order. Several clicks of one search on a product count once. `actions` are the
    names of the events that count as clicks. With `application`, only its searches count.
    """
    unused: dict[str, int] = defaultdict(int)
    seen, clicks = _read_events(events, {*actions}, unused)
    searches, known = [], set()
    for entry in queries:
        query_id, text = _query_id(entry), _normalise(entry.get("user_query"))
        products, positions = seen.get(query_id) or _hit_positions(entry)
        if application is not None and entry.get("application") != application:
            unused["searches of other applications"] += 1
        elif not (query_id and text):
            unused["searches without query_id or user_query"] += 1
        elif query_id in known:
            unused["searches with the query_id of an earlier one"] += 1
        elif not products:
            unused["searches without hits or impressions"] += 1
        else:
            clicked = clicks.get(query_id, set())
            searches.append(ShownList(text, products, positions, frozenset(clicked.intersection(products))))
            unused["clicks on products that the search did not show"] += len(clicked.difference(products))
        known.add(query_id)
    unused["searches that have events, but are not logged as queries"] = len({*seen, *clicks} - known)
    return ClickLog(searches, {reason: count for reason, count in unused.items() if count})


def _read_events(
    events: Iterable[LogEntry], actions: Collection[str], unused: dict[str, int]
) -> tuple[dict[str, _Shown], dict[str, set[str]]]:
    """Impressions with their positions, and clicks, each by `query_id`."""
    ordinals: dict[str, dict[str, int]] = defaultdict(dict)
    clicks: dict[str, set[str]] = defaultdict(set)
    for event in events:
        action = event.get("action_name")
        if not isinstance(action, str) or action not in {*actions, IMPRESSION_ACTION}:
            continue
        query_id, product = _query_id(event), _object_id(event)
        if not query_id or product is None:
            unused["clicks or impressions without query_id or object_id"] += 1
        elif action in actions:
            clicks[query_id].add(product)
        elif (ordinal := _ordinal(event)) is None:
            unused["impressions without a position"] += 1
        else:
            ordinals[query_id].setdefault(product, ordinal)
    # The specification does not say whether ordinals start at 0 or 1, so the smallest one is the first position.
    first = min((ordinal for places in ordinals.values() for ordinal in places.values()), default=1)
    shift = 1 - min(first, 1)
    seen: dict[str, _Shown] = {
        query: ((*places,), [place + shift for place in places.values()]) for query, places in ordinals.items()
    }
    return seen, clicks


def _query_id(entry: LogEntry) -> str:
    """The id of a search, empty if it has none; some applications write numbers."""
    value = entry.get("query_id")
    return "" if value is None else str(value)


def _normalise(text: object) -> str:
    """The text of a query as it is compared with others; empty if it is none."""
    return sys.intern(comparable_text(text)) if isinstance(text, str) else ""


def _hit_positions(entry: LogEntry) -> _Shown:
    hits = entry.get("query_response_hit_ids")
    ids = (*dict.fromkeys(sys.intern(str(hit)) for hit in hits),) if isinstance(hits, list) else ()
    return ids, range(1, len(ids) + 1)


def _object_id(event: LogEntry) -> str | None:
    product = _part(event, "object").get("object_id")
    return None if product is None or isinstance(product, dict | list) else sys.intern(str(product))


def _ordinal(event: LogEntry) -> int | None:
    ordinal = _part(event, "position").get("ordinal")
    if isinstance(ordinal, bool) or not isinstance(ordinal, int | float | str):
        return None
    try:
        position = float(ordinal)
    except (ValueError, OverflowError):
        return None
    return int(position) if 0 <= position <= LARGEST_POSITION and position.is_integer() else None


def _part(event: LogEntry, name: str) -> Mapping[str, Any]:
    """`event_attributes.NAME` of an event; empty if it has none."""
    attributes = event.get("event_attributes")
    part = attributes.get(name) if isinstance(attributes, Mapping) else None
    return part if isinstance(part, Mapping) else {}
