"""`POST /encode/query` and `POST /encode/products`: encode texts as hyperboloids and points."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import RequestModel, StrictText


class EncodeQueryRequest(RequestModel):
    """A query to encode."""

    text: StrictText = Field(description="Query text, in any script.", examples=["fire tv"])


class QueryHyperboloids(BaseModel):
    """The K hyperboloids of a query, in dimension D."""

    centres: list[list[float]] = Field(description="K points of D+1 Lorentz coordinates, time first.")
    limits: list[list[float]] = Field(description="K lists of D limits, each at least 0.")
    weights: list[float] = Field(description="K weights, each at least 0, that sum to 1.")
    size: float = Field(description="Weighted mean of the limits; more general queries have a larger size.")


class EncodeQueryResponse(BaseModel):
    """A query as hyperboloids, or the reason why it has none."""

    model: str = Field(description="Id of the model.")
    query: QueryHyperboloids | None = Field(description="The query; null for a text that cannot be encoded.")
    reason: str | None = Field(description="Why the query is null, or null.")


class EncodeProductsRequest(RequestModel):
    """Products to encode."""

    texts: list[StrictText] = Field(
        description="Product texts, usually titles.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )


class EncodeProductsResponse(BaseModel):
    """Values to store in the index as `anthem.model`, `anthem.vector` and `anthem.text_hash`, in request order."""

    model: str = Field(description="Id of the model, for `anthem.model` of every product.")
    points: list[list[float]] = Field(description="One point of D+1 Lorentz coordinates per text.")
    text_hashes: list[str] = Field(
        description="Sixteen hex digits per text; `anthem ingest` skips products whose text hash is unchanged."
    )


def routes(context: ServiceContext) -> APIRouter:
    """Define the endpoints that encode texts."""
    router = APIRouter(prefix="/encode", tags=["encode"])
    model_id = context.encoder.bundle.model_id

    @router.post("/query")
    def encode_query(request: EncodeQueryRequest) -> EncodeQueryResponse:
        """Encode a query as hyperboloids; a text without letters or digits has none."""
        context.check_length("text", request.text)
        log_texts(request.text)
        query = context.encode_query(request.text)
        if query is None:
            return EncodeQueryResponse(model=model_id, query=None, reason=NO_WORDS_REASON)
        return EncodeQueryResponse(model=model_id, query=_query_hyperboloids(query), reason=None)

    @router.post("/products")
    def encode_products(request: EncodeProductsRequest) -> EncodeProductsResponse:
        """Encode products as points, ready to be stored in an index."""
        context.count_documents("texts", request.texts)
        for number, text in enumerate(request.texts):
            context.check_length(f"texts.{number}", text)
        log_texts(*request.texts)
        points = context.encoder.encode_products(request.texts)
        stored = [
            VectorFields().document(point, model_id, text)["anthem"]
            for point, text in zip(points, request.texts, strict=True)
        ]
        vectors, hashes = [product["vector"] for product in stored], [product["text_hash"] for product in stored]
        return EncodeProductsResponse(model=model_id, points=vectors, text_hashes=hashes)

    return router


def _query_hyperboloids(query: EncodedQuery) -> QueryHyperboloids:
    return QueryHyperboloids(
        centres=query.centres.tolist(), limits=query.limits.tolist(), weights=query.weights.tolist(), size=query.size
    )
