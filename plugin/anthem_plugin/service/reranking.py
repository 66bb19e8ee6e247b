"""`POST /v1/rerank` as Cohere has it and `POST /rerank` as Text Embeddings Inference has it: documents in, scores out.

Their contracts are others': a name we do not know is passed over, not refused. ml-commons reads a score as a Java
Double only where it has a point or an exponent and at most 18 characters, and needs every document exactly once.
"""

import math
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from anthem_core.lorentz import Array
from anthem_plugin.rerank import best_first
from anthem_plugin.service.common import WHOLE, Service, log_texts

_MOST_LOGIT = 30.0


def _mended(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no answer could hold."""
    return text.encode("utf-8", "replace").decode()


Text = Annotated[str, AfterValidator(_mended)]


class _Foreign(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Passage(_Foreign):
    """A document as an object, which Cohere's first API allows."""

    text: Text = Field(description="Text of the document.")


Query = Annotated[Text, Field(description="Query; what is beyond the characters that are read has no say.")]


class CohereAsked(_Foreign):
    """Documents to rerank, as Cohere's clients and OpenSearch's ml-commons ask."""

    query: Query
    documents: Annotated[list[Text | Passage], Field(min_length=1)] = Field(
        description="Titles, or stored vectors as OpenSearch gives them in text.",
        examples=[["Fire TV stick 4K", "Red running shoe"]],
    )
    top_n: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, description="Number of results; all where it is left out."
    )
    return_documents: bool | None = Field(None, description="Whether each result brings its document along.")
    model: str | None = Field(None, description="Passed over: a service has one model.")


class CohereResult(BaseModel):
    """One document and how relevant it is."""

    index: int = Field(description="Place of the document among those given, from 0.")
    relevance_score: float = Field(description="In [0, 1]; comparable within one model, lexical score left out.")
    document: Passage | None = Field(None, description="The document, where it was asked for.")


class CohereAnswer(BaseModel):
    """The documents, most relevant first."""

    id: str = Field(description="Id of this answer.")
    results: list[CohereResult]
    meta: dict[str, Any]


class TeiAsked(_Foreign):
    """Texts to rerank, as clients of Text Embeddings Inference ask."""

    query: Query
    texts: Annotated[list[Text], Field(min_length=1)] = Field(
        description="Titles, or stored vectors in text.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )
    raw_scores: bool = Field(False, description="Log-odds instead of scores in [0, 1].")
    return_text: bool = Field(False, description="Whether each rank brings its text along.")


class TeiRank(BaseModel):
    """One text and its score, under both names: `connector.post_process.default.rerank` reads the second."""

    index: int
    score: float
    relevance_score: float
    text: str | None = None


def routes(service: Service) -> APIRouter:
    """The endpoints that score documents, with a bundle's attention where it has one."""
    router = APIRouter(tags=["rerank"])

    @router.post("/v1/rerank", response_model_exclude_none=True)
    def cohere(asked: CohereAsked) -> CohereAnswer:
        """Rerank documents as Cohere's API does; ties keep the order given."""
        texts = [document if isinstance(document, str) else document.text for document in asked.documents]
        service.take("documents", texts)
        scores = _scores(service, asked.query, texts)
        results = [
            CohereResult(
                index=number,
                relevance_score=short(scores[number]),
                document=Passage(text=texts[number]) if asked.return_documents else None,
            )
            for number in best_first(scores)[: asked.top_n]
        ]
        return CohereAnswer(id=uuid4().hex, results=results, meta={"api_version": {"version": "1"}})

    @router.post("/rerank", response_model_exclude_none=True)
    def tei(asked: TeiAsked) -> list[TeiRank]:
        """Rerank texts as Text Embeddings Inference does; ties keep the order given."""
        service.take("texts", asked.texts)
        scores = _scores(service, asked.query, asked.texts)
        ranks = []
        for number in best_first(scores):
            score = short(log_odds(scores[number]) if asked.raw_scores else scores[number])
            text = asked.texts[number] if asked.return_text else None
            ranks.append(TeiRank(index=number, score=score, relevance_score=score, text=text))
        return ranks

    return router


def short(value: float) -> float:
    """The number to nine digits: as text it has a point or an exponent, and at most 16 characters."""
    return float(f"{value:.9g}")


def log_odds(share: float) -> float:
    """Log-odds of a share, `log(p / (1 − p))`, within ±30."""
    if not 0 < share < 1:
        return math.copysign(_MOST_LOGIT, share - 0.5)
    return max(-_MOST_LOGIT, min(_MOST_LOGIT, math.log(share) - math.log1p(-share)))


def _scores(service: Service, query: str, texts: list[str]) -> Array:
    log_texts(query, *texts)
    most = service.settings.characters
    return service.documents.scores(query[:most], [text[:most] for text in texts])
