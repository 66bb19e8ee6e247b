"""The flow of one search as a generator: it sends nothing itself, it yields each step and receives the result.

One flow serves both clients: `AnthemClient` executes each step at once, `AsyncAnthemClient` awaits it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_phrases, encode_tables, split_query_text
from anthem_core.opensearch.connection import error_reason, is_refusal
from anthem_plugin.modes import Filter, Retrieve, mode_name
from anthem_plugin.rewriter.query_text import NO_QUERY_TEXT_REASON, NO_WORDS_REASON, find_query_text
from anthem_plugin.scoring.painless import too_many_hyperboloids_reason
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.client_mode import rank_in_client
from anthem_plugin.search.cluster_mode import rank_in_cluster
from anthem_plugin.search.discovery import IndexProfiles
from anthem_plugin.search.request import (
    ComputeStep,
    NoValuesFound,
    PreparedSearch,
    RankedResponse,
    RerankSkipped,
    ScriptForbiddenError,
)
from anthem_plugin.search.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.regions import Region
    from anthem_plugin.options import ClientOptions
    from anthem_plugin.search.request import Response, SearchRequest, Steps

SCRIPT_RETRY_SECONDS = 300.0  # after a cluster refused the script, until it is offered again

_log = logging.getLogger(__name__)
# As request options these would override the body, so the page would be cut or sorted differently.
_BODY_OPTIONS = {
    "from", "from_", "size", "sort", "q", "scroll", "stored_fields", "_source", "_source_includes", "_source_excludes"
}  # fmt: skip
# Every other key of `params` could override what the rewriter puts into the body.
_HARMLESS_PARAMS = {
    "allow_no_indices", "expand_wildcards", "ignore_unavailable", "preference", "pretty", "routing"
}  # fmt: skip


class SearchFlow:
    """Everything the searches of one client share: model, caches, circuit breaker and counts.

    Raises:
        BundleError: The encoder's bundle has no fusion weights.
    """

    def __init__(self, encoder: Encoder, options: ClientOptions) -> None:
        self.profiles = IndexProfiles(encoder.bundle, options)
        self.encode_query = lru_cache(options.cache_size)(encoder.encode_query)
        self.circuit_breaker = options.circuit_breaker or CircuitBreaker()
        self.counts = {"reranked": 0, "skipped": 0, "failed": 0}
        self._options = options
        self._attention = AttentionScorer(encoder.bundle) if encoder.bundle.has_attention else None
        self._encode_table = lru_cache(options.cache_size)(self._attention.encode_query) if self._attention else None
        self._scripts_forbidden_until = 0.0

    @property
    def scripts_forbidden(self) -> bool:
        """Whether the cluster refused the stored script recently, so that the client ranks instead."""
        return time.monotonic() < self._scripts_forbidden_until

    def stats(self) -> dict[str, Any]:
        """Counts, cache, circuit breaker, script support, and what was found out about each index.

        `skipped` counts all searches that were not reranked, those that failed and those of mode `none` included.
        """
        cache = self.encode_query.cache_info()
        return {
            **self.counts,
            "cache": {"hits": cache.hits, "misses": cache.misses, "size": cache.currsize},
            "breaker": "open" if self.circuit_breaker.open else "closed",
            "scripts": "forbidden" if self.scripts_forbidden else "allowed",
            "indices": self.profiles.to_dict(),
        }

    def search(self, request: SearchRequest) -> Steps[Response]:
        """Steps of a search; its response is reranked, or the plain one with the reason."""
        request = replace(request, started=time.perf_counter())  # a coroutine may be awaited long after it was made
        reason: str | None = None
        try:
            ranked = yield from self._rank(request)
            self.circuit_breaker.record_success()
        except RerankSkipped as skipped:
            reason = str(skipped)
            if isinstance(skipped, NoValuesFound):
                self.profiles.expire_soon(request)
            ranked = RankedResponse(skipped.response or (yield request.search_step()), "none", ())
            if skipped.failed:
                self._record_failure()
                _log_failure(reason)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            name = type(error).__name__
            reason = (error_reason(error) or name) if isinstance(error, TransportError) else f"{name}: {error}"
            ranked = RankedResponse((yield from self._search_plainly(request)), "none", ())
            _log_failure(reason)
        self.counts["reranked" if reason is None else "skipped"] += 1
        return _with_report(ranked, reason, request)

    def _search_plainly(self, request: SearchRequest) -> Steps[Response]:
        """The plain search after a failure, which is recorded unless the cluster rejects the caller's own body too."""
        is_callers_fault = False
        try:
            response: Response = yield request.search_step()
        except TransportError as error:
            is_callers_fault = is_refusal(error)
            raise
        finally:
            if not is_callers_fault:
                self._record_failure()
        return response

    def _record_failure(self) -> None:
        self.counts["failed"] += 1
        self.circuit_breaker.record_failure()

    def _rank(self, request: SearchRequest) -> Steps[RankedResponse]:
        """Rank with the script in the cluster, or in the client if the mode is `client` or no script can be used."""
        prepared = yield from self._prepare(request)
        if request.mode == "client":
            return (yield from rank_in_client(request, prepared, self._attention))
        sends_region = "containment" in prepared.profile.signals
        limit_reason = too_many_hyperboloids_reason(prepared.region) if sends_region else None
        if limit_reason is None and not self.scripts_forbidden:
            try:
                return (yield from rank_in_cluster(request, prepared))
            except ScriptForbiddenError:
                self._scripts_forbidden_until = time.monotonic() + SCRIPT_RETRY_SECONDS
        if isinstance(request.mode, Filter | Retrieve):
            raise RerankSkipped(
                limit_reason or f"the cluster does not accept the script that {mode_name(request.mode)} mode needs"
            )
        ranked = yield from rank_in_client(request, prepared, self._attention)
        return replace(ranked, note=limit_reason or ranked.note)

    def _prepare(self, request: SearchRequest) -> Steps[PreparedSearch]:
        """Find and encode the query text, and read the index's profile.

        Raises:
            RerankSkipped: The search must not or cannot be reranked.
        """
        if request.mode == "none":
            raise RerankSkipped("reranking was not requested")
        _check_options(request)
        text = request.text if request.text is not None else find_query_text(request.body, self._options.query_path)
        if text is None and request.region is None:
            raise RerankSkipped(NO_QUERY_TEXT_REASON)
        if reason := self.circuit_breaker.refusal():
            raise RerankSkipped(reason)
        budget = TimeBudget.of_milliseconds(self._options.budget_ms)
        phrases = [] if text is None else split_query_text(text, operators=request.operators)
        region, tables = yield ComputeStep(partial(self._encode, request, phrases, budget))
        profile = yield from self.profiles.read(request)
        return PreparedSearch(text, region, profile, budget, tables)

    def _encode(
        self, request: SearchRequest, phrases: Sequence[str], budget: TimeBudget
    ) -> tuple[Region, tuple[AttentionTable, ...]]:
        """Region of the phrases, unless the caller gave one, and their attention tables if there is time for them.

        Raises:
            RerankSkipped: No phrase has letters or digits, or encoding the region took too long.
        """
        region = request.region or budget.spend(partial(encode_phrases, self.encode_query, phrases))
        if region is None:
            raise RerankSkipped(NO_WORDS_REASON)
        if budget.exceeded:
            raise RerankSkipped(str(budget))
        if self._encode_table is None or isinstance(request.mode, Filter):
            return region, ()
        tables = budget.spend(partial(encode_tables, self._encode_table, phrases))
        return region, () if budget.exceeded else tables


def _check_options(request: SearchRequest) -> None:
    """Skip a search whose options would override the body.

    Raises:
        RerankSkipped: They would.
    """
    misplaced = sorted(_BODY_OPTIONS & request.options.keys())
    if misplaced:
        raise RerankSkipped(f"`{misplaced[0]}` was passed as an option; put it into the body")
    hidden = sorted((request.options.get("params") or {}).keys() - _HARMLESS_PARAMS)
    if hidden:
        place = "" if hidden[0] in _BODY_OPTIONS else "pass it as an argument, or "
        raise RerankSkipped(f"`{hidden[0]}` was passed in `params`; {place}put it into the body")


def _log_failure(reason: str) -> None:
    _log.warning("The search was not reranked: %s", reason)


def _with_report(ranked: RankedResponse, reason: str | None, request: SearchRequest) -> Response:
    report = {
        "reranked": reason is None,
        "mode": ranked.mode,
        "signals": [*ranked.signals],
        "reason": reason or ranked.note,
        "took_ms": round(request.elapsed_seconds * 1000, 3),
    }
    return {**ranked.response, "anthem": report}
