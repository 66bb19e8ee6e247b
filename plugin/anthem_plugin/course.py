"""The course of one search, which sends nothing itself: it yields what is to be done and is told what came of it.

One course serves both clients: `AnthemClient` does each step at once, `AsyncAnthemClient` awaits it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
from opensearchpy.exceptions import TransportError

from anthem_core.attention import Attention
from anthem_core.cluster import reason
from anthem_core.sets import either, phrases
from anthem_core.text import text_of
from anthem_plugin.breaker import Breaker, Budget
from anthem_plugin.marks import any_marked, mark, marked, total, unmark
from anthem_plugin.painless import CONTEXT, put_script_body, score_script, script_id, too_many
from anthem_plugin.rerank import narrow, rerank, stored_point
from anthem_plugin.rewrite import NO_TEXT, NO_WORDS, Rewritten, query_text, rewrite, widen
from anthem_plugin.scoring import Scoring
from anthem_plugin.sources import readable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.containment import Region
    from anthem_core.encoder import Encoder
    from anthem_core.fields import Fields
    from anthem_core.lorentz import Array
    from anthem_plugin.rerank import Hit

T = TypeVar("T")
Mode: TypeAlias = Literal["cluster", "client", "none"]
Response: TypeAlias = dict[str, Any]
Signal: TypeAlias = Literal["lexical", "containment", "attention"]

NO_HITS = "there are no hits to rerank"

_log = logging.getLogger(__name__)
_MISSING = "unable to find script"
_SHARE = 0.6  # of the time left that a request which reranks may take; the plain one has the rest
_STEP = 16  # titles that attention sees between two looks at the budget
# As options of the request these would override the body, and the page would be cut or sorted behind our back.
_SHAPING = {"from", "from_", "size", "sort", "q", "scroll", "_source", "_source_includes", "_source_excludes"}


@dataclass(frozen=True, slots=True)
class Send:
    """A step of a course: one call of a client of opensearch-py."""

    method: Literal["search", "put_script"]
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """A step of a course: a computation of our own."""

    run: Callable[[], Any]


Course: TypeAlias = Generator[Send | Work, Any, T]


class _LeftAloneError(Exception):
    """Why a search is not reranked, with the plain response where it is known already."""

    def __init__(self, why: str, response: Response | None = None, *, failed: bool = False) -> None:
        super().__init__(why)
        self.response = response
        self.failed = failed


class _ForbiddenError(Exception):
    """The cluster does not take our script."""


@dataclass(frozen=True, slots=True)
class Request:
    """One caller's search: every body sent for it shares its options and what is left of its time-out."""

    index: str | None
    body: Mapping[str, Any]
    options: dict[str, Any]
    timeout: float | None
    text: str | None = None
    mode: Mode = "cluster"
    window: int = 100
    operators: bool = False
    region: Region | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Time since the caller asked."""
        return time.perf_counter() - self.started

    def limit(self, share: float = 1.0) -> dict[str, float]:
        """Option that keeps a request within its share of what is left of the time-out; empty where there is none."""
        limit = self.options.get("request_timeout") or self.timeout
        return {} if limit is None else {"request_timeout": max(0.001, (limit - self.seconds) * share)}

    def search(self, body: Mapping[str, Any] | None = None, share: float = 1.0) -> Send:
        """A search with a body, the caller's own if none is given."""
        body = self.body if body is None else body
        return Send("search", {"index": self.index, "body": body, **self.options, **self.limit(share)})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a search asks for: the phrases of its text, its hyperboloids, and what is left of our own time."""

    phrases: Sequence[str]
    query: Region
    budget: Budget


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A response that is reranked, where that was done, and by which signals."""

    response: Response
    mode: Mode
    signals: Sequence[Signal] = ("lexical", "containment")
    note: str | None = None


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
        self._text_fields = tuple(text_fields)
        self._attention = Attention(encoder.bundle) if self.scoring.attentive and text_fields else None
        self._budget = None if budget_ms is None else budget_ms / 1000
        self._takes_scripts = True

    def search(self, request: Request) -> Course[Response]:
        """Course of a search: reranked, or the caller's own and why."""
        try:
            ranked, why = (yield from self._ranked(request, (yield from self._asked(request)))), None
            self.breaker.succeeded()
        except _LeftAloneError as left:
            response = left.response or (yield request.search())
            ranked, why = _Ranked(response, "none", ()), str(left)
            self._count_failure(counts=left.failed)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            why = reason(error) if isinstance(error, TransportError) else f"{type(error).__name__}: {error}"
            ranked = _Ranked((yield from self._instead(request)), "none", ())
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

    def _asked(self, request: Request) -> Course[_Asked]:
        if request.mode == "none":
            raise _LeftAloneError("reranking was not asked for")
        misplaced = sorted(_SHAPING & request.options.keys())
        if misplaced:
            raise _LeftAloneError(f"`{misplaced[0]}` stands outside the body; it belongs into it")
        text = request.text if request.text is not None else query_text(request.body, self._query_path)
        if text is None and request.region is None:
            raise _LeftAloneError(NO_TEXT)
        if refused := self.breaker.refusal():
            raise _LeftAloneError(refused)
        budget = Budget(self._budget)
        asked = _phrases(text, operators=request.operators)
        query = request.region or (yield Work(lambda: budget.spend(lambda: either(map(self.encode, asked)))))
        if query is None:
            raise _LeftAloneError(NO_WORDS)
        if budget.over:
            raise _LeftAloneError(str(budget))
        return _Asked(asked, query, budget)

    def _ranked(self, request: Request, asked: _Asked) -> Course[_Ranked]:
        note = too_many(asked.query) if request.mode == "cluster" else None
        if request.mode == "cluster" and self._takes_scripts and note is None:
            try:
                return _Ranked((yield from self._in_cluster(request, asked.query)), "cluster")
            except _ForbiddenError:
                self._takes_scripts = False
        return replace((yield from self._in_client(request, asked)), note=note)

    def _in_cluster(self, request: Request, query: Region) -> Course[Response]:
        scoring, telling = self.scoring, "filter_path" not in request.options
        script = score_script(query, scoring)
        scripted = _accepted(rewrite(request.body, script, window=request.window, fields=scoring.fields))
        rescored = request.search(mark(scripted, scoring) if telling else scripted, _SHARE)
        try:
            response = yield rescored
        except TransportError as error:
            if _MISSING not in str(error.info):
                raise
            yield from self._put_script(request)
            response = yield request.search(rescored.arguments["body"], _SHARE)
        response = yield from _whole(request, response)
        return (yield from self._told(request, response)) if telling else response

    def _told(self, request: Request, response: Response) -> Course[Response]:
        """The response without its marks, unless these say that there was nothing to rerank by."""
        hits = response["hits"]["hits"]
        bare = [unmark(hit, request.body, self.scoring) for hit in hits]
        response = {**response, "hits": {**response["hits"], "hits": bare}}
        if not hits:
            # Beyond the last hit the plain search has a `max_score` of its own.
            raise _LeftAloneError(NO_HITS, None if response["hits"].get("max_score") else response)
        if not any(marked(hit, self.scoring) for hit in hits):
            # The page alone does not tell: products with a vector may stand beneath it.
            counted = yield request.search(any_marked(request.body, self.scoring), _SHARE)
            if not total(counted):
                raise _LeftAloneError(no_vectors(request.index))
        return response

    def _in_client(self, request: Request, asked: _Asked) -> Course[_Ranked]:
        if "filter_path" in request.options:
            raise _LeftAloneError("`filter_path` may keep from the client what it ranks by")
        texts = readable(request.body, self.scoring.fields, self._text_fields) if self._attention else ()
        wide = _accepted(widen(request.body, window=request.window, fields=self.scoring.fields, texts=texts))
        response = yield from _whole(request, (yield request.search(wide, _SHARE)))
        ranked: _Ranked = yield Work(lambda: self._scored(request, asked, response, texts))
        return ranked

    def _scored(self, request: Request, asked: _Asked, response: Response, texts: Sequence[str]) -> _Ranked:
        hits, window = response["hits"]["hits"], request.window
        lexical = narrow(response, request.body, hits, self.scoring, texts)
        if not lexical["hits"]["hits"]:
            raise _LeftAloneError(NO_HITS, lexical)
        attention = self._attended(asked, hits[:window], texts)
        signals = signals_of(hits[:window], self.scoring, attention)
        if signals == ["lexical"]:
            raise _LeftAloneError(str(asked.budget) if asked.budget.over else no_vectors(request.index), lexical)
        ranked = rerank(hits, asked.query, self.scoring, window=window, attention=attention)
        return _Ranked(narrow(response, request.body, ranked, self.scoring, texts), "client", signals)

    def _attended(self, asked: _Asked, hits: Sequence[Hit], texts: Sequence[str]) -> Array | None:
        """Attention of the hits in the window; None where not one of them has a text, or the budget is used up."""
        attention = self._attention
        if attention is None or not texts or not asked.phrases:
            return None
        titles = [text_of(hit.get("_source", {}), texts) for hit in hits]
        step = len(titles) if asked.budget.seconds is None else _STEP
        found = []
        for start in range(0, len(titles), step):
            some = titles[start : start + step]
            found.append(asked.budget.spend(lambda some=some: _most_attended(attention, asked.phrases, some)))  # type: ignore[misc]
            if asked.budget.over:
                return None
        values = np.concatenate(found)
        return values if np.isfinite(values).any() else None

    def _put_script(self, request: Request) -> Course[None]:
        script = {"id": script_id(), "body": put_script_body(), "context": CONTEXT}
        try:
            yield Send("put_script", script | request.limit(_SHARE))
        except TransportError as error:
            if error.status_code not in (400, 401, 403):
                raise
            _log.warning("The cluster does not take the script (%s); hits are reranked in the client", reason(error))
            raise _ForbiddenError from error


def _phrases(text: str | None, *, operators: bool) -> list[str]:
    if text is None:
        return []
    return phrases(text) if operators else [text]


def _most_attended(attention: Attention, asked: Sequence[str], texts: Sequence[str]) -> Array:
    """Attention scores `(N,)` of texts, each from the phrase that looks at it most; NaN where none does."""
    most: Array = np.fmax.reduce([attention.scores(phrase, texts) for phrase in asked])
    return most


def signals_of(hits: Sequence[Hit], scoring: Scoring, attention: Array | None) -> list[Signal]:
    """Signals that can tell one hit of the window from another."""
    contained = any(stored_point(hit, scoring) is not None for hit in hits)
    signals: list[Signal] = ["lexical"]
    signals += ["containment"] if contained else []
    return signals + (["attention"] if attention is not None else [])


def no_vectors(index: str | None) -> str:
    """What to say where the model has nothing to rank by."""
    return f"no product among the hits has a vector of this model: anthem ingest {index or 'INDEX'}"


def _accepted(rewritten: Rewritten) -> dict[str, Any]:
    if rewritten.reason is not None:
        raise _LeftAloneError(rewritten.reason)
    return rewritten.body


def _whole(request: Request, response: Response) -> Course[Response]:
    """The response, unless shards failed that the plain search does not lose."""
    shards = response.get("_shards", {})
    if "failed" not in shards:
        raise _LeftAloneError("`filter_path` takes away `_shards`, which says whether reranking lost a shard; add it")
    if not shards["failed"]:
        return response
    plain = yield request.search()
    if plain["_shards"]["failed"] >= shards["failed"]:
        return response
    cause = shards.get("failures", [{}])[0].get("reason", {})
    cause = cause.get("caused_by", cause)
    why = f"{shards['failed']} of {shards['total']} shards failed while reranking: {cause.get('reason')}"
    raise _LeftAloneError(why, plain, failed=True)
