"""`POST /rewrite`: search body in, search body out."""

import json
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from anthem_core.encoding.query_operators import split_phrases, unite_queries
from anthem_plugin.modes import DEFAULT_NEIGHBOURS, DEFAULT_WINDOW, MAX_NEIGHBOURS, Filter, Retrieve
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.rewriter.query_text import NO_QUERY_TEXT_REASON, NO_WORDS_REASON, find_query_text
from anthem_plugin.rewriter.rescore import RewrittenBody
from anthem_plugin.scoring.painless import hyperboloid_limit_reason
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import INTEGRAL_FLOAT_AS_INT, RequestModel, StrictText

MAX_WINDOW = 10_000  # OpenSearch's own, `index.max_rescore_window`
MAX_BODY_DEPTH = 100
MAX_QUERY_PATH_CHARACTERS = 200


def _check_sendable(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body that can be sent on; Python's JSON lets through what OpenSearch, or UTF-8, does not."""
    if not _is_shallow(body, MAX_BODY_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_BODY_DEPTH} levels")
    try:
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise ValueError("it holds NaN, an infinite number or half a surrogate pair") from error
    return body


def _is_shallow(node: object, levels: int) -> bool:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels > 0 and all(_is_shallow(child, levels - 1) for child in children)


_TEXT_AND_PATH_SCHEMA: dict[str, Any] = {
    "required": ["query_text", "query_path"],
    "properties": {"query_text": {"type": "string"}, "query_path": {"type": "string"}},
}


class RewriteRequest(RequestModel):
    """A search to rewrite; at most one of `query_text` and `query_path` says what it searches for."""

    model_config = ConfigDict(json_schema_extra={"not": _TEXT_AND_PATH_SCHEMA})

    body: Annotated[dict[str, Any], AfterValidator(_check_sendable)] = Field(
        description="Search body as it would be sent to OpenSearch.",
        examples=[{"query": {"match": {"title": "fire tv"}}, "size": 24}],
    )
    query_text: StrictText | None = Field(None, description="What the shopper typed.")
    query_path: str | None = Field(
        None,
        max_length=MAX_QUERY_PATH_CHARACTERS,
        description="Where in the body the query text stands; without both, a plain `match` or `multi_match` is read.",
        examples=["query.match.title"],
    )
    window: Annotated[int, INTEGRAL_FLOAT_AS_INT] = Field(
        DEFAULT_WINDOW, ge=1, le=MAX_WINDOW, description="Hits of each shard that are reranked."
    )
    mode: Literal["cluster", "filter", "retrieve"] = Field(
        "cluster", description="Whether hits are reranked, filtered by containment, or joined by near products."
    )
    operators: bool = Field(False, description="Whether OR between phrases of the query text asks for either.")
    slack: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Of mode `filter`: what is added to every limit; the bundle's by default.",
    )
    unknown: bool = Field(True, description="Of mode `filter`: whether products without a vector stay.")
    k: Annotated[int, INTEGRAL_FLOAT_AS_INT] = Field(
        DEFAULT_NEIGHBOURS,
        ge=1,
        le=MAX_NEIGHBOURS,
        description="Of mode `retrieve`: products near each centre, on each shard.",
    )
    filter: Annotated[dict[str, Any], Field(min_length=1), AfterValidator(_check_sendable)] | None = Field(
        None,
        description="Of mode `retrieve`: clause that near products pass; by default all of the query but its words.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.query_text is not None and self.query_path is not None:
            raise ValueError("give `query_text` or `query_path`, not both")
        return self


class RewriteResponse(BaseModel):
    """A search body that reranks, filters or retrieves, or the caller's own and why it is left as it is."""

    body: dict[str, Any] = Field(description="Search body to send to OpenSearch.")
    reranked: bool = Field(description="Whether the body does what its mode asks.")
    reason: str | None = Field(description="Why the body was left as it was, or null.")


def routes(service: ServiceContext) -> APIRouter:
    """The rewriter.

    Raises:
        BundleError: The bundle has no weights for lexical + containment.
    """
    router = APIRouter(tags=["rewrite"])
    scoring = ScoringParams.of(service.encoder.bundle)

    @router.post("/rewrite")
    def rewrite_search(asked: RewriteRequest) -> RewriteResponse:
        """Rewrite a search body so that OpenSearch reranks its first hits; a body that cannot be is left as it is.

        In mode `filter` the body finds only what is contained, if that is nothing too: nothing is counted first. In
        mode `retrieve` it finds near products as well, where the index has a graph of its vectors.
        The cluster needs the stored script that the body names; `anthem serve` stores it when it starts. Send your own
        body once more if OpenSearch refuses the rewritten one, or answers it with failed shards.
        """
        try:
            result = rewrite_body(asked, service, scoring)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            result = _unchanged(asked, f"{type(error).__name__}: {error}")
        service.metrics.rewrites.labels(str(result.reranked).lower()).inc()
        return RewriteResponse(body=result.body, reranked=result.reranked, reason=result.reason)

    return router


def rewrite_body(asked: RewriteRequest, service: ServiceContext, scoring: ScoringParams) -> RewrittenBody:
    """The rewriter's answer for the text given, or found in the body."""
    text = asked.query_text if asked.query_text is not None else find_query_text(asked.body, asked.query_path)
    if text is None:
        return _unchanged(asked, NO_QUERY_TEXT_REASON)
    most = service.settings.characters
    if len(text) > most:
        return _unchanged(asked, f"the query has {len(text)} characters; at most {most} are read")
    log_texts(text)
    query = unite_queries(map(service.query, split_phrases(text) if asked.operators else [text]))
    if query is None:
        return _unchanged(asked, NO_WORDS_REASON)
    reason = hyperboloid_limit_reason(query)
    if reason is not None:
        return _unchanged(asked, reason)
    return build_script_body(asked.body, query, scoring, _script_mode(asked), text=text, window=asked.window)


def _script_mode(asked: RewriteRequest) -> Filter | Retrieve | None:
    match asked.mode:
        case "filter":
            return Filter(asked.slack, asked.unknown)
        case "retrieve":
            return Retrieve(asked.k, asked.filter)
    return None


def _unchanged(asked: RewriteRequest, reason: str) -> RewrittenBody:
    return RewrittenBody(asked.body, reranked=False, reason=reason)
