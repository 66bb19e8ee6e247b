"""The flow of one search as a generator: it sends nothing itself, it yields each step and receives the result.

One flow serves both clients: `AnthemClient` executes each step at once, `AsyncAnthemClient` awaits it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from opensearchpy.exceptions import TransportError

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_phrases, encode_tables, split_query_text
from anthem_core.opensearch.connection import error_reason
from anthem_plugin.modes import Filter, Retrieve, mode_name
from anthem_plugin.query_cache import QueryCache
from anthem_plugin.rewriter.body import body_refusal_reason, hides_values_unranked
from anthem_plugin.rewriter.inner_hits import KEYS_BESIDE_HITS, hide_all_values
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON, find_query_text, missing_text_reason
from anthem_plugin.rewriter.rescore import (
    MAX_RESCORE_WINDOW,
    NO_HITS_REQUESTED_REASON,
    page_bounds,
    requests_no_hits,
)
from anthem_plugin.rewriter.returned_fields import strip_returned_fields
from anthem_plugin.rewriter.validity import invalid_body_reason
from anthem_plugin.scoring.painless import too_many_hyperboloids_reason
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.client_mode import rank_in_client
from anthem_plugin.search.cluster_mode import rank_in_cluster
from anthem_plugin.search.discovery import IndexProfiles
from anthem_plugin.search.refusals import (
    RefusalMemory,
    Refusals,
    ScriptForbiddenError,
    find_refusals,
    is_callers_error,
    is_failure,
)
from anthem_plugin.search.request import (
    NO_INDEX_REASON,
    RERANK_TIME_SHARE,
    ComputeStep,
    NoValuesFound,
    PreparedSearch,
    RankedResponse,
    RerankSkipped,
    ShardsFailed,
    index_name,
    no_hits_reason,
)
from anthem_plugin.search.request_options import misplaced_option_reason
from anthem_plugin.search.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.regions import EncodedQuery, Region
    from anthem_plugin.options import ClientOptions
    from anthem_plugin.search.request import Response, SearchRequest, Steps
    from anthem_plugin.search.title_explanation import TitleExplainer

_log = logging.getLogger(__name__)


class SearchFlow:
    """Everything the searches of one client share: model, caches, circuit breaker and counts.

    Raises:
        BundleError: The encoder's bundle has no fusion weights.
    """

    def __init__(self, encoder: Encoder, options: ClientOptions) -> None:
        self.profiles = IndexProfiles(encoder.bundle, options)
        self.encode_query = QueryCache(encoder.encode_query, options.cache_size)
        self.circuit_breaker = options.circuit_breaker or CircuitBreaker()
        self.counts = {"reranked": 0, "skipped": 0, "failed": 0}
        self._options = options
        self._encoder = encoder
        self._coordinates = encoder.bundle.dimension + 1
        self._attention = AttentionScorer(encoder.bundle) if encoder.bundle.has_attention else None
        self._encode_table = QueryCache(self._attention.encode_query, options.cache_size) if self._attention else None
        self.refusals = RefusalMemory()

    def stats(self) -> dict[str, Any]:
        """Counts, cache, circuit breaker, what the cluster refuses, and what was found out about each index.

        `skipped` counts all searches that were not reranked, including those that failed and those of mode `none`.
        """
        cache = self.encode_query.cache_info()
        return {
            **self.counts,
            "cache": {"hits": cache.hits, "misses": cache.misses, "size": cache.currsize},
            "breaker": "open" if self.circuit_breaker.open else "closed",
            "scripts": "forbidden" if self.refusals.script else "allowed",
            "refusals": self.refusals.to_list(),
            "indices": self.profiles.to_dict(),
        }

    def search(self, request: SearchRequest) -> Steps[Response]:
        """Steps of a search; its response is reranked, or the plain one with the reason."""
        request = replace(request, started=time.perf_counter())  # a coroutine may be awaited long after it was made
        ranked = yield from self._try_to_rank(request)
        if isinstance(ranked, RankedResponse):
            self.counts["reranked"] += 1
            return _with_report(ranked, None, request)
        response = yield from self._answer_plainly(request, ranked)
        self.counts["skipped"] += 1
        reason = _nothing_found_reason(request, response) if isinstance(ranked, NoValuesFound) else None
        return _with_report(RankedResponse(response, "none", ()), reason or _reason(ranked), request)

    def _try_to_rank(self, request: SearchRequest) -> Steps[RankedResponse | Exception]:
        """The ranked response, or why there is none, as a value: the plain search's own error has no other context."""
        try:
            ranked = yield from self._rank_or_hide(request)
            self.circuit_breaker.record_success()
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            return error
        return ranked

    def _answer_plainly(self, request: SearchRequest, obstacle: Exception) -> Steps[Response]:
        """The plain response of a search that was not reranked; an error is counted and logged if it is a failure."""
        if not isinstance(obstacle, RerankSkipped):
            response = yield from self._search_plainly(request, is_failure(obstacle))
            _log_failure(_reason(obstacle))
            return response
        if isinstance(obstacle, NoValuesFound):
            self.profiles.expire_soon(request)
        response = obstacle.response or (yield request.search_step())
        if obstacle.failed:
            self._record_failure()
        if obstacle.failed or isinstance(obstacle, ShardsFailed):
            _log_failure(_reason(obstacle))
        return response

    def _search_plainly(self, request: SearchRequest, failed: bool) -> Steps[Response]:
        """The plain search after an error, which is recorded if it is a failure and not the caller's own error."""
        try:
            response: Response = yield request.search_step()
        except Exception as error:
            if not is_callers_error(error):
                self._record_failure()
            raise
        if failed:
            self._record_failure()
        return response

    def _record_failure(self) -> None:
        self.counts["failed"] += 1
        self.circuit_breaker.record_failure()

    def _rank_or_hide(self, request: SearchRequest) -> Steps[RankedResponse]:
        """Rank; a search that its body leaves unranked may still hide the model's values."""
        try:
            return (yield from self._rank(request))
        except RerankSkipped as skipped:
            if skipped.response is None and _hides_values(request):
                skipped.response = yield from self._search_and_hide(request)
            raise

    def _rank(self, request: SearchRequest) -> Steps[RankedResponse]:
        """Rank within what the cluster is known to refuse; after a refusal that is new, rank once more within it."""
        prepared = yield from self._prepare(request)
        index = index_name(request.index) if request.index else "the index"
        of_body = Refusals()
        while True:
            known = self.refusals.known(index).joined(of_body)
            try:
                ranked = yield from self._rank_within(request, replace(prepared, refusals=known))
                shown = strip_returned_fields(ranked.response, request.body, prepared.profile.scoring.fields)
                ranked = replace(ranked, response=shown)
                return ranked.with_note(known.window_note(ranked.mode, request.window, index))
            except (TransportError, ShardsFailed, ScriptForbiddenError) as error:
                fetched = MAX_RESCORE_WINDOW if isinstance(request.mode, Retrieve) else request.window
                found = find_refusals(error)
                self.refusals.learn(index, found.of_search(fetched, request.body))
                of_body = of_body.joined(found.of_body())
                if self.refusals.known(index).joined(of_body) == known:
                    raise

    def _rank_within(self, request: SearchRequest, prepared: PreparedSearch) -> Steps[RankedResponse]:
        """Rank with the script in the cluster, or in the client if the mode is `client` or no script can be used."""
        if request.mode == "client":
            return (yield from rank_in_client(request, prepared, self._attention))
        sends_region = "containment" in prepared.profile.signals
        limit_reason = too_many_hyperboloids_reason(prepared.region) if sends_region else None
        script_reason = prepared.refusals.script
        if limit_reason is None and script_reason is None:
            return (yield from rank_in_cluster(request, prepared))
        if isinstance(request.mode, Filter | Retrieve):
            needed = f"the cluster does not accept the script that {mode_name(request.mode)} mode needs"
            raise RerankSkipped(limit_reason or f"{needed} ({script_reason})")
        ranked = yield from rank_in_client(request, prepared, self._attention)
        return ranked.with_note(limit_reason or f"the cluster does not accept the script ({script_reason})")

    def _prepare(self, request: SearchRequest) -> Steps[PreparedSearch]:
        """Find and encode the query text, and read the index's profile.

        Raises:
            RerankSkipped: The search must not or cannot be reranked.
        """
        if request.mode == "none":
            raise RerankSkipped("reranking was not requested")
        _check_request(request)
        if requests_no_hits(request.body) and not isinstance(request.mode, Filter):
            raise RerankSkipped(NO_HITS_REQUESTED_REASON)
        text = self.query_text(request)
        if text is None and request.region is None:
            no_text_reason = missing_text_reason(request.body, request.query_path or self._options.query_path)
            raise RerankSkipped(body_refusal_reason(request.body, request.mode) or no_text_reason)
        if reason := self.circuit_breaker.refusal():
            raise RerankSkipped(reason)
        budget = TimeBudget.of_milliseconds(self._options.budget_ms)
        phrases = [] if text is None else split_query_text(text, operators=request.operators)
        region, tables = yield ComputeStep(partial(self._encode, request, phrases, budget))
        profile = yield from self.profiles.read(request)
        return PreparedSearch(text, region, profile, budget, tables)

    def _search_and_hide(self, request: SearchRequest) -> Steps[Response | None]:
        """Response to the body without the model's values; None if it returns no products beside its hits."""
        if not request.body.keys() & KEYS_BESIDE_HITS:
            return None
        profile = yield from self.profiles.read(request)
        if not profile.signals and not profile.text_fields:  # the index may keep no `_source` to filter
            return None
        fields = profile.scoring.fields
        body = hide_all_values(request.body, fields)
        response: Response = yield request.search_step(body, RERANK_TIME_SHARE)
        return strip_returned_fields(response, request.body, fields)

    def query_text(self, request: SearchRequest) -> str | None:
        """The text of a request: the caller's, or the one in the body; None if there is none."""
        if request.text is not None:
            return request.text
        return find_query_text(request.body, request.query_path or self._options.query_path)

    @cached_property
    def explainer(self) -> TitleExplainer:
        """Explains titles with the model of the searches; made at first use, because no search needs it."""
        from anthem_plugin.search.title_explanation import TitleExplainer

        return TitleExplainer(self._encoder.bundle, self._encoder)

    def _encode(
        self, request: SearchRequest, phrases: Sequence[str], budget: TimeBudget
    ) -> tuple[Region, tuple[AttentionTable, ...]]:
        """Region of the phrases, unless the caller gave one, and their attention tables if there is time for them.

        Raises:
            RerankSkipped: No phrase has letters or digits, the caller's region is of another bundle, or encoding took
                too long.
        """
        region = request.region or budget.spend(partial(encode_phrases, self.encode_query, phrases))
        if region is None:
            raise RerankSkipped(body_refusal_reason(request.body, request.mode) or NO_WORDS_REASON)
        if not all(_is_query_of(query, self._coordinates) for query in region.queries()):
            raise RerankSkipped("the region is not one that the encoder of this client's bundle returns")
        if budget.exceeded:
            raise RerankSkipped(str(budget))
        if self._encode_table is None or isinstance(request.mode, Filter):
            return region, ()
        tables = budget.spend(partial(encode_tables, self._encode_table, phrases))
        return region, () if budget.exceeded else tables


def _is_query_of(query: EncodedQuery, coordinates: int) -> bool:
    """Whether a query has hyperboloids `(K, D+1)` of a bundle with so many coordinates, all numbers finite."""
    count = len(query.centres)
    shapes = query.centres.shape[1:], query.limits.shape, query.weights.shape
    if shapes != ((coordinates,), (count, coordinates - 1), (count,)) or not (query.weights > 0).any():
        return False
    return all(bool(np.isfinite(values).all()) for values in (query.centres, query.limits, query.weights))


def _check_request(request: SearchRequest) -> None:
    """Skip a search with a text or a body of the wrong type, or with options that would override the body.

    Raises:
        RerankSkipped: It has.
    """
    if request.text is not None and not isinstance(request.text, str):
        raise RerankSkipped(f"the query text is of type {type(request.text).__name__}; only a str can be encoded")
    if reason := invalid_body_reason(request.body):
        raise RerankSkipped(reason)
    if reason := misplaced_option_reason(request.options):
        raise RerankSkipped(reason)


def _hides_values(request: SearchRequest) -> bool:
    """Whether a search hides the model's values although it is not ranked; an option could override the body's size."""
    if request.mode == "none" or misplaced_option_reason(request.options):
        return False
    return hides_values_unranked(request.body, request.mode)


def _reason(obstacle: Exception) -> str:
    """Why a search was not reranked, in a sentence."""
    if isinstance(obstacle, RerankSkipped):
        return str(obstacle)
    name = type(obstacle).__name__
    return (error_reason(obstacle) or name) if isinstance(obstacle, TransportError) else f"{name}: {obstacle}"


def _nothing_found_reason(request: SearchRequest, response: Response) -> str | None:
    """Why a plain search has no hits at all, whose values could not be missing then; None if it has some."""
    reason, found = no_hits_reason(response), response.get("hits", {}).get("hits")
    is_empty = found == [] and page_bounds(request.body)[1] > 0 and not isinstance(request.mode, Retrieve)
    return reason if is_empty or reason == NO_INDEX_REASON else None


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
