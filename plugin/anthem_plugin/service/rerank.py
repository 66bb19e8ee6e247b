"""`POST /v1/rerank` and `/v2/rerank`, compatible with Cohere, and `POST /rerank`, with TEI, Jina and vLLM.

ml-commons, which calls them for OpenSearch, needs every document exactly once, and reads a score as a Java Double only
if it has a decimal point or an exponent and at most 18 characters. TEI is Text Embeddings Inference.
"""

import math
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from anthem_plugin.scoring.window import rank_descending
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import json_response
from anthem_plugin.service.rerank_requests import CohereRerankRequest, PlainRerankRequest, read_document_texts

_MAX_LOG_ODDS = 30.0


class RankedDocument(BaseModel):
    """A document of a response."""

    text: str = Field(description="Text by which the document was ranked.")


class RerankResult(BaseModel):
    """One document and its relevance."""

    index: int = Field(description="Position of the document in the request, from 0.")
    relevance_score: float = Field(
        description="Score in [0, 1] without a lexical score; comparable between requests to the same model."
    )
    document: RankedDocument | None = Field(None, description="The document, if it was requested.")


class CohereRerankResponse(BaseModel):
    """The documents, most relevant first."""

    id: str = Field(description="Unique id of this response.")
    results: list[RerankResult]
    meta: dict[str, Any] = Field(description="Version of the API.")


class DocumentsRerankResponse(BaseModel):
    """The documents, most relevant first, in the format of Jina and vLLM."""

    id: str = Field(description="Unique id of this response.")
    model: str = Field(description="Id of the service's model.")
    usage: dict[str, int] = Field(description="`total_tokens` is always 0: nothing is billed.")
    results: list[RerankResult]


class TeiRerankResult(BaseModel):
    """One text and its score under two names; `connector.post_process.default.rerank` reads `relevance_score`."""

    index: int
    score: float
    relevance_score: float
    text: str | None = None


def routes(context: ServiceContext) -> APIRouter:
    """Define the endpoints that score documents.

    They return the bytes of their response: FastAPI would check and convert every result once more.
    """
    router = APIRouter(tags=["rerank"])

    @router.post("/v1/rerank", response_model=CohereRerankResponse)
    async def rerank_v1(request: CohereRerankRequest) -> Response:
        """Rerank documents as version 1 of Cohere's API does; ties keep the order of the request."""
        return await _answer_cohere(context, request, "1")

    @router.post("/v2/rerank", response_model=CohereRerankResponse)
    async def rerank_v2(request: CohereRerankRequest) -> Response:
        """Rerank documents as version 2 of Cohere's API does; `max_tokens_per_doc` is ignored."""
        return await _answer_cohere(context, request, "2")

    @router.post("/rerank", response_model=list[TeiRerankResult] | DocumentsRerankResponse)
    async def rerank(request: PlainRerankRequest) -> Response:
        """Rerank `texts` as Text Embeddings Inference does, or `documents` as Jina and vLLM do."""
        if request.documents is not None:
            return await _answer_documents(context, request)
        texts = request.texts or []
        context.count_documents("texts", texts)
        ranked = await _rank_texts(context, request.query, texts, request.top_n)
        results: list[dict[str, Any]] = [
            {"index": number, "score": score, "relevance_score": score} for number, score in _rescale(ranked, request)
        ]
        if request.return_text:
            results = [result | {"text": texts[result["index"]]} for result in results]
        return json_response(results)

    return router


async def _answer_cohere(context: ServiceContext, request: CohereRerankRequest, version: str) -> Response:
    context.count_documents("documents", request.documents)
    texts = read_document_texts(request.documents, request.rank_fields)
    ranked = await _rank_texts(context, request.query, texts, request.top_n)
    rounded = [(number, round_score(score)) for number, score in ranked]
    results = _list_results(rounded, texts if request.return_documents else None)
    return json_response({"id": uuid4().hex, "results": results, "meta": {"api_version": {"version": version}}})


async def _answer_documents(context: ServiceContext, request: PlainRerankRequest) -> Response:
    documents = request.documents or []
    context.count_documents("documents", documents)
    texts = read_document_texts(documents, request.rank_fields)
    ranked = await _rank_texts(context, request.query, texts, request.top_n)
    returned = None if request.return_documents is False else texts
    return json_response(
        {
            "id": uuid4().hex,
            "model": context.encoder.bundle.model_id,
            "usage": {"total_tokens": 0},
            "results": _list_results(_rescale(ranked, request), returned),
        }
    )


def _list_results(ranked: Sequence[tuple[int, float]], texts: Sequence[str] | None) -> list[dict[str, Any]]:
    """Results in the form of `RerankResult`, with their documents if `texts` is given."""
    return [
        {"index": number, "relevance_score": score} | ({"document": {"text": texts[number]}} if texts else {})
        for number, score in ranked
    ]


def _rescale(ranked: Sequence[tuple[int, float]], request: PlainRerankRequest) -> list[tuple[int, float]]:
    """Numbers and rounded scores, or rounded log-odds if the request wants `raw_scores`."""
    return [(number, round_score(log_odds(score) if request.raw_scores else score)) for number, score in ranked]


def round_score(value: float) -> float:
    """Round to nine significant digits: as text, at most 16 characters with a decimal point or an exponent."""
    return float(f"{value:.9g}")


def log_odds(probability: float) -> float:
    """Log-odds, `log(p / (1 − p))`, limited to ±30."""
    if not 0 < probability < 1:
        return math.copysign(_MAX_LOG_ODDS, probability - 0.5)
    return max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, math.log(probability) - math.log1p(-probability)))


async def _rank_texts(
    context: ServiceContext, query: str, texts: Sequence[str], top_n: int | None
) -> list[tuple[int, float]]:
    """Number and relevance of the first `top_n` texts, or of all, most relevant first."""
    log_texts(query, *texts)
    limit = context.settings.max_characters
    scores = await context.score_documents(query[:limit], [text[:limit] for text in texts])
    order = rank_descending(scores)[:top_n]
    return list(zip(order, scores[order].tolist(), strict=True))
