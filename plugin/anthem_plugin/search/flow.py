"""The course of one search, which sends nothing itself: it yields what is to be done and is told what came of it.

One course serves both clients: `AnthemClient` does each step at once, `AsyncAnthemClient` awaits it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import split_phrases, unite_queries
from anthem_core.opensearch.connection import error_reason
from anthem_plugin.rewriter.query_text import NO_QUERY_TEXT_REASON, NO_WORDS_REASON, find_query_text
from anthem_plugin.scoring.painless import hyperboloid_limit_reason
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.circuit_breaker import CircuitBreaker, TimeBudget
from anthem_plugin.search.client_mode import ClientMode
from anthem_plugin.search.cluster_mode import ClusterMode
from anthem_plugin.search.request import (
    ComputeStep,
    EncodedRequest,
    RankedResponse,
    RerankSkipped,
    ScriptForbiddenError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.schema import VectorFields
    from anthem_plugin.search.request import Response, SearchRequest, Steps

_log = logging.getLogger(__name__)
# As options of the request these would override the body, and the page would be cut or sorted behind our back.
_SHAPING = {
    "from", "from_", "size", "sort", "q", "scroll", "stored_fields", "_source", "_source_includes", "_source_excludes"
}  # fmt: skip
# All that `params` may hold: what else it held would be out of sight, and override ours.
_HARMLESS = {"allow_no_indices", "expand_wildcards", "ignore_unavailable", "preference", "pretty", "routing"}


class SearchFlow:
    """What all searches of a client share: the model, the cache of encoded queries, the breaker and the counts."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        fields: VectorFields | None,
        query_path: str | None,
        text_fields: Sequence[str],
        budget_ms: float | None,
        cache: int,
        breaker: CircuitBreaker | None,
    ) -> None:
        self.scoring = ScoringParams.of(encoder.bundle, fields)
        self.encode = lru_cache(cache)(encoder.query)
        self.breaker = breaker or CircuitBreaker()
        self.counts = {"reranked": 0, "left_alone": 0, "failed": 0}
        self._query_path = query_path
        attention = AttentionScorer(encoder.bundle) if self.scoring.attentive and text_fields else None
        self._in_client = ClientMode(self.scoring, attention, text_fields)
        self._in_cluster = ClusterMode(self.scoring)
        self._budget = None if budget_ms is None else budget_ms / 1000
        self._takes_scripts = True

    def search(self, request: SearchRequest) -> Steps[Response]:
        """Course of a search: reranked, or the caller's own and why."""
        try:
            ranked, why = (yield from self._ranked(request, (yield from self._asked(request)))), None
            self.breaker.succeeded()
        except RerankSkipped as left:
            response = left.response or (yield request.search())
            ranked, why = RankedResponse(response, "none", ()), str(left)
            self._count_failure(counts=left.failed)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            why = error_reason(error) if isinstance(error, TransportError) else f"{type(error).__name__}: {error}"
            ranked = RankedResponse((yield from self._instead(request)), "none", ())
            _log.warning("The search was not reranked: %s", why)
        self.counts["reranked" if why is None else "left_alone"] += 1
        report: dict[str, Any] = {"reranked": why is None, "mode": ranked.mode, "signals": [*ranked.signals]}
        report["reason"] = why or ranked.note
        return {**ranked.response, "anthem": {**report, "took_ms": round(request.seconds * 1000, 3)}}

    def _instead(self, request: SearchRequest) -> Steps[Response]:
        """The plain search after a failure, which counts unless the caller's own body is to blame."""
        own = False
        try:
            response: Response = yield request.search()
        except TransportError as error:
            own = isinstance(error.status_code, int) and 400 <= error.status_code < 500
            raise
        finally:
            self._count_failure(counts=not own)
        return response

    def _count_failure(self, *, counts: bool) -> None:
        if counts:
            self.counts["failed"] += 1
            self.breaker.failed()

    def _asked(self, request: SearchRequest) -> Steps[EncodedRequest]:
        if request.mode == "none":
            raise RerankSkipped("reranking was not asked for")
        misplaced = sorted(_SHAPING & request.options.keys())
        if misplaced:
            raise RerankSkipped(f"`{misplaced[0]}` stands outside the body; it belongs into it")
        if hidden := sorted((request.options.get("params") or {}).keys() - _HARMLESS):
            raise RerankSkipped(f"`{hidden[0]}` stands in `params`; give it as an argument, or in the body")
        text = request.text if request.text is not None else find_query_text(request.body, self._query_path)
        if text is None and request.region is None:
            raise RerankSkipped(NO_QUERY_TEXT_REASON)
        if refused := self.breaker.refusal():
            raise RerankSkipped(refused)
        budget = TimeBudget(self._budget)
        asked = _phrases(text, operators=request.operators)
        query = request.region or (
            yield ComputeStep(lambda: budget.spend(lambda: unite_queries(map(self.encode, asked))))
        )
        if query is None:
            raise RerankSkipped(NO_WORDS_REASON)
        if budget.over:
            raise RerankSkipped(str(budget))
        return EncodedRequest(text, asked, query, budget)

    def _ranked(self, request: SearchRequest, asked: EncodedRequest) -> Steps[RankedResponse]:
        """Course of a search by the script, or in the client where that cannot be had and the mode is `cluster`."""
        refused = None if request.mode == "client" else hyperboloid_limit_reason(asked.query)
        if request.mode != "client" and refused is None and self._takes_scripts:
            try:
                return (yield from self._in_cluster.ranked(request, asked))
            except ScriptForbiddenError:
                self._takes_scripts = False
        if request.mode in ("filter", "retrieve"):
            raise RerankSkipped(refused or f"the cluster does not take the script that {request.mode} mode needs")
        return replace((yield from self._in_client.ranked(request, asked)), note=refused)


def _phrases(text: str | None, *, operators: bool) -> list[str]:
    if text is None:
        return []
    return split_phrases(text) if operators else [text]
