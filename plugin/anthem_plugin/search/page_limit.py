"""How many hits an index lets a search fetch: `index.max_result_window`, found out by a search that it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import RequestError

from anthem_core.opensearch.schema import MATCH_ALL
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.search.refusals import find_refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opensearchpy import OpenSearch

    from anthem_plugin.search.request import Response


def fit_page(cluster: OpenSearch, index: str, size: int) -> int:
    """The largest number up to `size` of hits that a search of an index, alias or pattern may fetch.

    Raises:
        opensearchpy.exceptions.OpenSearchException: The search fails for another reason.
    """
    body = {"query": MATCH_ALL, "size": size, "_source": False, "terminate_after": 1, "track_total_hits": False}
    options = {"allow_partial_search_results": "false"}  # otherwise a limit of one index of several would go unnoticed
    try:
        cluster.search(index=index, body=body, params=options)
    except RequestError as error:
        limit = find_refusals(error).result_window
        if limit is None:
            raise
        return limit
    return size


def search_within_limit(
    search: Callable[[dict[str, Any]], Response], body: dict[str, Any], page: Mapping[str, Any]
) -> Response:
    """Response to a body that starts at the first hit, with its `size` cut to what the index lets a search fetch.

    A body `page` whose own page goes beyond that stays refused.

    Raises:
        opensearchpy.exceptions.OpenSearchException: The search fails for another reason.
    """
    try:
        return search(body)
    except RequestError as error:
        limit = find_smaller_size(error, body, page)
        if limit is None:
            raise
    return search({**body, "size": limit})


def find_smaller_size(error: RequestError, body: Mapping[str, Any], page: Mapping[str, Any]) -> int | None:
    """The size with which a refused body that starts at the first hit can be sent again; None if that does not help.

    The page of the body `page` must fit, too.
    """
    limit = find_refusals(error).result_window
    return limit if limit is not None and sum(page_bounds(page)) <= limit < page_bounds(body)[1] else None


def page_limit_note(index: str, limit: int, wanted: int) -> str | None:
    """Sentence on a search that fetches fewer hits than wanted; None if it does not."""
    if limit >= wanted:
        return None
    reason = f"{index} accepts no more (`index.max_result_window`)"
    return f"Only the first {limit} hits of each search are read, because {reason}."
