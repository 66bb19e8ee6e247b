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
    check_shards,
    no_vectors_reason,
    rewritten_body,
)
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

    from anthem_plugin.search.request import EncodedRequest, Response, SearchRequest, Steps

TOO_MANY_MATCHES = (
    "the query matches more than {:,} products, and each costs a script run: narrow it or raise the limit"
)
NOTHING_CONTAINED = "the query contains no matching product with slack {:.3g}; these are the matches without the filter"
_SCRIPT_NOT_FOUND = "unable to find script"
_NO_HNSW_GRAPH = "is not built for ANN search"

_log = logging.getLogger(__name__)


def rank_in_cluster(request: SearchRequest, encoded: EncodedRequest) -> Steps[RankedResponse]:
    """Steps of a search that the script ranks or filters.

    Raises:
        ScriptForbiddenError: The cluster does not accept the script.
        RerankSkipped: There is nothing to rank by, or the mode cannot be applied.
    """
    if isinstance(request.mode, Filter):
        return (yield from _filter(request, encoded, request.mode))
    if isinstance(request.mode, Retrieve):
        return (yield from _retrieve(request, encoded, request.mode))
    return RankedResponse((yield from _rescore(request, encoded, _build_body(request, encoded))), "cluster")


def _build_body(
    request: SearchRequest, encoded: EncodedRequest, options: Filter | Retrieve | None = None
) -> dict[str, Any]:
    scoring = encoded.profile.scoring
    rewritten = build_script_body(
        request.body, encoded.region, scoring, options, text=encoded.text, window=request.window
    )
    return rewritten_body(rewritten)


def _retrieve(request: SearchRequest, encoded: EncodedRequest, options: Retrieve) -> Steps[RankedResponse]:
    body = _build_body(request, encoded, options)
    try:
        return RankedResponse((yield from _rescore(request, encoded, body)), "retrieve")
    except (TransportError, RerankSkipped) as error:
        if _NO_HNSW_GRAPH not in str(getattr(error, "info", error)):
            raise
        raise RerankSkipped(_no_graph_reason(request.index), getattr(error, "response", None)) from error


def _filter(request: SearchRequest, encoded: EncodedRequest, options: Filter) -> Steps[RankedResponse]:
    body = _build_body(request, encoded, options)
    yield from _check_affordable(request, encoded, options)
    response = yield from _send(request, body)
    hits = response.get("hits", {}).get("hits")
    note = None if hits else (yield from _explain_empty_page(request, encoded, options, body))
    is_page_requested = hits == [] and page_bounds(request.body)[1]
    return RankedResponse(response, "filter", ("containment",), note if is_page_requested else None)


def _check_affordable(request: SearchRequest, encoded: EncodedRequest, options: Filter) -> Steps[None]:
    """Skip a search that matches no products, too many, or none with a vector of this model."""
    counts = yield request.count_step(build_vector_count_body(request.body, encoded.profile.scoring, options.limit))
    if not hit_count(counts):
        raise RerankSkipped(NO_HITS_REASON)
    if hit_count(counts) > options.limit:
        raise RerankSkipped(TOO_MANY_MATCHES.format(options.limit))
    if not vector_count(counts):
        raise RerankSkipped(no_vectors_reason(request.index))


def _explain_empty_page(
    request: SearchRequest, encoded: EncodedRequest, options: Filter, body: Mapping[str, Any]
) -> Steps[str]:
    """Note on an empty page that starts after the last filtered hit.

    Raises:
        RerankSkipped: The filter removes every hit.
    """
    count = hit_count((yield request.count_step(build_hit_count_body(body))))
    if not count:
        slack = encoded.profile.scoring.slack if options.slack is None else options.slack
        raise RerankSkipped(NOTHING_CONTAINED.format(slack))
    return f"{count} products pass the filter, and the page starts after the last of them"


def _rescore(request: SearchRequest, encoded: EncodedRequest, body: Mapping[str, Any]) -> Steps[Response]:
    """Response to a body that rescores, if the hits have vectors to rescore by."""
    if "filter_path" in request.options:
        return (yield from _send(request, body))  # the response would not contain the field that is checked
    response = yield from _send(request, request_model_field(body, encoded.profile.scoring))
    return (yield from _check_vectors(request, encoded, body, response))


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
    request: SearchRequest, encoded: EncodedRequest, body: Mapping[str, Any], response: Response
) -> Steps[Response]:
    """The response without the model field, unless no hit has a vector of this model."""
    scoring, hits = encoded.profile.scoring, response["hits"]["hits"]
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
