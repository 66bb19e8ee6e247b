"""Reads UBI's queries and events: from the indices of a cluster, or from dumps with one JSON object per line."""

from __future__ import annotations

import json
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from anthem_core.console import progress
from anthem_core.errors import ClusterError, DataError
from anthem_core.lines import read_lines
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_evaluation.ubi.click_log import IMPRESSION_ACTION, build_click_log
from anthem_ingest.index_io import read_pages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_evaluation.ubi.click_log import ClickLog, LogEntry

QUERIES_INDEX = "ubi_queries"
EVENTS_INDEX = "ubi_events"
_SHOWN_LINES = 10_000  # between two steps of the progress bar
_QUERY_FIELDS = ("query_id", "user_query", "query_response_hit_ids", "application")
_EVENT_FIELDS = (
    "query_id",
    "action_name",
    "event_attributes.object.object_id",
    "event_attributes.position.ordinal",
)


def read_ubi_indices(cluster: OpenSearch, actions: Collection[str], application: str | None = None) -> ClickLog:
    """The log in the indices `ubi_queries` and `ubi_events`; with `application`, only its searches.

    Raises:
        ClusterError: An index is missing, or the cluster refuses.
    """
    for index in (QUERIES_INDEX, EVENTS_INDEX):
        if not cluster.indices.exists(index=index):
            raise ClusterError(
                f"The cluster has no index {index}. Expected {QUERIES_INDEX} and {EVENTS_INDEX} of User Behavior "
                "Insights; name a dump of them with --judgments."
            )
    queries = _read_index(cluster, QUERIES_INDEX, MATCH_ALL, _QUERY_FIELDS)
    # `match` finds the names whether `action_name` is mapped as keyword or as text.
    named = [{"match": {"action_name": action}} for action in (*actions, IMPRESSION_ACTION)]
    events = _read_index(cluster, EVENTS_INDEX, {"bool": {"should": named}}, _EVENT_FIELDS)
    return build_click_log(queries, events, actions, application)


def _read_index(cluster: OpenSearch, index: str, query: dict[str, Any], fields: Collection[str]) -> Iterator[LogEntry]:
    with progress(f"reading {index}") as advance:
        for page in read_pages(cluster, index, {"query": query, "_source": [*fields]}):
            yield from (hit.get("_source", {}) for hit in page)
            advance(len(page))


def is_ubi_dump(path: Path) -> bool:
    """Whether a folder has files of queries and events, or one of the first two lines of a file is one of them."""
    if path.is_dir():
        return bool(_find_files(path, QUERIES_INDEX) and _find_files(path, EVENTS_INDEX))
    try:
        return any("query_id" in _source(json.loads(line)) for line in islice(read_lines(path), 2))
    except (ValueError, TypeError, RecursionError):
        return False


def read_ubi_dump(path: Path, actions: Collection[str], application: str | None = None) -> ClickLog:
    """The log of a folder with `ubi_queries*` and `ubi_events*`, or of a file with the lines of both; may be gzipped.

    Every line is a document of its index, or a hit with the document as `_source`. Lines of a bulk request that only
    name an action are ignored.

    Raises:
        DataError: A file is missing or cannot be read, or a line is not a JSON object.
    """
    files = [path], [path]
    if path.is_dir():
        files = _find_files(path, QUERIES_INDEX), _find_files(path, EVENTS_INDEX)
        if not is_ubi_dump(path):
            raise DataError(f"{path} lacks {QUERIES_INDEX}*.ndjson or {EVENTS_INDEX}*.ndjson. Export both indices.")
    # A file of both kinds is read twice, because a log may not fit into memory.
    queries, events = (chain.from_iterable(map(_read_file, each)) for each in files)
    return build_click_log(
        (entry for entry in queries if "action_name" not in entry),
        (entry for entry in events if "action_name" in entry),
        actions,
        application,
    )


def _find_files(folder: Path, stem: str) -> list[Path]:
    return sorted(file for file in folder.glob(f"{stem}*") if file.is_file())


def _read_file(path: Path) -> Iterator[LogEntry]:
    with progress(f"reading {path.name}") as advance:
        for number, line in enumerate(read_lines(path), start=1):
            if line.strip() and "query_id" in (entry := _parse_line(path, number, line)):
                yield entry
            if number % _SHOWN_LINES == 0:
                advance(_SHOWN_LINES)


def _parse_line(path: Path, number: int, line: bytes) -> LogEntry:
    try:
        return _source(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}, line {number}: {error}. Expected a JSON object per line, as exports of {QUERIES_INDEX} and "
            f"{EVENTS_INDEX} have them."
        ) from error


def _source(value: object) -> dict[str, Any]:
    """The document of a line, which may be a hit."""
    if not isinstance(value, dict):
        raise TypeError(f"found a JSON {type(value).__name__}")
    source = value.get("_source", value)
    return source if isinstance(source, dict) else value
