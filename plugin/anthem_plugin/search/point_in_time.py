"""Which indices a point in time covers: a search of one names none, and only their mappings say what to hide."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from anthem_plugin.search.request import SendStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_plugin.search.request import SearchRequest, Steps

MAX_POINTS_IN_TIME = 1_024
_MAX_INDICES = 1_000


class PointsInTime:
    """The names of the indices that points in time cover, read once for each; safe to share between threads."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def with_index(self, request: SearchRequest) -> SearchRequest:
        """The request with the indices of its point in time as its index, if they are known; else the request."""
        names = self._names.get(point_in_time_id(request) or "")
        return replace(request, index=names) if names else request

    def read(self, request: SearchRequest, options: Mapping[str, Any], time_share: float) -> Steps[SearchRequest]:
        """The request with the indices of its point in time as its index; one search, none if they are known already.

        A request without a point in time is returned as it is, and so is one whose indices have no products.

        Args:
            request: Any request.
            options: Options of the search, such as headers.
            time_share: Share of the request's time-out after which the search must be answered.
        """
        pit = point_in_time_id(request)
        if pit is None or pit in self._names:
            return self.with_index(request)
        arguments = {"body": build_covered_indices_body(pit), **options, **request.timeout_option(time_share)}
        response = yield SendStep("search", arguments)
        names = ",".join(bucket["key"] for bucket in response["aggregations"]["indices"]["buckets"])
        if names and not response["_shards"]["failed"]:
            with self._lock:
                self._names[pit] = names
                if len(self._names) > MAX_POINTS_IN_TIME:
                    self._names.popitem(last=False)
        return replace(request, index=names) if names else request


def point_in_time_id(request: SearchRequest) -> str | None:
    """Id of the point in time that a request searches, or None."""
    pit = request.body.get("pit")
    name = pit.get("id") if isinstance(pit, dict) else None
    return name if request.index is None and isinstance(name, str) and name else None


def build_covered_indices_body(pit: str) -> dict[str, Any]:
    """Body that finds the names of the indices of a point in time: it reads one product of each shard."""
    indices = {"terms": {"field": "_index", "size": _MAX_INDICES}}
    return {
        "pit": {"id": pit},
        "size": 0,
        "terminate_after": 1,
        "track_total_hits": False,
        "aggs": {"indices": indices},
    }
