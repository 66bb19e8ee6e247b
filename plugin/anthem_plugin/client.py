"""The client that sends: a search that is reranked, or the caller's own search and why."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from opensearchpy.exceptions import TransportError

from anthem_core.attention import Attention
from anthem_core.cluster import reason
from anthem_core.text import text_of
from anthem_plugin.painless import CONTEXT, put_script_body, score_script, script_id
from anthem_plugin.rerank import attended, narrow, rerank, stored_point
from anthem_plugin.rewrite import NO_TEXT, NO_WORDS, WINDOW, Rewritten, query_text, rewrite, widen
from anthem_plugin.scoring import Scoring
from anthem_plugin.sources import readable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.containment import Query
    from anthem_core.encoder import Encoder
    from anthem_core.fields import Fields
    from anthem_core.lorentz import Array
    from anthem_plugin.rerank import Hit

Mode: TypeAlias = Literal["cluster", "client", "none"]
Response: TypeAlias = dict[str, Any]
Signal: TypeAlias = Literal["lexical", "containment", "attention"]

_log = logging.getLogger(__name__)
_MISSING = "unable to find script"
_SHARE = 0.6  # of the time left that a request which reranks may take; the plain one has the rest
# As options of the request these would override the body, and the page would be cut or sorted behind our back.
_SHAPING = {"from", "from_", "size", "sort", "q", "scroll", "_source", "_source_includes", "_source_excludes"}


class _LeftAloneError(Exception):
    """Why a search is not reranked, with the plain response where it is known already."""

    def __init__(self, why: str, response: Response | None = None) -> None:
        super().__init__(why)
        self.response = response


class _ForbiddenError(Exception):
    """The cluster does not take our script."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a search asks for: its text, and its hyperboloids."""

    text: str
    query: Query


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A response that is reranked, where that was done, and by which signals."""

    response: Response
    mode: Mode
    signals: Sequence[Signal] = ("lexical", "containment")


@dataclass(frozen=True, slots=True)
class _Sender:
    """One caller's request: every body sent for it shares its options and what is left of its time-out."""

    client: OpenSearch
    index: str | None
    options: dict[str, Any]
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def limit(self, share: float = 1.0) -> dict[str, float]:
        """Option that keeps a request within its share of what is left of the time-out; empty where there is none."""
        limit = self.options.get("request_timeout") or self.client.transport.get_connection().timeout
        return {} if limit is None else {"request_timeout": max(0.001, (limit - self.seconds) * share)}

    def __call__(self, body: Mapping[str, Any], share: float = 1.0) -> Response:
        options = self.options | self.limit(share)
        response: Response = self.client.search(index=self.index, body=body, **options)
        return response


class AnthemClient:
    """Searches an OpenSearch cluster and reranks the window; safe to share between threads.

    `query_path` names where application bodies keep the query text, such as `query.bool.must.0.match.title.query`;
    `text_fields` names the fields that were ingested, in their order. With a bundle that has an attention graph, client
    mode ranks by attention too; where no product has a vector, by the lexical score and attention alone.

    Raises BundleError when the encoder's bundle has no fusion weights.
    """

    def __init__(
        self,
        client: OpenSearch,
        encoder: Encoder,
        *,
        fields: Fields | None = None,
        query_path: str | None = None,
        text_fields: Sequence[str] = ("title",),
    ) -> None:
        self.scoring = Scoring.of(encoder.bundle, fields)
        self._client = client
        self._encoder = encoder
        self._query_path = query_path
        self._text_fields = tuple(text_fields)
        self._attention = Attention(encoder.bundle) if self.scoring.attentive and text_fields else None
        self._takes_scripts = True

    def search(
        self,
        index: str | None,
        body: Mapping[str, Any],
        *,
        query_text: str | None = None,
        mode: Mode = "cluster",
        window: int = WINDOW,
        **options: object,
    ) -> Response:
        """Response of opensearch-py, with `anthem: {reranked, mode, signals, reason, took_ms}` beside the hits.

        Where reranking fails the caller's own body is sent once more, and `reason` says why; `mode` and `signals` are
        what ranked the hits, no signals where the caller's own search did. `options` go with every request, such as
        `routing` and `preference`; `request_timeout`, or the time-out of the client given, bounds all of it.

        Raises:
            ValueError: There is no such mode, or the window is empty.
            opensearchpy.exceptions.OpenSearchException: The caller's own search fails.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"mode is {mode!r}; one of {', '.join(get_args(Mode))} was wanted")
        if window < 1:
            raise ValueError(f"window is {window}; 1 or more was wanted")
        send = _Sender(self._client, index, options)
        try:
            ranked, why = self._ranked(send, body, self._asked(send, body, query_text, mode), mode, window), None
        except _LeftAloneError as left:
            ranked, why = _Ranked(left.response or send(body), "none", ()), str(left)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            why = reason(error) if isinstance(error, TransportError) else f"{type(error).__name__}: {error}"
            _log.warning("The search was not reranked: %s", why)
            ranked = _Ranked(send(body), "none", ())
        report = {"reranked": why is None, "mode": ranked.mode, "signals": [*ranked.signals], "reason": why}
        return {**ranked.response, "anthem": {**report, "took_ms": round(send.seconds * 1000, 3)}}

    def _asked(self, send: _Sender, body: Mapping[str, Any], text: str | None, mode: Mode) -> _Asked:
        if mode == "none":
            raise _LeftAloneError("reranking was not asked for")
        misplaced = sorted(_SHAPING & send.options.keys())
        if misplaced:
            raise _LeftAloneError(f"`{misplaced[0]}` stands outside the body; it belongs into it")
        text = text if text is not None else query_text(body, self._query_path)
        if text is None:
            raise _LeftAloneError(NO_TEXT)
        query = self._encoder.query(text)
        if query is None:
            raise _LeftAloneError(NO_WORDS)
        return _Asked(text, query)

    def _ranked(self, send: _Sender, body: Mapping[str, Any], asked: _Asked, mode: Mode, window: int) -> _Ranked:
        if mode == "cluster" and self._takes_scripts:
            try:
                return _Ranked(self._in_cluster(send, body, asked.query, window), "cluster")
            except _ForbiddenError:
                self._takes_scripts = False
        return self._in_client(send, body, asked, window)

    def _in_cluster(self, send: _Sender, body: Mapping[str, Any], query: Query, window: int) -> Response:
        script = score_script(query, self.scoring)
        scripted = _accepted(rewrite(body, script, window=window, fields=self.scoring.fields))
        try:
            response = send(scripted, _SHARE)
        except TransportError as error:
            if _MISSING not in str(error.info):
                raise
            self._put_script(send)
            response = send(scripted, _SHARE)
        return _whole(send, body, response)

    def _in_client(self, send: _Sender, body: Mapping[str, Any], asked: _Asked, window: int) -> _Ranked:
        if "filter_path" in send.options:
            raise _LeftAloneError("`filter_path` may keep from the client what it ranks by")
        texts = readable(body, self.scoring.fields, self._text_fields) if self._attention else ()
        wide = _accepted(widen(body, window=window, fields=self.scoring.fields, texts=texts))
        response = _whole(send, body, send(wide, _SHARE))
        hits = response["hits"]["hits"]
        attention = self._attended(asked.text, hits[:window], texts)
        signals = signals_of(hits[:window], self.scoring, attention)
        if hits and signals == ["lexical"]:
            raise _LeftAloneError(no_vectors(index=send.index), narrow(response, body, hits, self.scoring, texts))
        ranked = rerank(hits, asked.query, self.scoring, window=window, attention=attention)
        return _Ranked(narrow(response, body, ranked, self.scoring, texts), "client", signals)

    def _attended(self, query: str, hits: Sequence[Hit], texts: Sequence[str]) -> Array | None:
        """Attention of the hits in the window; None where not one of them has a text."""
        if self._attention is None or not texts:
            return None
        return attended(self._attention, query, [text_of(hit.get("_source", {}), texts) for hit in hits])

    def _put_script(self, send: _Sender) -> None:
        try:
            self._client.put_script(id=script_id(), body=put_script_body(), context=CONTEXT, **send.limit(_SHARE))
        except TransportError as error:
            if error.status_code not in (400, 401, 403):
                raise
            _log.warning("The cluster does not take the script (%s); hits are reranked in the client", reason(error))
            raise _ForbiddenError from error


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


def _whole(send: _Sender, body: Mapping[str, Any], response: Response) -> Response:
    """The response, unless shards failed that the plain search does not lose."""
    shards = response.get("_shards", {})
    if "failed" not in shards:
        raise _LeftAloneError("`filter_path` takes away `_shards`, which says whether reranking lost a shard; add it")
    if not shards["failed"]:
        return response
    plain = send(body)
    if plain["_shards"]["failed"] >= shards["failed"]:
        return response
    cause = shards.get("failures", [{}])[0].get("reason", {})
    cause = cause.get("caused_by", cause)
    why = f"{shards['failed']} of {shards['total']} shards failed while reranking: {cause.get('reason')}"
    raise _LeftAloneError(why, plain)
