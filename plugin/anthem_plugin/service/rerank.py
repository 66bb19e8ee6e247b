"""`POST /v1/rerank`, compatible with Cohere, and `POST /rerank`, compatible with Text Embeddings Inference (TEI).

Both APIs are defined elsewhere, so unknown names in a request are ignored. ml-commons, which calls them for
OpenSearch, needs every document exactly once, and reads a score as a Java Double only if it has a decimal point or an
exponent and at most 18 characters.
"""

import math
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from anthem_plugin.scoring.window import rank_descending
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import INTEGRAL_FLOAT_AS_INT, json_response

_MAX_LOG_ODDS = 30.0


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which a JSON response in UTF-8 cannot contain, by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


LenientText = Annotated[str, AfterValidator(_replace_surrogates)]


class _LenientModel(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class RerankDocument(_LenientModel):
    """A document as an object, which version 1 of Cohere's API allows."""

    text: LenientText = Field(description="Text of the document.")


QueryText = Annotated[LenientText, Field(description="Query text; characters past `--max-characters` are ignored.")]


class RerankRequest(_LenientModel):
    """Documents to rerank, in the format of Cohere's clients and of OpenSearch's ml-commons."""

    query: QueryText
    documents: Annotated[list[LenientText | RerankDocument], Field(min_length=1)] = Field(
        description="Titles, or stored vectors as text in OpenSearch's format.",
        examples=[["Fire TV stick 4K", "Red running shoe"]],
    )
    top_n: Annotated[int, Field(ge=1), INTEGRAL_FLOAT_AS_INT] | None = Field(
        None, description="Number of results; all documents by default."
    )
    return_documents: bool | None = Field(None, description="Whether each result contains its document.")
    model: str | None = Field(None, description="Ignored: a service has one model.")


class RerankResult(BaseModel):
    """One document and its relevance."""

    index: int = Field(description="Position of the document in the request, from 0.")
    relevance_score: float = Field(
        description="Score in [0, 1] without a lexical score; comparable between requests to the same model."
    )
    document: RerankDocument | None = Field(None, description="The document, if `return_documents` is true.")


class RerankResponse(BaseModel):
    """The documents, most relevant first."""

    id: str = Field(description="Unique id of this response.")
    results: list[RerankResult]
    meta: dict[str, Any]


class TeiRerankRequest(_LenientModel):
    """Texts to rerank, in the format of Text Embeddings Inference."""

    query: QueryText
    texts: Annotated[list[LenientText], Field(min_length=1)] = Field(
        description="Titles, or stored vectors as text.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )
    raw_scores: bool = Field(False, description="Return log-odds instead of scores in [0, 1].")
    return_text: bool = Field(False, description="Whether each result contains its text.")


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

    @router.post("/v1/rerank", response_model=RerankResponse)
    async def cohere(request: RerankRequest) -> Response:
        """Rerank documents as Cohere's API does; ties keep the order of the request."""
        texts = [document if isinstance(document, str) else document.text for document in request.documents]
        context.count_documents("documents", texts)
        ranked = await _rank_documents(context, request.query, texts)
        results: list[dict[str, Any]] = [
            {"index": number, "relevance_score": round_score(score)} for number, score in ranked[: request.top_n]
        ]
        if request.return_documents:
            results = [result | {"document": {"text": texts[result["index"]]}} for result in results]
        return json_response({"id": uuid4().hex, "results": results, "meta": {"api_version": {"version": "1"}}})

    @router.post("/rerank", response_model=list[TeiRerankResult])
    async def tei(request: TeiRerankRequest) -> Response:
        """Rerank texts as Text Embeddings Inference does; ties keep the order of the request."""
        context.count_documents("texts", request.texts)
        ranked = await _rank_documents(context, request.query, request.texts)
        scores = [round_score(log_odds(score) if request.raw_scores else score) for _, score in ranked]
        results: list[dict[str, Any]] = [
            {"index": number, "score": score, "relevance_score": score}
            for (number, _), score in zip(ranked, scores, strict=True)
        ]
        if request.return_text:
            results = [result | {"text": request.texts[result["index"]]} for result in results]
        return json_response(results)

    return router


def round_score(value: float) -> float:
    """Round to nine significant digits: as text, at most 16 characters with a decimal point or an exponent."""
    return float(f"{value:.9g}")


def log_odds(probability: float) -> float:
    """Log-odds, `log(p / (1 − p))`, limited to ±30."""
    if not 0 < probability < 1:
        return math.copysign(_MAX_LOG_ODDS, probability - 0.5)
    return max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, math.log(probability) - math.log1p(-probability)))


async def _rank_documents(context: ServiceContext, query: str, documents: list[str]) -> list[tuple[int, float]]:
    """Number and relevance of every document, most relevant first."""
    log_texts(query, *documents)
    limit = context.settings.max_characters
    scores = await context.score_documents(query[:limit], [text[:limit] for text in documents])
    order = rank_descending(scores)
    return list(zip(order, scores[order].tolist(), strict=True))
