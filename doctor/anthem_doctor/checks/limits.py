"""Checks of the limits that an index sets to searches: windows, and the doc values that a search may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_doctor.findings import Finding, console_request
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.search.refusals import IDENTITY_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anthem_ingest.mapping import IndexDescription

_DOC_VALUES = "max_docvalue_fields_search"
_DEFAULT_LIMITS = {"max_result_window": 10_000, _DOC_VALUES: 100}  # OpenSearch's


def check_limits(index: IndexDescription) -> Iterator[Finding]:
    """Whether searches may fetch and rescore the default window, and read the doc values that tell hits apart."""
    smaller = f"{DEFAULT_WINDOW} or more; searches are ranked within the smaller window"
    from_source = f"{IDENTITY_FIELDS} or more; searches read these values from _source instead, which is slower"
    fetched, rescored = result_window(index), rescore_window(index)
    faults = [
        *_judge(index, "max_result_window", fetched, "client mode ranks at most {} hits", DEFAULT_WINDOW, smaller),
        *_judge(index, "max_rescore_window", rescored, "cluster mode ranks at most {} hits", DEFAULT_WINDOW, smaller),
        *_judge(
            index,
            _DOC_VALUES,
            _limit(index, _DOC_VALUES),
            "a search may read {} doc values",
            IDENTITY_FIELDS,
            from_source,
        ),
    ]
    found = f"{index.name} lets a search fetch {fetched} hits, and rescore {rescored} on each shard"
    yield from faults or [Finding("limits", "ok", found)]


def _judge(
    index: IndexDescription, name: str, limit: int, effect: str, needed: int, expected: str
) -> Iterator[Finding]:
    """A fault if a limit is below what searches need by default; the request resets it."""
    if limit < needed:
        reset = console_request("PUT", f"{index.name}/_settings", {f"index.{name}": None})
        found = f"{index.name}: {effect.format(limit)} (index.{name})"
        yield Finding("limits", "fault", found, expected, reset)


def result_window(index: IndexDescription) -> int:
    """Number of hits that a search of an index may fetch."""
    return _limit(index, "max_result_window")


def rescore_window(index: IndexDescription) -> int:
    """Number of hits that a search of an index may rescore on each shard; defaults to what it may fetch."""
    return int(index.settings.get("max_rescore_window", result_window(index)))


def largest_windows(indices: Iterable[IndexDescription]) -> tuple[int, int]:
    """The windows up to the default one that all indices let a search fetch and rescore."""
    known = list(indices)
    fetched = min([DEFAULT_WINDOW, *map(result_window, known)])
    return fetched, min([DEFAULT_WINDOW, *map(rescore_window, known)])


def _limit(index: IndexDescription, name: str) -> int:
    return int(index.settings.get(name, _DEFAULT_LIMITS[name]))
