"""`POST /encode/query` and `POST /encode/products`: encode texts for the script and the index."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from anthem_core.encoding.attention import AttentionTable
from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON
from anthem_plugin.scoring.painless import table_params
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import RequestModel, StrictText, json_response


class EncodeQueryRequest(RequestModel):
    """A query to encode."""

    text: StrictText = Field(description="Query text, in any script.", examples=["fire tv"])


class QueryEncoding(BaseModel):
    """A query as K hyperboloids in dimension D, and as the tables of the attention score."""

    centres: list[list[float]] = Field(description="K points of D+1 Lorentz coordinates, time first.")
    limits: list[list[float]] = Field(description="K lists of D limits, each at least 0.")
    weights: list[float] = Field(description="K weights, each at least 0, that sum to 1.")
    size: float = Field(description="Weighted mean of the limits; more general queries have a larger size.")
    tables: list[dict[str, Any]] = Field(
        description="The attention table as a parameter of the stored script; empty if the model has no attention."
    )


class EncodeQueryResponse(BaseModel):
    """An encoded query, or the reason why it cannot be encoded."""

    model: str = Field(description="Id of the model.")
    query: QueryEncoding | None = Field(description="The query; null for a text that cannot be encoded.")
    reason: str | None = Field(description="Why the query is null, or null.")


class EncodeProductsRequest(RequestModel):
    """Products to encode."""

    texts: list[StrictText] = Field(
        description="Product texts, usually titles.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )


class EncodeProductsResponse(BaseModel):
    """Values to store in the index as `anthem.model`, `.vector`, `.trigrams` and `.text_hash`, in request order."""

    model: str = Field(description="Id of the model, for `anthem.model` of every product.")
    vector_step: float = Field(description="Unit of the numbers in `vectors`.")
    vectors: list[list[int]] = Field(description="D space coordinates of the point of each text, in steps.")
    trigrams: list[str] | None = Field(
        description="Base64 of the trigrams of each text and their weights; null if the model has no attention."
    )
    text_hashes: list[str] = Field(
        description="Sixteen hex digits per text; `anthem ingest` skips products whose text hash is unchanged."
    )


def routes(context: ServiceContext) -> APIRouter:
    """Define the endpoints that encode texts."""
    router = APIRouter(prefix="/encode", tags=["encode"])
    model_id = context.encoder.bundle.model_id

    @router.post("/query", response_model=EncodeQueryResponse)
    async def encode_query(request: EncodeQueryRequest) -> Response:
        """Encode a query as hyperboloids and an attention table; a text without letters or digits has neither."""
        context.check_length("text", request.text)
        log_texts(request.text)
        query = context.encode_query(request.text)
        if query is None:
            return json_response({"model": model_id, "query": None, "reason": NO_WORDS_REASON})
        tables = context.encode_tables([request.text])
        return json_response({"model": model_id, "query": _describe_query(query, tables), "reason": None})

    @router.post("/products")
    def encode_products(request: EncodeProductsRequest) -> EncodeProductsResponse:
        """Encode products as vectors and trigrams, ready to be stored in an index."""
        context.count_documents("texts", request.texts)
        for number, text in enumerate(request.texts):
            context.check_length(f"texts.{number}", text)
        log_texts(*request.texts)
        texts, attention, encoder = request.texts, context.attention, context.encoder
        vectors, words = encoder.encode_vectors(texts), map(encoder.bundle.vocabulary.split_words, texts)
        trigrams = attention.encode_titles(texts).pack() if attention else [None] * len(texts)
        stored = [
            ModelFields().document(vector, model_id, text_words, packed)["anthem"]
            for vector, text_words, packed in zip(vectors, words, trigrams, strict=True)
        ]
        return EncodeProductsResponse(
            model=model_id,
            vector_step=context.encoder.bundle.vector_step,
            vectors=[product["vector"] for product in stored],
            trigrams=[product["trigrams"] for product in stored] if attention else None,
            text_hashes=[product["text_hash"] for product in stored],
        )

    return router


def _describe_query(query: EncodedQuery, tables: Iterable[AttentionTable]) -> dict[str, Any]:
    """A query in the form of `QueryEncoding`."""
    return {
        "centres": query.centres.tolist(),
        "limits": query.limits.tolist(),
        "weights": query.weights.tolist(),
        "size": query.size,
        "tables": [table_params(table) for table in tables],
    }
