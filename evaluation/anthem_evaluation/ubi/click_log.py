"""Searches, the products that they showed, and the clicks on them, read from UBI's queries and events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

LogEntry: TypeAlias = Mapping[str, Any]  # a document of `ubi_queries` or `ubi_events`

IMPRESSION_ACTION = "impression"
DEFAULT_CLICK_ACTION = "click"


@dataclass(frozen=True)
class ShownList:
    """One search: its text, and the products that it showed with their positions, from 1."""

    text: str
    positions: dict[str, int]
    clicked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClickLog:
    """Searches with what they showed, and what could not be used: the reasons with their counts."""

    searches: list[ShownList]
    unused: dict[str, int] = field(default_factory=dict)


def build_click_log(
    queries: Iterable[LogEntry], events: Iterable[LogEntry], actions: Collection[str] = (DEFAULT_CLICK_ACTION,)
) -> ClickLog:
    """Join queries and events by `query_id`.

    A search showed the products of its `impression` events, at their `position.ordinal`; without any, those of
    `query_response_hit_ids`, in that order. Several clicks of one search on a product count once. `actions` are the
    names of the events that count as clicks.
    """
    seen, clicks = _read_events(events, {*actions})
    unused: dict[str, int] = defaultdict(int)
    searches = {}
    for entry in queries:
        query_id, text = entry.get("query_id"), _normalise(entry.get("user_query"))
        shown = seen.get(str(query_id)) or _hit_positions(entry)
        if not (query_id and text):
            unused["searches without query_id or user_query"] += 1
        elif not shown:
            unused["searches without hits or impressions"] += 1
        else:
            clicked = clicks.get(str(query_id), set())
            searches[str(query_id)] = ShownList(text, shown, frozenset(clicked & shown.keys()))
            unused["clicks on products that the search did not show"] += len(clicked - shown.keys())
    unused["searches that have events, but are not logged as queries"] = len({*seen, *clicks} - searches.keys())
    return ClickLog([*searches.values()], {reason: count for reason, count in unused.items() if count})


def _read_events(
    events: Iterable[LogEntry], actions: Collection[str]
) -> tuple[dict[str, dict[str, int]], dict[str, set[str]]]:
    """Impressions with their positions, and clicks, each by `query_id`."""
    ordinals: dict[str, dict[str, int]] = defaultdict(dict)
    clicks: dict[str, set[str]] = defaultdict(set)
    for event in events:
        query_id, product = event.get("query_id"), _object_id(event)
        if not query_id or product is None:
            continue
        if event.get("action_name") in actions:
            clicks[str(query_id)].add(product)
        elif event.get("action_name") == IMPRESSION_ACTION and (ordinal := _ordinal(event)) is not None:
            ordinals[str(query_id)].setdefault(product, ordinal)
    # The specification does not say whether ordinals start at 0 or 1, so the smallest one is the first position.
    first = min((ordinal for places in ordinals.values() for ordinal in places.values()), default=1)
    shift = 1 - min(first, 1)
    return {query: {p: place + shift for p, place in places.items()} for query, places in ordinals.items()}, clicks


def _normalise(text: object) -> str:
    """The text of a query without differences of case and spaces; empty if it is none."""
    return " ".join(text.casefold().split()) if isinstance(text, str) else ""


def _hit_positions(entry: LogEntry) -> dict[str, int]:
    hits = entry.get("query_response_hit_ids")
    ids = dict.fromkeys(map(str, hits)) if isinstance(hits, list) else ()
    return {product: place for place, product in enumerate(ids, start=1)}


def _object_id(event: LogEntry) -> str | None:
    product = _part(event, "object").get("object_id")
    return None if product is None or isinstance(product, dict | list) else str(product)


def _ordinal(event: LogEntry) -> int | None:
    ordinal = _part(event, "position").get("ordinal")
    if isinstance(ordinal, str) and ordinal.isdecimal():
        ordinal = int(ordinal)
    return ordinal if isinstance(ordinal, int) and not isinstance(ordinal, bool) and ordinal >= 0 else None


def _part(event: LogEntry, name: str) -> Mapping[str, Any]:
    """`event_attributes.NAME` of an event; empty if it has none."""
    attributes = event.get("event_attributes")
    part = attributes.get(name) if isinstance(attributes, Mapping) else None
    return part if isinstance(part, Mapping) else {}
