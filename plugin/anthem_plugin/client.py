"""The clients that send: a search that is reranked, or the caller's own search and why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from anthem_plugin.modes import DEFAULT_WINDOW, Filter, ModeName, Retrieve
from anthem_plugin.search.flow import SearchFlow
from anthem_plugin.search.request import ComputeStep, Response, SearchRequest, SendStep, Steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import AsyncOpenSearch, OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.regions import Region
    from anthem_core.opensearch.schema import VectorFields
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.circuit_breaker import CircuitBreaker

__all__ = ["AnthemClient", "AsyncAnthemClient", "Filter", "ModeName", "Response", "Retrieve"]

T = TypeVar("T")


class _Client:
    """What both clients have in common: how they are made, and what can be observed."""

    def __init__(  # noqa: PLR0913 (an argument a setting)
        self,
        client: Any,  # noqa: ANN401 (each of the two names its own)
        encoder: Encoder,
        *,
        fields: VectorFields | None = None,
        query_path: str | None = None,
        text_fields: Sequence[str] = ("title",),
        budget_ms: float | None = None,
        cache: int = 1024,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._client = client
        self._reranker = SearchFlow(
            encoder,
            fields=fields,
            query_path=query_path,
            text_fields=text_fields,
            budget_ms=budget_ms,
            cache=cache,
            breaker=breaker,
        )

    @property
    def scoring(self) -> ScoringParams:
        """What hits are scored by."""
        return self._reranker.scoring

    def stats(self) -> dict[str, Any]:
        """Counts since the start: searches reranked, left alone and failed, the cache's, and the breaker's state."""
        cached = self._reranker.encode.cache_info()
        cache = {"hits": cached.hits, "misses": cached.misses, "size": cached.currsize}
        breaker = "open" if self._reranker.breaker.open else "closed"
        return {**self._reranker.counts, "cache": cache, "breaker": breaker}

    def _course(
        self,
        index: str | None,
        body: Mapping[str, Any],
        query_text: str | None,
        mode: ModeName | Filter | Retrieve,
        window: int,
        options: dict[str, Any],
        **asked: Any,  # noqa: ANN401 (`operators` and `region`)
    ) -> Steps[Response]:
        if isinstance(mode, Filter):
            mode, asked["filter"] = "filter", mode
        elif isinstance(mode, Retrieve):
            mode, asked["retrieve"] = "retrieve", mode
        elif mode not in get_args(ModeName):
            raise ValueError(f"mode is {mode!r}; one of {', '.join(get_args(ModeName))} was wanted")
        if window < 1:
            raise ValueError(f"window is {window}; 1 or more was wanted")
        timeout = self._client.transport.kwargs.get("timeout", 10)  # opensearch-py's own where none was given
        return self._reranker.search(SearchRequest(index, body, options, timeout, query_text, mode, window, **asked))


class AnthemClient(_Client):
    """Searches an OpenSearch cluster and reranks the window; safe to share between threads.

    `query_path` names where application bodies keep the query text, such as `query.bool.must.0.match.title.query`;
    `text_fields` names the fields that were ingested, in their order. With a bundle that has an attention graph, client
    mode ranks by attention too; where no product has a vector, by the lexical score and attention alone.

    `budget_ms` bounds encoding and scoring, the work of this process, not the cluster's; attention is left out where it
    would take longer. `cache` is the number of encoded queries that are kept. `breaker` leaves searches plain for a
    while after several failures in a row, five and 30 seconds if none is given.

    Raises BundleError when the encoder's bundle has no fusion weights.
    """

    _client: OpenSearch

    def search(
        self,
        index: str | None,
        body: Mapping[str, Any],
        *,
        query_text: str | None = None,
        mode: ModeName | Filter | Retrieve = "cluster",
        window: int = DEFAULT_WINDOW,
        operators: bool = False,
        region: Region | None = None,
        **options: object,
    ) -> Response:
        """Response of opensearch-py, with `anthem: {reranked, mode, signals, reason, took_ms}` beside the hits.

        `mode` is a name, or a `Filter` or `Retrieve` with what can be set there: `mode=Filter(slack=0)`. In filter mode
        `reranked` says that the filter was applied; the order is the caller's own.

        With `operators` an OR between phrases of the query text asks for either. A `region`, joined from queries of the
        encoder by `|` and `&`, takes the place of the text's own; attention still asks for the text. Where there are
        more hyperboloids than the script takes, the client ranks and `reason` says so.

        Where reranking fails the caller's own body is sent once more, and `reason` says why; `mode` and `signals` are
        what ranked the hits, no signals where the caller's own search did. `options` go with every request, such as
        `routing` and `preference`; `request_timeout`, or the time-out of the client given, bounds all of it.

        Raises:
            ValueError: There is no such mode, or the window is empty.
            opensearchpy.exceptions.OpenSearchException: The caller's own search fails.
        """
        return self._follow(
            self._course(index, body, query_text, mode, window, options, operators=operators, region=region)
        )

    def _follow(self, course: Steps[T]) -> T:
        """Do each step of a course, tell it the answer or the failure, and return what it ends with."""
        try:
            step = next(course)
            while True:
                try:
                    answer = self._do(step)
                except Exception as error:  # noqa: BLE001 (the course decides)
                    step = course.throw(error)
                else:
                    step = course.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: SendStep | ComputeStep) -> Any:  # noqa: ANN401 (what opensearch-py answers)
        if isinstance(step, ComputeStep):
            return step.run()
        return getattr(self._client, step.method)(**step.arguments)


class AsyncAnthemClient(_Client):
    """The twin of `AnthemClient` around an `AsyncOpenSearch`, with the same arguments; computes in a thread.

    Raises BundleError when the encoder's bundle has no fusion weights.
    """

    _client: AsyncOpenSearch

    async def search(
        self,
        index: str | None,
        body: Mapping[str, Any],
        *,
        query_text: str | None = None,
        mode: ModeName | Filter | Retrieve = "cluster",
        window: int = DEFAULT_WINDOW,
        operators: bool = False,
        region: Region | None = None,
        **options: object,
    ) -> Response:
        """As `AnthemClient.search`, awaited.

        Raises:
            ValueError: There is no such mode, or the window is empty.
            opensearchpy.exceptions.OpenSearchException: The caller's own search fails.
        """
        return await self._follow(
            self._course(index, body, query_text, mode, window, options, operators=operators, region=region)
        )

    async def _follow(self, course: Steps[T]) -> T:
        """As `AnthemClient._follow`, awaiting each step."""
        try:
            step = next(course)
            while True:
                try:
                    answer = await self._do(step)
                except Exception as error:  # noqa: BLE001 (the course decides)
                    step = course.throw(error)
                else:
                    step = course.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: SendStep | ComputeStep) -> Any:  # noqa: ANN401 (what opensearch-py answers)
        if isinstance(step, ComputeStep):
            return await asyncio.to_thread(step.run)
        return await getattr(self._client, step.method)(**step.arguments)
