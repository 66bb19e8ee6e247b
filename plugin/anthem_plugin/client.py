"""The search clients: they send a search and rerank its hits, or return the plain search with the reason."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_plugin.modes import DEFAULT_WINDOW, resolve_mode
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.flow import SearchFlow
from anthem_plugin.search.request import ComputeStep, IndexProfile, Response, SearchRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opensearchpy import AsyncOpenSearch, OpenSearch

    from anthem_core.geometry.regions import Region
    from anthem_plugin.modes import RerankMode
    from anthem_plugin.search.request import SendStep, Steps

DEFAULT_TIMEOUT_SECONDS = 10  # opensearch-py's default

T = TypeVar("T")
SearchResult = TypeVar("SearchResult")  # a response, or a coroutine that returns it
ProfileResult = TypeVar("ProfileResult")


class _SearchClient(ABC, Generic[SearchResult, ProfileResult]):
    """What both clients share: everything except how the steps of a search are executed."""

    _is_async: ClassVar[bool]

    def __init__(
        self,
        client: Any,  # noqa: ANN401 (each subclass narrows it)
        encoder: Encoder,
        options: ClientOptions | None = None,
    ) -> None:
        _check_client(client, is_async=self._is_async)
        self._client = client
        self._flow = SearchFlow(encoder, options or ClientOptions())

    @classmethod
    def from_bundle(
        cls,
        client: Any,  # noqa: ANN401 (each subclass narrows it)
        bundle: str | Path = "general",
        options: ClientOptions | None = None,
    ) -> Self:
        """Client that ranks with a bundle: the path of its folder, or the name of one that is installed.

        Raises:
            BundleError: The bundle cannot be used.
        """
        return cls(client, Encoder(load_bundle(bundle)), options)

    def search(
        self,
        index: str | None,
        body: Mapping[str, Any],
        *,
        query_text: str | None = None,
        mode: RerankMode = "cluster",
        window: int = DEFAULT_WINDOW,
        operators: bool = False,
        region: Region | None = None,
        **options: object,
    ) -> SearchResult:
        """Response of opensearch-py with the additional key `anthem: {reranked, mode, signals, reason, took_ms}`.

        `reranked` is true only if a signal of the model tells at least two hits of the window apart; otherwise the
        response is the plain one, and `reason` says why. If reranking fails, the caller's own body is sent once more.
        In filter mode `reranked` means that the filter was applied; the order stays the caller's.

        Args:
            index: Index, alias or pattern, as opensearch-py takes it.
            body: Search body; it is not changed.
            query_text: What the user typed; by default it is read from the body.
            mode: `cluster`, `client`, `filter`, `retrieve` or `none`, or a `Filter` or `Retrieve` with options.
            window: Number of lexical hits to rerank; in cluster mode, per shard.
            operators: Whether OR between phrases of the query text means either phrase.
            region: Region to rank by instead of the text's own, such as `encode_query("a") & encode_query("b")`;
                attention still uses the text.
            options: Passed on with every request, such as `routing`, `preference` and `request_timeout`.

        Raises:
            ValueError: The mode does not exist, or the window is below 1.
            opensearchpy.exceptions.OpenSearchException: The plain search fails.
        """
        resolved_mode = resolve_mode(mode)
        if window < 1:
            raise ValueError(f"window is {window}; expected 1 or more")
        request = SearchRequest(
            index, body, options, self._timeout, query_text, resolved_mode, window, operators, region
        )
        result: SearchResult = self._run(self._flow.search(request))
        return result

    def profile(self, index: str) -> ProfileResult:
        """What the client discovered about an index: parameters of the scores, text fields, signals of the model.

        Raises:
            opensearchpy.exceptions.OpenSearchException: The cluster does not answer.
        """
        result: ProfileResult = self._run(self._flow.profiles.read(SearchRequest(index, {}, {}, self._timeout)))
        return result

    def stats(self) -> dict[str, Any]:
        """Counts of searches, the query cache, the circuit breaker, script support, and what was found per index.

        `skipped` counts all searches that were not reranked, those that failed and those of mode `none` included.
        """
        return self._flow.stats()

    @property
    def _timeout(self) -> float | None:
        timeout: float | None = self._client.transport.kwargs.get("timeout", DEFAULT_TIMEOUT_SECONDS)
        return timeout

    @abstractmethod
    def _run(self, steps: Steps[Any]) -> Any:  # noqa: ANN401 (the final value, or a coroutine that returns it)
        """Execute each step, pass its result or exception back, and return the final value."""


class AnthemClient(_SearchClient[Response, IndexProfile]):
    """Searches an OpenSearch cluster and reranks the first hits; safe to share between threads.

    At the first search of an index the client reads from its mapping which of the model's values it has, and which text
    fields were ingested; `profile` and `stats` show what it found.

    Raises BundleError if the encoder's bundle has no fusion weights, and TypeError if the client is of another kind.
    """

    _client: OpenSearch
    _is_async = False

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    result = self._execute(step)
                except Exception as error:  # noqa: BLE001 (the flow decides)
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _execute(self, step: SendStep | ComputeStep) -> Any:  # noqa: ANN401 (what opensearch-py returns)
        if isinstance(step, ComputeStep):
            return step.run()
        return attrgetter(step.method)(self._client)(**step.arguments)


class AsyncAnthemClient(_SearchClient[Coroutine[Any, Any, Response], Coroutine[Any, Any, IndexProfile]]):
    """The asynchronous version of `AnthemClient`, for an `AsyncOpenSearch`: `search` and `profile` are awaited.

    It computes in a thread. Raises BundleError if the encoder's bundle has no fusion weights, and TypeError if the
    client is of another kind.
    """

    _client: AsyncOpenSearch
    _is_async = True

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._execute(step)
                except Exception as error:  # noqa: BLE001 (the flow decides)
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _execute(self, step: SendStep | ComputeStep) -> Any:  # noqa: ANN401 (what opensearch-py returns)
        if isinstance(step, ComputeStep):
            return await asyncio.to_thread(step.run)
        return await attrgetter(step.method)(self._client)(**step.arguments)


def _check_client(client: object, *, is_async: bool) -> None:
    """Check that a client of opensearch-py is of the right kind.

    Raises:
        TypeError: It is not.
    """
    search = getattr(client, "search", None)
    if search is None or inspect.iscoroutinefunction(inspect.unwrap(search)) != is_async:
        expected = "an AsyncOpenSearch" if is_async else "an OpenSearch"
        raise TypeError(f"client is a {type(client).__name__}; expected {expected} of opensearch-py")
