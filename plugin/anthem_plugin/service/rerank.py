"""`POST /v1/rerank` as Cohere has it and `POST /rerank` as Text Embeddings Inference has it: documents in, scores out.

Their contracts are others': a name we do not know is passed over, not refused. ml-commons reads a score as a Java
Double only where it has a point or an exponent and at most 18 characters, and needs every document exactly once.
"""

import math
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from anthem_core.geometry.lorentz import Array
from anthem_plugin.scoring.window import rank_descending
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import INTEGRAL_FLOAT_AS_INT

_MAX_LOG_ODDS = 30.0


def _replace_surrogates(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no answer could hold."""
    return text.encode("utf-8", "replace").decode()


LenientText = Annotated[str, AfterValidator(_replace_surrogates)]


class _LenientModel(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class RerankDocument(_LenientModel):
    """A document as an object, which Cohere's first API allows."""

    text: LenientText = Field(description="Text of the document.")


QueryText = Annotated[LenientText, Field(description="Query; what is beyond the characters that are read has no say.")]


class RerankRequest(_LenientModel):
    """Documents to rerank, as Cohere's clients and OpenSearch's ml-commons ask."""

    query: QueryText
    documents: Annotated[list[LenientText | RerankDocument], Field(min_length=1)] = Field(
        description="Titles, or stored vectors as OpenSearch gives them in text.",
        examples=[["Fire TV stick 4K", "Red running shoe"]],
    )
    top_n: Annotated[int, Field(ge=1), INTEGRAL_FLOAT_AS_INT] | None = Field(
        None, description="Number of results; all where it is left out."
    )
    return_documents: bool | None = Field(None, description="Whether each result brings its document along.")
    model: str | None = Field(None, description="Passed over: a service has one model.")


class RerankResult(BaseModel):
    """One document and how relevant it is."""

    index: int = Field(description="Place of the document among those given, from 0.")
    relevance_score: float = Field(description="In [0, 1]; comparable within one model, lexical score left out.")
    document: RerankDocument | None = Field(None, description="The document, where it was asked for.")


class RerankResponse(BaseModel):
    """The documents, most relevant first."""

    id: str = Field(description="Id of this answer.")
    results: list[RerankResult]
    meta: dict[str, Any]


class TeiRerankRequest(_LenientModel):
    """Texts to rerank, as clients of Text Embeddings Inference ask."""

    query: QueryText
    texts: Annotated[list[LenientText], Field(min_length=1)] = Field(
        description="Titles, or stored vectors in text.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )
    raw_scores: bool = Field(False, description="Log-odds instead of scores in [0, 1].")
    return_text: bool = Field(False, description="Whether each rank brings its text along.")


class TeiRerankResult(BaseModel):
    """One text and its score, under both names: `connector.post_process.default.rerank` reads the second."""

    index: int
    score: float
    relevance_score: float
    text: str | None = None


def routes(service: ServiceContext) -> APIRouter:
    """The endpoints that score documents, with a bundle's attention where it has one."""
    router = APIRouter(tags=["rerank"])

    @router.post("/v1/rerank", response_model_exclude_none=True)
    def cohere(asked: RerankRequest) -> RerankResponse:
        """Rerank documents as Cohere's API does; ties keep the order given."""
        texts = [document if isinstance(document, str) else document.text for document in asked.documents]
        service.take("documents", texts)
        scores = _score_documents(service, asked.query, texts)
        results = [
            RerankResult(
                index=number,
                relevance_score=round_score(scores[number]),
                document=RerankDocument(text=texts[number]) if asked.return_documents else None,
            )
            for number in rank_descending(scores)[: asked.top_n]
        ]
        return RerankResponse(id=uuid4().hex, results=results, meta={"api_version": {"version": "1"}})

    @router.post("/rerank", response_model_exclude_none=True)
    def tei(asked: TeiRerankRequest) -> list[TeiRerankResult]:
        """Rerank texts as Text Embeddings Inference does; ties keep the order given."""
        service.take("texts", asked.texts)
        scores = _score_documents(service, asked.query, asked.texts)
        ranks = []
        for number in rank_descending(scores):
            score = round_score(log_odds(scores[number]) if asked.raw_scores else scores[number])
            text = asked.texts[number] if asked.return_text else None
            ranks.append(TeiRerankResult(index=number, score=score, relevance_score=score, text=text))
        return ranks

    return router


def round_score(value: float) -> float:
    """The number to nine digits: as text it has a point or an exponent, and at most 16 characters."""
    return float(f"{value:.9g}")


def log_odds(share: float) -> float:
    """Log-odds of a share, `log(p / (1 − p))`, within ±30."""
    if not 0 < share < 1:
        return math.copysign(_MAX_LOG_ODDS, share - 0.5)
    return max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, math.log(share) - math.log1p(-share)))


def _score_documents(service: ServiceContext, query: str, texts: list[str]) -> Array:
    log_texts(query, *texts)
    most = service.settings.characters
    return service.documents.scores(query[:most], [text[:most] for text in texts])
