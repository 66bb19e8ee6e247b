"""The course of one search, which sends nothing itself: it yields what is to be done and is told what came of it.

One course serves both clients: `AnthemClient` does each step at once, `AsyncAnthemClient` awaits it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.attention import Attention
from anthem_core.cluster import reason
from anthem_core.sets import either, phrases
from anthem_plugin.breaker import Breaker, Budget
from anthem_plugin.in_client import InClient
from anthem_plugin.in_cluster import InCluster
from anthem_plugin.painless import too_many
from anthem_plugin.rewrite import NO_TEXT, NO_WORDS, query_text
from anthem_plugin.scoring import Scoring
from anthem_plugin.steps import Asked, ForbiddenError, LeftAloneError, Ranked, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoder import Encoder
    from anthem_core.fields import Fields
    from anthem_plugin.steps import Course, Request, Response

_log = logging.getLogger(__name__)
# As options of the request these would override the body, and the page would be cut or sorted behind our back.
_SHAPING = {
    "from", "from_", "size", "sort", "q", "scroll", "stored_fields", "_source", "_source_includes", "_source_excludes"
}  # fmt: skip
# All that `params` may hold: what else it held would be out of sight, and override ours.
_HARMLESS = {"allow_no_indices", "expand_wildcards", "ignore_unavailable", "preference", "pretty", "routing"}


class Reranker:
    """What all searches of a client share: the model, the cache of encoded queries, the breaker and the counts."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        fields: Fields | None,
        query_path: str | None,
        text_fields: Sequence[str],
        budget_ms: float | None,
        cache: int,
        breaker: Breaker | None,
    ) -> None:
        self.scoring = Scoring.of(encoder.bundle, fields)
        self.encode = lru_cache(cache)(encoder.query)
        self.breaker = breaker or Breaker()
        self.counts = {"reranked": 0, "left_alone": 0, "failed": 0}
        self._query_path = query_path
        attention = Attention(encoder.bundle) if self.scoring.attentive and text_fields else None
        self._in_client = InClient(self.scoring, attention, text_fields)
        self._in_cluster = InCluster(self.scoring)
        self._budget = None if budget_ms is None else budget_ms / 1000
        self._takes_scripts = True

    def search(self, request: Request) -> Course[Response]:
        """Course of a search: reranked, or the caller's own and why."""
        try:
            ranked, why = (yield from self._ranked(request, (yield from self._asked(request)))), None
            self.breaker.succeeded()
        except LeftAloneError as left:
            response = left.response or (yield request.search())
            ranked, why = Ranked(response, "none", ()), str(left)
            self._count_failure(counts=left.failed)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            why = reason(error) if isinstance(error, TransportError) else f"{type(error).__name__}: {error}"
            ranked = Ranked((yield from self._instead(request)), "none", ())
            _log.warning("The search was not reranked: %s", why)
        self.counts["reranked" if why is None else "left_alone"] += 1
        report: dict[str, Any] = {"reranked": why is None, "mode": ranked.mode, "signals": [*ranked.signals]}
        report["reason"] = why or ranked.note
        return {**ranked.response, "anthem": {**report, "took_ms": round(request.seconds * 1000, 3)}}

    def _instead(self, request: Request) -> Course[Response]:
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

    def _asked(self, request: Request) -> Course[Asked]:
        if request.mode == "none":
            raise LeftAloneError("reranking was not asked for")
        misplaced = sorted(_SHAPING & request.options.keys())
        if misplaced:
            raise LeftAloneError(f"`{misplaced[0]}` stands outside the body; it belongs into it")
        if hidden := sorted((request.options.get("params") or {}).keys() - _HARMLESS):
            raise LeftAloneError(f"`{hidden[0]}` stands in `params`; give it as an argument, or in the body")
        text = request.text if request.text is not None else query_text(request.body, self._query_path)
        if text is None and request.region is None:
            raise LeftAloneError(NO_TEXT)
        if refused := self.breaker.refusal():
            raise LeftAloneError(refused)
        budget = Budget(self._budget)
        asked = _phrases(text, operators=request.operators)
        query = request.region or (yield Work(lambda: budget.spend(lambda: either(map(self.encode, asked)))))
        if query is None:
            raise LeftAloneError(NO_WORDS)
        if budget.over:
            raise LeftAloneError(str(budget))
        return Asked(text, asked, query, budget)

    def _ranked(self, request: Request, asked: Asked) -> Course[Ranked]:
        """Course of a search by the script, or in the client where that cannot be had and the mode is `cluster`."""
        refused = None if request.mode == "client" else too_many(asked.query)
        if request.mode != "client" and refused is None and self._takes_scripts:
            try:
                return (yield from self._in_cluster.ranked(request, asked))
            except ForbiddenError:
                self._takes_scripts = False
        if request.mode in ("filter", "retrieve"):
            raise LeftAloneError(refused or f"the cluster does not take the script that {request.mode} mode needs")
        return replace((yield from self._in_client.ranked(request, asked)), note=refused)


def _phrases(text: str | None, *, operators: bool) -> list[str]:
    if text is None:
        return []
    return phrases(text) if operators else [text]
