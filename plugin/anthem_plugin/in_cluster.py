"""The parts of a course that the script in the cluster does: reranking, filtering, and ranking what was retrieved."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.cluster import reason
from anthem_plugin.marks import any_marked, countable, counting, mark, marked, total, total_marked, unmark
from anthem_plugin.painless import CONTEXT, put_script_body, script_id
from anthem_plugin.rewrite import page
from anthem_plugin.scripted import scripted
from anthem_plugin.steps import (
    NO_HITS,
    SHARE,
    ForbiddenError,
    LeftAloneError,
    Ranked,
    Send,
    accepted,
    no_vectors,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_plugin.modes import Filter, Retrieve
    from anthem_plugin.scoring import Scoring
    from anthem_plugin.steps import Asked, Course, Request, Response

_log = logging.getLogger(__name__)
_MISSING = "unable to find script"
TOO_MANY = "the query finds more than {:,} products, and each costs a run of the script: narrow it, or raise the limit"
NONE_CONTAINED = "no product found is contained in the query with slack {:.3g}; these are found without the filter"
_NO_GRAPH = "is not built for ANN search"


class InCluster:
    """Sends bodies that call the script, which it stores where a cluster does not know it."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring

    def ranked(self, request: Request, asked: Asked) -> Course[Ranked]:
        """Course of a search in one of the modes that need the script.

        Raises:
            ForbiddenError: The cluster does not take it.
        """
        if request.mode == "filter":
            return (yield from self._filtered(request, asked))
        if request.mode == "retrieve":
            return (yield from self._retrieved(request, asked))
        return Ranked((yield from self._rescored(request, self._body(request, asked))), "cluster")

    def _body(self, request: Request, asked: Asked, how: Filter | Retrieve | None = None) -> dict[str, Any]:
        window = request.window
        return accepted(scripted(request.body, asked.query, self._scoring, how, text=asked.text, window=window))

    def _retrieved(self, request: Request, asked: Asked) -> Course[Ranked]:
        body = self._body(request, asked, request.retrieve)
        try:
            return Ranked((yield from self._rescored(request, body)), "retrieve")
        except (TransportError, LeftAloneError) as error:
            if _NO_GRAPH not in str(getattr(error, "info", error)):
                raise
            raise LeftAloneError(_no_graph(request.index), getattr(error, "response", None)) from error

    def _filtered(self, request: Request, asked: Asked) -> Course[Ranked]:
        body = self._body(request, asked, request.filter)
        yield from self._check_affordable(request)
        response = yield from self._sent(request, body)
        shown = response.get("hits", {}).get("hits")
        note = None if shown else (yield from self._why_empty(request, body))
        return Ranked(response, "filter", ("containment",), note if shown == [] and page(request.body)[1] else None)

    def _check_affordable(self, request: Request) -> Course[None]:
        """Leave a search alone whose query finds nothing, too much, or nothing with a vector of this model."""
        limit = request.filter.limit
        counted = yield request.count(counting(request.body, self._scoring, limit))
        if not total(counted):
            raise LeftAloneError(NO_HITS)
        if total(counted) > limit:
            raise LeftAloneError(TOO_MANY.format(limit))
        if not total_marked(counted):
            raise LeftAloneError(no_vectors(request.index))

    def _why_empty(self, request: Request, body: Mapping[str, Any]) -> Course[str]:
        """Why a filtered page is empty: it begins beyond the last; a search is left alone where nothing is left."""
        kept = total((yield request.count(countable(body))))
        if not kept:
            slack = self._scoring.slack if request.filter.slack is None else request.filter.slack
            raise LeftAloneError(NONE_CONTAINED.format(slack))
        return f"the filter leaves {kept} products, and the page begins beyond the last of them"

    def _rescored(self, request: Request, body: Mapping[str, Any]) -> Course[Response]:
        """Response to a body that rescores, unless there was nothing to rescore by."""
        telling = "filter_path" not in request.options
        response = yield from self._sent(request, mark(body, self._scoring) if telling else body)
        return (yield from self._told(request, body, response)) if telling else response

    def _sent(self, request: Request, body: Mapping[str, Any]) -> Course[Response]:
        """Response to a body that calls the script."""
        try:
            response = yield request.search(body, SHARE)
        except TransportError as error:
            if _MISSING not in str(error.info):
                raise
            yield from self._put_script(request)
            response = yield request.search(body, SHARE)
        return (yield from whole(request, response))

    def _told(self, request: Request, body: Mapping[str, Any], response: Response) -> Course[Response]:
        """The response without its marks, unless these say that there was nothing to rerank by."""
        hits = response["hits"]["hits"]
        bare = [unmark(hit, request.body, self._scoring) for hit in hits]
        response = {**response, "hits": {**response["hits"], "hits": bare}}
        if not hits:
            # Beyond the last hit the plain search has a `max_score` of its own, and retrieving finds more.
            same = request.mode == "cluster" and not response["hits"].get("max_score")
            raise LeftAloneError(NO_HITS, response if same else None)
        if not any(marked(hit, self._scoring) for hit in hits):
            # The page alone does not tell: products with a vector may stand beneath it.
            counted = yield request.count(any_marked(body, self._scoring))
            if not total(counted):
                raise LeftAloneError(no_vectors(request.index))
        return response

    def _put_script(self, request: Request) -> Course[None]:
        script = {"id": script_id(), "body": put_script_body(), "context": CONTEXT}
        try:
            yield Send("put_script", script | request.limit(SHARE))
        except TransportError as error:
            if error.status_code not in (400, 401, 403):
                raise
            _log.warning("The cluster does not take the script (%s)", reason(error))
            raise ForbiddenError from error


def _no_graph(index: str | None) -> str:
    """What to say where vectors cannot be searched for their neighbours."""
    name = index or "INDEX"
    return (
        f"{name} has no HNSW graph of its vectors, which retrieving needs: "
        f"search {name}-ann, the copy that `anthem ingest {name} --ann` makes"
    )
