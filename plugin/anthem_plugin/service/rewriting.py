"""`POST /rewrite`: search body in, search body out."""

import json
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, model_validator

from anthem_core.encoder import Encoder
from anthem_plugin.painless import score_script
from anthem_plugin.rewrite import NO_TEXT, NO_WORDS, WINDOW, Rewritten, query_text, rewrite
from anthem_plugin.scoring import Scoring
from anthem_plugin.service.common import MAX_CHARACTERS, Asked, Service, Text, log_texts

MAX_WINDOW = 10_000  # OpenSearch's own, `index.max_rescore_window`
MAX_DEPTH = 100
MAX_PATH = 200


def _sendable(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body that can be sent on; Python's JSON lets through what OpenSearch, or UTF-8, does not."""
    if not _shallow(body, MAX_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise ValueError("it holds NaN, an infinite number or half a surrogate pair") from error
    return body


def _shallow(node: object, levels: int) -> bool:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels > 0 and all(_shallow(child, levels - 1) for child in children)


class RewriteAsked(Asked):
    """A search to rewrite; at most one of `query_text` and `query_path` says what it searches for."""

    body: Annotated[dict[str, Any], AfterValidator(_sendable)] = Field(
        description="Search body as it would be sent to OpenSearch.",
        examples=[{"query": {"match": {"title": "fire tv"}}, "size": 24}],
    )
    query_text: Text | None = Field(None, description="What the shopper typed.")
    query_path: str | None = Field(
        None,
        max_length=MAX_PATH,
        description="Where in the body the query text stands; without both, a plain `match` or `multi_match` is read.",
        examples=["query.match.title"],
    )
    window: int = Field(WINDOW, ge=1, le=MAX_WINDOW, description="Hits of each shard that are reranked.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.query_text is not None and self.query_path is not None:
            raise ValueError("give `query_text` or `query_path`, not both")
        return self


class RewriteAnswer(BaseModel):
    """A search body that reranks, or the caller's own and why it is left as it is."""

    body: dict[str, Any] = Field(description="Search body to send to OpenSearch.")
    reranked: bool = Field(description="Whether the body reranks.")
    reason: str | None = Field(description="Why the body was left as it was, or null.")


def routes(service: Service) -> APIRouter:
    """The rewriter.

    Raises:
        BundleError: The bundle has no weights for lexical + containment.
    """
    router = APIRouter(tags=["rewrite"])
    encoder, scoring = service.encoder, Scoring.of(service.encoder.bundle)

    @router.post("/rewrite")
    def rewrite_search(asked: RewriteAsked) -> RewriteAnswer:
        """Rewrite a search body so that OpenSearch reranks its first hits; a body that cannot be is left as it is.

        The cluster needs the stored script that the body names; `anthem serve` stores it when it starts. Send your own
        body once more if OpenSearch refuses the rewritten one, or answers it with failed shards.
        """
        try:
            result = rewritten(asked, encoder, scoring)
        except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
            result = _left(asked, f"{type(error).__name__}: {error}")
        service.metrics.rewrites.labels(str(result.reranked).lower()).inc()
        return RewriteAnswer(body=result.body, reranked=result.reranked, reason=result.reason)

    return router


def rewritten(asked: RewriteAsked, encoder: Encoder, scoring: Scoring) -> Rewritten:
    """The rewriter's answer for the text given, or found in the body."""
    text = asked.query_text if asked.query_text is not None else query_text(asked.body, asked.query_path)
    if text is None:
        return _left(asked, NO_TEXT)
    if len(text) > MAX_CHARACTERS:
        return _left(asked, f"the query has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    log_texts(text)
    query = encoder.query(text)
    if query is None:
        return _left(asked, NO_WORDS)
    return rewrite(asked.body, score_script(query, scoring), window=asked.window, fields=scoring.fields)


def _left(asked: RewriteAsked, reason: str) -> Rewritten:
    return Rewritten(asked.body, reranked=False, reason=reason)
