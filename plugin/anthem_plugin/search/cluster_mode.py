"""Searches that the stored script ranks in the cluster: modes `cluster`, `filter` and `retrieve`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.opensearch.connection import error_reason
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id
from anthem_plugin.search.request import (
    NO_HITS_REASON,
    RERANK_TIME_SHARE,
    RankedResponse,
    RerankSkipped,
    ScriptForbiddenError,
    SendStep,
    no_vectors_reason,
    rewritten_body,
)
from anthem_plugin.search.response import check_shards
from anthem_plugin.search.vector_presence import (
    build_any_vector_body,
    build_hit_count_body,
    build_vector_count_body,
    has_model_vector,
    hit_count,
    remove_model_field,
    request_model_field,
    vector_count,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_plugin.modes import ScriptMode
    from anthem_plugin.search.request import PreparedSearch, Response, SearchRequest, Steps

TOO_MANY_MATCHES = (
    "the query matches more than {:,} products, and each costs a script run: narrow it or raise the limit"
)
PAGE_AFTER_LAST_HIT = "{} products pass the filter, and the page starts after the last of them"
NOTHING_CONTAINED = "the query contains no matching product with slack {:.3g}; these are the matches without the filter"
_SCRIPT_NOT_FOUND = "unable to find script"
_NO_HNSW_GRAPH = "is not built for ANN search"

_log = logging.getLogger(__name__)


def rank_in_cluster(request: SearchRequest, prepared: PreparedSearch) -> Steps[RankedResponse]:
    """Steps of a search that the script ranks or filters.

    Raises:
        ScriptForbiddenError: The cluster does not accept the script.
        RerankSkipped: There is nothing to rank by, or the mode cannot be applied.
    """
    if isinstance(request.mode, Filter):
        return (yield from _filter(request, prepared, request.mode))
    if isinstance(request.mode, Retrieve):
        return (yield from _retrieve(request, prepared, request.mode))
    response = yield from _rescore(request, prepared, _build_body(request, prepared, "cluster"))
    return RankedResponse(response, "cluster")


def _build_body(request: SearchRequest, prepared: PreparedSearch, mode: ScriptMode) -> dict[str, Any]:
    scoring = prepared.profile.scoring
    rewritten = build_script_body(
        request.body, prepared.region, scoring, mode, text=prepared.text, window=request.window
    )
    return rewritten_body(rewritten)


def _retrieve(request: SearchRequest, prepared: PreparedSearch, mode: Retrieve) -> Steps[RankedResponse]:
    body = _build_body(request, prepared, mode)
    try:
        response = yield from _rescore(request, prepared, body)
    except (TransportError, RerankSkipped) as error:
        if _NO_HNSW_GRAPH not in str(getattr(error, "info", error)):
            raise
        raise RerankSkipped(_no_graph_reason(request.index), getattr(error, "response", None)) from error
    return RankedResponse(response, "retrieve")


def _filter(request: SearchRequest, prepared: PreparedSearch, mode: Filter) -> Steps[RankedResponse]:
    body = _build_body(request, prepared, mode)
    yield from _check_affordable(request, prepared, mode)
    response = yield from _send(request, body)
    hits = response.get("hits", {}).get("hits")
    if hits:
        return RankedResponse(response, "filter", ("containment",))
    count = yield from _count_filtered(request, prepared, mode, body)
    is_page_requested = hits == [] and page_bounds(request.body)[1] > 0
    note = PAGE_AFTER_LAST_HIT.format(count) if is_page_requested else None
    return RankedResponse(response, "filter", ("containment",), note)


def _check_affordable(request: SearchRequest, prepared: PreparedSearch, mode: Filter) -> Steps[None]:
    """Skip a search that matches no products, too many, or none with a vector of this model."""
    counts = yield request.count_step(build_vector_count_body(request.body, prepared.profile.scoring, mode.limit))
    if not hit_count(counts):
        raise RerankSkipped(NO_HITS_REASON)
    if hit_count(counts) > mode.limit:
        raise RerankSkipped(TOO_MANY_MATCHES.format(mode.limit))
    if not vector_count(counts):
        raise RerankSkipped(no_vectors_reason(request.index))


def _count_filtered(
    request: SearchRequest, prepared: PreparedSearch, mode: Filter, body: Mapping[str, Any]
) -> Steps[int]:
    """Number of products that pass the filter, for a response without hits.

    Raises:
        RerankSkipped: The filter removes every hit.
    """
    response = yield request.count_step(build_hit_count_body(body))
    count = hit_count(response)
    if not count:
        slack = prepared.profile.scoring.slack if mode.slack is None else mode.slack
        raise RerankSkipped(NOTHING_CONTAINED.format(slack))
    return count


def _rescore(request: SearchRequest, prepared: PreparedSearch, body: Mapping[str, Any]) -> Steps[Response]:
    """Response to a body that rescores, if the hits have vectors to rescore by.

    What is sent is the body that the rewriter built, with the model field added to `docvalue_fields`: it shows which
    hits have a vector of this model, and is removed from the response.
    """
    if "filter_path" in request.options:
        return (yield from _send(request, body))  # the response would not contain the field that is checked
    response = yield from _send(request, request_model_field(body, prepared.profile.scoring))
    return (yield from _check_vectors(request, prepared, body, response))


def _send(request: SearchRequest, body: Mapping[str, Any]) -> Steps[Response]:
    """Response to a body that calls the script, which is stored if the cluster does not have it."""
    try:
        response = yield request.search_step(body, RERANK_TIME_SHARE)
    except TransportError as error:
        if _SCRIPT_NOT_FOUND not in str(error.info):
            raise
        yield from _store_script(request)
        response = yield request.search_step(body, RERANK_TIME_SHARE)
    return (yield from check_shards(request, response))


def _check_vectors(
    request: SearchRequest, prepared: PreparedSearch, body: Mapping[str, Any], response: Response
) -> Steps[Response]:
    """The response without the model field, unless no hit has a vector of this model."""
    scoring, hits = prepared.profile.scoring, response["hits"]["hits"]
    stripped = [remove_model_field(hit, request.body, scoring) for hit in hits]
    response = {**response, "hits": {**response["hits"], "hits": stripped}}
    if not hits:
        # Past the last hit, the plain search returns another `max_score`, and `retrieve` finds more products.
        is_plain = request.mode == "cluster" and not response["hits"].get("max_score")
        raise RerankSkipped(NO_HITS_REASON, response if is_plain else None)
    if not any(has_model_vector(hit, scoring) for hit in hits):
        # Products with a vector may rank below this page.
        counts = yield request.count_step(build_any_vector_body(body, scoring))
        if not hit_count(counts):
            raise RerankSkipped(no_vectors_reason(request.index))
    return response


def _store_script(request: SearchRequest) -> Steps[None]:
    script = {"id": script_id(), "body": build_put_script_body(), "context": SCRIPT_CONTEXT}
    try:
        yield SendStep("put_script", script | request.timeout_option(RERANK_TIME_SHARE))
    except TransportError as error:
        if error.status_code not in (400, 401, 403):
            raise
        _log.warning("The cluster does not accept the script (%s)", error_reason(error))
        raise ScriptForbiddenError from error


def _no_graph_reason(index: str | None) -> str:
    name = index or "INDEX"
    return (
        f"{name} has no HNSW graph of its vectors, which retrieve mode needs: "
        f"search {name}-ann, the copy that `anthem ingest {name} --ann` creates"
    )
