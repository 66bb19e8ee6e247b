"""`POST /rewrite`: rewrites a search body."""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool

from anthem_core.encoding.query_operators import encode_phrases, split_query_text
from anthem_plugin.modes import DEFAULT_NEIGHBOURS, MAX_NEIGHBOURS, Filter, Retrieve, ScriptMode, default_window
from anthem_plugin.rewriter.body import body_refusal_reason, build_script_body, hides_values_unranked
from anthem_plugin.rewriter.inner_hits import hide_all_values
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON, find_query_text, missing_text_reason
from anthem_plugin.rewriter.rescore import MAX_RESCORE_WINDOW, RewrittenBody
from anthem_plugin.scoring.painless import too_many_hyperboloids_reason
from anthem_plugin.scoring.params import ModelSignal, ScoringParams
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import (
    INTEGRAL_FLOAT_AS_INT,
    RequestModel,
    StrictText,
    check_sendable,
    json_response,
)

MAX_QUERY_PATH_CHARACTERS = 200
MAX_QUERY_PATHS = 20


_PATH_SCHEMA: dict[str, Any] = {"type": "string", "maxLength": MAX_QUERY_PATH_CHARACTERS}
_PATHS_SCHEMA: dict[str, Any] = {"type": "array", "items": _PATH_SCHEMA, "maxItems": MAX_QUERY_PATHS}
_TEXT_AND_PATH_SCHEMA: dict[str, Any] = {
    "required": ["query_text", "query_path"],
    "properties": {"query_text": {"type": "string"}, "query_path": {"type": ["string", "array"]}},
}


def _list_paths(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise PydanticCustomError("text_or_texts_type", "expected text or a list of texts")
    return value


# One path or several; not a union, whose errors would name its types.
QueryPaths = Annotated[
    list[Annotated[str, Field(max_length=MAX_QUERY_PATH_CHARACTERS)]],
    Field(max_length=MAX_QUERY_PATHS),
    BeforeValidator(_list_paths),
    WithJsonSchema({"anyOf": [_PATH_SCHEMA, _PATHS_SCHEMA]}),
]


class RewriteRequest(RequestModel):
    """A search to rewrite. Its text is given as `query_text`, or read at `query_path`, or found in the query."""

    model_config = ConfigDict(json_schema_extra={"not": _TEXT_AND_PATH_SCHEMA})

    body: Annotated[dict[str, Any], AfterValidator(check_sendable)] = Field(
        description="Search body as it would be sent to OpenSearch.",
        examples=[{"query": {"match": {"title": "fire tv"}}, "size": 24}],
    )
    query_text: StrictText | None = Field(None, description="Query text as the user typed it.")
    query_path: QueryPaths | None = Field(
        None,
        description="Path of the query text in the body, or several, of which the first that leads to a text counts. "
        "Without `query_text` and `query_path`, the text on which all clauses that search for words agree.",
        examples=["query.match.title"],
    )
    window: Annotated[int, Field(ge=1, le=MAX_RESCORE_WINDOW), INTEGRAL_FLOAT_AS_INT] | None = Field(
        None, description="Number of hits per shard to rerank; defaults to that of the bundle, or 100."
    )
    mode: Literal["cluster", "filter", "retrieve"] = Field(
        "cluster",
        description="`cluster` reranks the hits, `filter` drops products that the query does not contain, `retrieve` "
        "adds products near the query.",
    )
    signals: Annotated[list[ModelSignal], Field(min_length=1)] | None = Field(
        None,
        description="Signals of the model that the index has; all by default. A signal that a product lacks counts as "
        "its median, but if you name the signals of the index, the body is smaller and the weights fit better.",
    )
    operators: bool = Field(False, description="Whether OR between phrases of the query text means either phrase.")
    slack: float | None = Field(
        None,
        allow_inf_nan=False,
        description="For mode `filter`: added to every limit; defaults to the slack of the bundle.",
    )
    unknown: bool = Field(True, description="For mode `filter`: whether products without a vector are kept.")
    k: Annotated[int, INTEGRAL_FLOAT_AS_INT] = Field(
        DEFAULT_NEIGHBOURS,
        ge=1,
        le=MAX_NEIGHBOURS,
        description="For mode `retrieve`: number of products near each centre, per shard.",
    )
    filter: Annotated[dict[str, Any], Field(min_length=1), AfterValidator(check_sendable)] | None = Field(
        None,
        description="For mode `retrieve`: clause that near products must match; by default every part of the query "
        "that does not search for the query text.",
    )

    @model_validator(mode="after")
    def _check_single_text(self) -> Self:
        if self.query_text is not None and self.query_path is not None:
            raise ValueError("give `query_text` or `query_path`, not both")
        return self


class RewriteResponse(BaseModel):
    """A rewritten search body, or the caller's own body with the reason why it was not rewritten."""

    body: dict[str, Any] = Field(description="Search body to send to OpenSearch.")
    reranked: bool = Field(description="Whether the body was rewritten for its mode.")
    reason: str | None = Field(description="Why the body was not rewritten, or null.")


def routes(context: ServiceContext) -> APIRouter:
    """Define the endpoint that rewrites search bodies.

    Raises:
        BundleError: The bundle has no weights for lexical score and containment.
    """
    router = APIRouter(tags=["rewrite"])
    scoring = ScoringParams.from_bundle(context.encoder.bundle)

    @router.post("/rewrite", response_model=RewriteResponse)
    async def rewrite_search(request: RewriteRequest) -> Response:
        """Rewrite a search body so that OpenSearch reranks its first hits; an unsupported body is returned unchanged.

        In mode `filter` the body finds only contained products. Nothing is counted first, so the result may be empty.
        In mode `retrieve` the body also finds near products, if the vectors of the index have an HNSW graph.
        The cluster needs the stored script that the body names; `anthem serve` stores it, and again every five minutes.
        If OpenSearch rejects the rewritten body or reports failed shards, send your own body again.
        """
        # A thread costs a third of the work on one phrase, but a text may have thousands of phrases.
        if request.operators:
            return await run_in_threadpool(_answer_request, request, context, scoring)
        return _answer_request(request, context, scoring)

    return router


def _answer_request(request: RewriteRequest, context: ServiceContext, scoring: ScoringParams) -> Response:
    """The response to a request; no failure of the rewriter must fail the search."""
    try:
        result = rewrite_body(request, context, scoring)
        response = _build_response(result)
    except Exception as error:  # noqa: BLE001 (see above)
        result = _unchanged(request, f"{type(error).__name__}: {error}")
        response = _build_response(result)
    context.metrics.rewrites.labels(str(result.reranked).lower()).inc()
    return response


def _build_response(result: RewrittenBody) -> Response:
    return json_response({"body": result.body, "reranked": result.reranked, "reason": result.reason})


def rewrite_body(request: RewriteRequest, context: ServiceContext, scoring: ScoringParams) -> RewrittenBody:
    """Rewrite the body of a request; one that is left unranked may still hide the model's values."""
    mode = _script_mode(request)
    reason = body_refusal_reason(request.body, mode)
    result = _unchanged(request, reason) if reason else _rewrite_for_text(request, context, scoring)
    if result.reranked or not hides_values_unranked(request.body, mode):
        return result
    return replace(result, body=hide_all_values(request.body, scoring.fields))


def _rewrite_for_text(request: RewriteRequest, context: ServiceContext, scoring: ScoringParams) -> RewrittenBody:
    """Rewrite the body of a request for its query text, which is given or found in the body."""
    text = request.query_text
    if text is None:
        text = find_query_text(request.body, request.query_path)
    if text is None:
        return _unchanged(request, missing_text_reason(request.body, request.query_path))
    limit = context.settings.max_characters
    if len(text) > limit:
        return _unchanged(request, f"the query has {len(text)} characters; at most {limit} are allowed")
    log_texts(text)
    scoring = replace(scoring, signals=scoring.signals.intersection(request.signals or scoring.signals))
    if not scoring.signals:
        return _unchanged(request, "the model has none of the requested signals")
    phrases = split_query_text(text, operators=request.operators)
    region = encode_phrases(context.encode_query, phrases)
    if region is None:
        return _unchanged(request, NO_WORDS_REASON)
    sent_region = region if "containment" in scoring.signals else None
    reason = None if sent_region is None else too_many_hyperboloids_reason(sent_region)
    if reason is not None:
        return _unchanged(request, reason)
    return build_script_body(
        request.body,
        sent_region,
        scoring,
        _script_mode(request),
        tables=context.encode_tables(phrases) if "attention" in scoring.signals else (),
        text=text,
        window=request.window or default_window(context.encoder.bundle),
    )


def _script_mode(request: RewriteRequest) -> ScriptMode:
    match request.mode:
        case "filter":
            return Filter(request.slack, request.unknown)
        case "retrieve":
            return Retrieve(request.k, request.filter)
    return "cluster"


def _unchanged(request: RewriteRequest, reason: str) -> RewrittenBody:
    return RewrittenBody.unchanged(request.body, reason)
