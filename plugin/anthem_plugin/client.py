"""The search clients: they send a search and rerank its hits, or return the plain search with the reason."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_plugin.modes import default_window, resolve_mode
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.json_arrays import tuples_as_lists
from anthem_plugin.search.flow import SearchFlow
from anthem_plugin.search.multi_search import SearchItem, read_searches, run_together, texts_of_searches
from anthem_plugin.search.request import ComputeStep, IndexProfile, Response, SearchRequest
from anthem_plugin.search.search_template import search_by_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from opensearchpy import AsyncOpenSearch, OpenSearch

    from anthem_core.geometry.regions import Region
    from anthem_plugin.modes import RerankMode
    from anthem_plugin.rewriter.query_text import QueryPath
    from anthem_plugin.search.hit_explanation import HitExplanation  # noqa: F401 (named in the bases of the clients)
    from anthem_plugin.search.request import SendStep, Steps

DEFAULT_TIMEOUT_SECONDS = 10  # opensearch-py's default

T = TypeVar("T")
SearchResult = TypeVar("SearchResult")  # a response, or a coroutine that returns it
ProfileResult = TypeVar("ProfileResult")
ExplainResult = TypeVar("ExplainResult")


class _SearchClient(ABC, Generic[SearchResult, ProfileResult, ExplainResult]):
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
        self._window = default_window(encoder.bundle)

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

    def search(  # noqa: PLR0913 (one argument per option)
        self,
        index: str | None,
        body: Mapping[str, Any],
        *,
        query_text: str | None = None,
        query_path: QueryPath | None = None,
        mode: RerankMode = "cluster",
        window: int | None = None,
        operators: bool = False,
        region: Region | None = None,
        **options: object,
    ) -> SearchResult:
        """Response of opensearch-py with the additional key `anthem: {reranked, mode, signals, reason, took_ms}`.

        `reranked` is true only if a signal of the model differs between at least two hits of the window; otherwise the
        response is the plain one, and `reason` says why. If reranking fails, the client sends the caller's own body.
        In filter mode, `reranked` means that the filter was applied; the order stays the caller's.

        Args:
            index: Index, alias or pattern, as opensearch-py takes it.
            body: Search body; it is not changed.
            query_text: What the user typed; defaults to the text that the client finds in the body.
            query_path: Path of the query text in the body, or several; defaults to that of the options.
            mode: `cluster`, `client`, `filter`, `retrieve` or `none`, or a `Filter` or `Retrieve` with options.
            window: Number of lexical hits to rerank; in cluster mode, per shard. Defaults to the bundle's, or 100.
            operators: Whether `OR` in the query text means the union of the phrases around it.
            region: Region to rank by instead of the text's own, such as `encode_query("a") & encode_query("b")`;
                attention still uses the text.
            options: Options of every request, such as `routing`, `preference` and `request_timeout`.

        Raises:
            ValueError: The mode does not exist, the window is below 1, `request_timeout` is negative or above
                1,000,000,000, or both of `query_text` and `query_path` are given.
            TypeError: The window, the operators, the region or the time-out have the wrong type.
            opensearchpy.exceptions.OpenSearchException: The plain search fails.
        """
        request = self._request(
            index, body, query_text=query_text, query_path=query_path, mode=mode, window=window, operators=operators,
            region=region, **options,
        )  # fmt: skip
        result: SearchResult = self._run(self._flow.search(request))
        return result

    def msearch(
        self,
        body: object,
        index: str | None = None,
        *,
        query_text: str | Sequence[str | None] | None = None,
        **arguments: Any,  # noqa: ANN401 (those of `search`)
    ) -> SearchResult:
        """Response of opensearch-py's `msearch`; every search in it has its own key `anthem`, as `search` returns it.

        If a search fails, its own response has the error. One `_msearch` sends all searches that are reranked, another
        all others, and a third those that need a second request.

        Args:
            body: Header and body of each search, in any form that opensearch-py takes.
            index: Index of the searches whose header names none.
            query_text: What the user typed: one text for all searches, or a text or None for each. Defaults to the
                texts that the client finds in the bodies.
            arguments: Arguments and options of `search`, for all searches; `filter_path` is not supported.

        Raises:
            ValueError: The body is not a header and a body per search, or the number of texts is wrong; or as in
                `search`.
            TypeError: The body or a header has the wrong type; or as in `search`.
            opensearchpy.exceptions.OpenSearchException: OpenSearch answers none of the searches.
        """
        if "filter_path" in arguments:
            raise ValueError("filter_path would remove what the hits are ranked by; leave it out of a multi-search")
        searches = read_searches(body)
        items = []
        for (header, sent), text in zip(searches, texts_of_searches(query_text, len(searches)), strict=True):
            keys = frozenset(header)
            request = self._request(header.pop("index", index), sent, query_text=text, **arguments)
            request = replace(request, options=request.options | header)
            items.append(SearchItem(self._flow.search(request), request.body, keys, index))
        result: SearchResult = self._run(run_together(items))
        return result

    def search_template(
        self,
        body: Mapping[str, Any] | str | bytes,
        index: str | None = None,
        **arguments: Any,  # noqa: ANN401 (those of `search`)
    ) -> SearchResult:
        """Response of `search` for a search template, which is rendered first: one request more than `search`.

        If the template cannot be rendered, the search is plain, and `reason` says why.

        Args:
            body: Search template: `id` or `source`, and `params`; as a dict, or as its JSON.
            index: Index, alias or pattern.
            arguments: Arguments and options of `search`.

        Raises:
            ValueError: As in `search`.
            TypeError: As in `search`.
            opensearchpy.exceptions.OpenSearchException: The plain search fails.
        """
        request = self._request(index, body, **arguments)
        result: SearchResult = self._run(search_by_template(self._flow, request))
        return result

    def explain(
        self,
        index: str | None,
        body: Mapping[str, Any],
        id: str,  # noqa: A002 (OpenSearch's name)
        **arguments: Any,  # noqa: ANN401 (those of `search`)
    ) -> ExplainResult:
        """Why a product has its place in a search: both ranks, its attention grid, region, and the parts of its score.

        The parts add up to the `_score` with which `search` returns the product. What is missing is None, and `notes`
        say why: the product is below the window, does not match, or lacks values, or the search is not reranked. Costs
        three searches, and counts as one in `stats`.

        Args:
            index: Index, alias or pattern.
            body: Search body, as for `search`.
            id: Id of the product.
            arguments: Arguments and options of `search`; `filter_path` is not supported.

        Raises:
            ValueError: The id is empty, or `filter_path` is set; or as in `search`.
            TypeError: The id is not a string; or as in `search`.
            opensearchpy.exceptions.OpenSearchException: The plain search fails.
        """
        from anthem_plugin.search.explain_flow import check_explained, explain_hit

        check_explained(body, id, arguments)
        request = self._request(index, body, **arguments)
        result: ExplainResult = self._run(explain_hit(self._flow, request, id))
        return result

    def _request(  # noqa: PLR0913 (one argument per option)
        self,
        index: str | None,
        body: Any,  # noqa: ANN401 (the flow checks it)
        *,
        query_text: str | None = None,
        query_path: QueryPath | None = None,
        mode: RerankMode = "cluster",
        window: int | None = None,
        operators: bool = False,
        region: Region | None = None,
        **options: object,
    ) -> SearchRequest:
        if query_text is not None and query_path is not None:
            raise ValueError("query_text and query_path both say what the query text is; give one of them")
        return SearchRequest(
            index, tuples_as_lists(body), options, self._timeout, query_text, resolve_mode(mode),
            self._window if window is None else window, operators, region, query_path,
        )  # fmt: skip

    def profile(self, index: str) -> ProfileResult:
        """What the client discovered about an index: parameters of the scores, text fields, signals of the model.

        Raises:
            opensearchpy.exceptions.OpenSearchException: The cluster does not answer.
        """
        result: ProfileResult = self._run(self._flow.profiles.read(SearchRequest(index, {}, {}, self._timeout)))
        return result

    def stats(self) -> dict[str, Any]:
        """Counts of searches, state of query cache and circuit breaker, refusals of the cluster, profiles of indices.

        `skipped` counts all searches that were not reranked, including those that failed and those of mode `none`.
        """
        return self._flow.stats()

    @property
    def _timeout(self) -> float | None:
        timeout: float | None = self._client.transport.kwargs.get("timeout", DEFAULT_TIMEOUT_SECONDS)
        return timeout

    @abstractmethod
    def _run(self, steps: Steps[Any]) -> Any:  # noqa: ANN401 (the final value, or a coroutine that returns it)
        """Execute each step, pass its result or exception back, and return the final value."""


class AnthemClient(_SearchClient[Response, IndexProfile, "HitExplanation"]):
    """Searches an OpenSearch cluster and reranks the first hits; safe to share between threads.

    At the first search of an index, the client reads from the mapping which of the model's values the index has, and
    which text fields were ingested; `profile` and `stats` show what it found.

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


class AsyncAnthemClient(
    _SearchClient[
        Coroutine[Any, Any, Response], Coroutine[Any, Any, IndexProfile], "Coroutine[Any, Any, HitExplanation]"
    ]
):
    """The asynchronous version of `AnthemClient`, for an `AsyncOpenSearch`; await every method that sends requests.

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
