"""The parts of a course that the script in the cluster does: reranking, filtering, and ranking what was retrieved."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.opensearch.connection import error_reason
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

    from anthem_plugin.modes import Filter, Retrieve
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.request import EncodedRequest, Response, SearchRequest, Steps

_log = logging.getLogger(__name__)
_MISSING = "unable to find script"
TOO_MANY_MATCHES = (
    "the query finds more than {:,} products, and each costs a run of the script: narrow it, or raise the limit"
)
NOTHING_CONTAINED = "no product found is contained in the query with slack {:.3g}; these are found without the filter"
_NO_GRAPH = "is not built for ANN search"


class ClusterMode:
    """Sends bodies that call the script, which it stores where a cluster does not know it."""

    def __init__(self, scoring: ScoringParams) -> None:
        self._scoring = scoring

    def ranked(self, request: SearchRequest, asked: EncodedRequest) -> Steps[RankedResponse]:
        """Course of a search in one of the modes that need the script.

        Raises:
            ForbiddenError: The cluster does not take it.
        """
        if request.mode == "filter":
            return (yield from self._filtered(request, asked))
        if request.mode == "retrieve":
            return (yield from self._retrieved(request, asked))
        return RankedResponse((yield from self._rescored(request, self._body(request, asked))), "cluster")

    def _body(
        self, request: SearchRequest, asked: EncodedRequest, how: Filter | Retrieve | None = None
    ) -> dict[str, Any]:
        window = request.window
        return rewritten_body(
            build_script_body(request.body, asked.query, self._scoring, how, text=asked.text, window=window)
        )

    def _retrieved(self, request: SearchRequest, asked: EncodedRequest) -> Steps[RankedResponse]:
        body = self._body(request, asked, request.retrieve)
        try:
            return RankedResponse((yield from self._rescored(request, body)), "retrieve")
        except (TransportError, RerankSkipped) as error:
            if _NO_GRAPH not in str(getattr(error, "info", error)):
                raise
            raise RerankSkipped(_no_graph(request.index), getattr(error, "response", None)) from error

    def _filtered(self, request: SearchRequest, asked: EncodedRequest) -> Steps[RankedResponse]:
        body = self._body(request, asked, request.filter)
        yield from self._check_affordable(request)
        response = yield from self._sent(request, body)
        shown = response.get("hits", {}).get("hits")
        note = None if shown else (yield from self._why_empty(request, body))
        return RankedResponse(
            response, "filter", ("containment",), note if shown == [] and page_bounds(request.body)[1] else None
        )

    def _check_affordable(self, request: SearchRequest) -> Steps[None]:
        """Leave a search alone whose query finds nothing, too much, or nothing with a vector of this model."""
        limit = request.filter.limit
        counted = yield request.count(build_vector_count_body(request.body, self._scoring, limit))
        if not hit_count(counted):
            raise RerankSkipped(NO_HITS_REASON)
        if hit_count(counted) > limit:
            raise RerankSkipped(TOO_MANY_MATCHES.format(limit))
        if not vector_count(counted):
            raise RerankSkipped(no_vectors_reason(request.index))

    def _why_empty(self, request: SearchRequest, body: Mapping[str, Any]) -> Steps[str]:
        """Why a filtered page is empty: it begins beyond the last; a search is left alone where nothing is left."""
        kept = hit_count((yield request.count(build_hit_count_body(body))))
        if not kept:
            slack = self._scoring.slack if request.filter.slack is None else request.filter.slack
            raise RerankSkipped(NOTHING_CONTAINED.format(slack))
        return f"the filter leaves {kept} products, and the page begins beyond the last of them"

    def _rescored(self, request: SearchRequest, body: Mapping[str, Any]) -> Steps[Response]:
        """Response to a body that rescores, unless there was nothing to rescore by."""
        telling = "filter_path" not in request.options
        response = yield from self._sent(request, request_model_field(body, self._scoring) if telling else body)
        return (yield from self._told(request, body, response)) if telling else response

    def _sent(self, request: SearchRequest, body: Mapping[str, Any]) -> Steps[Response]:
        """Response to a body that calls the script."""
        try:
            response = yield request.search(body, RERANK_TIME_SHARE)
        except TransportError as error:
            if _MISSING not in str(error.info):
                raise
            yield from self._put_script(request)
            response = yield request.search(body, RERANK_TIME_SHARE)
        return (yield from check_shards(request, response))

    def _told(self, request: SearchRequest, body: Mapping[str, Any], response: Response) -> Steps[Response]:
        """The response without its marks, unless these say that there was nothing to rerank by."""
        hits = response["hits"]["hits"]
        bare = [remove_model_field(hit, request.body, self._scoring) for hit in hits]
        response = {**response, "hits": {**response["hits"], "hits": bare}}
        if not hits:
            # Beyond the last hit the plain search has a `max_score` of its own, and retrieving finds more.
            same = request.mode == "cluster" and not response["hits"].get("max_score")
            raise RerankSkipped(NO_HITS_REASON, response if same else None)
        if not any(has_model_vector(hit, self._scoring) for hit in hits):
            # The page alone does not tell: products with a vector may stand beneath it.
            counted = yield request.count(build_any_vector_body(body, self._scoring))
            if not hit_count(counted):
                raise RerankSkipped(no_vectors_reason(request.index))
        return response

    def _put_script(self, request: SearchRequest) -> Steps[None]:
        script = {"id": script_id(), "body": build_put_script_body(), "context": SCRIPT_CONTEXT}
        try:
            yield SendStep("put_script", script | request.limit(RERANK_TIME_SHARE))
        except TransportError as error:
            if error.status_code not in (400, 401, 403):
                raise
            _log.warning("The cluster does not take the script (%s)", error_reason(error))
            raise ScriptForbiddenError from error


def _no_graph(index: str | None) -> str:
    """What to say where vectors cannot be searched for their neighbours."""
    name = index or "INDEX"
    return (
        f"{name} has no HNSW graph of its vectors, which retrieving needs: "
        f"search {name}-ann, the copy that `anthem ingest {name} --ann` makes"
    )
