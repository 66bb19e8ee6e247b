"""What the course of a search is made of: the request, what it yields to be done, and why it ends early."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from anthem_plugin.modes import Filter, Retrieve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.geometry.regions import Region
    from anthem_plugin.modes import ModeName
    from anthem_plugin.rewriter.rescore import RewrittenBody
    from anthem_plugin.search.circuit_breaker import TimeBudget

T = TypeVar("T")
Response: TypeAlias = dict[str, Any]
Signal: TypeAlias = Literal["lexical", "containment", "attention"]

NO_HITS_REASON = "there are no hits to rerank"
_FORMING = ("filter_path", "terminate_after", "track_total_hits", "typed_keys")
RERANK_TIME_SHARE = 0.6  # of the time-out that all requests which rerank may take; the plain one has the rest


@dataclass(frozen=True, slots=True)
class SendStep:
    """A step of a course: one call of a client of opensearch-py."""

    method: Literal["search", "put_script"]
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ComputeStep:
    """A step of a course: a computation of our own."""

    run: Callable[[], Any]


Steps: TypeAlias = Generator[SendStep | ComputeStep, Any, T]


class RerankSkipped(Exception):  # noqa: N818 (a decision, not an error)
    """Why a search is not reranked, with the plain response where it is known already."""

    def __init__(self, why: str, response: Response | None = None, *, failed: bool = False) -> None:
        super().__init__(why)
        self.response = response
        self.failed = failed


class ScriptForbiddenError(Exception):
    """The cluster does not take our script."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One caller's search: every body sent for it shares its options and what is left of its time-out."""

    index: str | None
    body: Mapping[str, Any]
    options: dict[str, Any]
    timeout: float | None
    text: str | None = None
    mode: ModeName = "cluster"
    window: int = 100
    operators: bool = False
    region: Region | None = None
    filter: Filter = field(default_factory=Filter)
    retrieve: Retrieve = field(default_factory=Retrieve)
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Time since the caller asked."""
        return time.perf_counter() - self.started

    def limit(self, share: float = 1.0) -> dict[str, float]:
        """Option that ends a request when a share of the time-out is over, empty where there is no time-out.

        Raises LeftAloneError when that share is over already; all of it the plain search may use, however little.
        """
        limit = self.options.get("request_timeout") or self.timeout
        if limit is None:
            return {}
        left = limit * share - self.seconds
        if share < 1 and left <= 0:
            raise RerankSkipped("the time for reranking is over, the rest is kept for the plain search")
        return {"request_timeout": max(0.001, left)}

    def search(self, body: Mapping[str, Any] | None = None, share: float = 1.0) -> SendStep:
        """A search with a body, the caller's own if none is given."""
        body = self.body if body is None else body
        return SendStep("search", {"index": self.index, "body": body, **self.options, **self.limit(share)})

    def count(self, body: Mapping[str, Any]) -> SendStep:
        """A search for numbers alone, whatever the caller's options make of a response."""
        sent = self.search(body, RERANK_TIME_SHARE).arguments
        return SendStep("search", {name: value for name, value in sent.items() if name not in _FORMING})


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """What a search asks for: its text and the phrases of it, its hyperboloids, and what is left of our own time."""

    text: str | None
    phrases: Sequence[str]
    query: Region
    budget: TimeBudget


@dataclass(frozen=True, slots=True)
class RankedResponse:
    """A response that is reranked, where that was done, and by which signals."""

    response: Response
    mode: ModeName
    signals: Sequence[Signal] = ("lexical", "containment")
    note: str | None = None


def no_vectors_reason(index: str | None) -> str:
    """What to say where the model has nothing to rank by."""
    return f"no product among the hits has a vector of this model: anthem ingest {index or 'INDEX'}"


def rewritten_body(rewritten: RewrittenBody) -> dict[str, Any]:
    """The body of a rewriting; a LeftAloneError where it was declined."""
    if rewritten.reason is not None:
        raise RerankSkipped(rewritten.reason)
    return rewritten.body


def check_shards(request: SearchRequest, response: Response) -> Steps[Response]:
    """The response, unless shards failed that the plain search does not lose."""
    shards = response.get("_shards", {})
    if "failed" not in shards:
        raise RerankSkipped("`filter_path` takes away `_shards`, which says whether reranking lost a shard; add it")
    if not shards["failed"]:
        return response
    plain = yield request.search()
    if plain["_shards"]["failed"] >= shards["failed"]:
        return response
    cause = shards.get("failures", [{}])[0].get("reason", {})
    cause = cause.get("caused_by", cause)
    why = f"{shards['failed']} of {shards['total']} shards failed while reranking: {cause.get('reason')}"
    raise RerankSkipped(why, plain, failed=True)
