"""`POST /encode/query` and `POST /encode/products`: text in, hyperbolic geometry out."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import RequestModel, StrictText


class EncodeQueryRequest(RequestModel):
    """A query to encode."""

    text: StrictText = Field(description="Query text, of any script.", examples=["fire tv"])


class QueryHyperboloids(BaseModel):
    """The regions a query asks for, K of them in dimension D."""

    centres: list[list[float]] = Field(description="K points of D+1 Lorentz coordinates, time first.")
    limits: list[list[float]] = Field(description="K limits of D coordinates, none below 0.")
    weights: list[float] = Field(description="K weights, none below 0, that sum to 1.")
    size: float = Field(description="Weighted mean of the limits; it grows with the generality of the query.")


class EncodeQueryResponse(BaseModel):
    """A query as hyperboloids, or why it has none."""

    model: str = Field(description="Id of the model.")
    query: QueryHyperboloids | None = Field(description="The query; null for a text that is left to OpenSearch.")
    reason: str | None = Field(description="Why there is no query, or null.")


class EncodeProductsRequest(RequestModel):
    """Products to encode."""

    texts: list[StrictText] = Field(
        description="Product texts, usually titles.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )


class EncodeProductsResponse(BaseModel):
    """What an index keeps of each product, in the order of the texts: `anthem.model`, `.vector` and `.text_hash`."""

    model: str = Field(description="Id of the model, for `anthem.model` of every product.")
    points: list[list[float]] = Field(description="A point of D+1 Lorentz coordinates for each text.")
    text_hashes: list[str] = Field(description="Sixteen hex digits for each text; `anthem ingest` skips what has them.")


def routes(service: ServiceContext) -> APIRouter:
    """The endpoints that encode."""
    router = APIRouter(prefix="/encode", tags=["encode"])
    model = service.encoder.bundle.model

    @router.post("/query")
    def encode_query(asked: EncodeQueryRequest) -> EncodeQueryResponse:
        """Encode a query as hyperboloids; a text without letters or digits has none."""
        service.check("text", asked.text)
        log_texts(asked.text)
        query = service.query(asked.text)
        if query is None:
            return EncodeQueryResponse(model=model, query=None, reason=NO_WORDS_REASON)
        return EncodeQueryResponse(model=model, query=_query_hyperboloids(query), reason=None)

    @router.post("/products")
    def encode_products(asked: EncodeProductsRequest) -> EncodeProductsResponse:
        """Encode products as points, ready to be written into an index."""
        service.take("texts", asked.texts)
        for number, text in enumerate(asked.texts):
            service.check(f"texts.{number}", text)
        log_texts(*asked.texts)
        points = service.encoder.products(asked.texts)
        made = [
            VectorFields().document(point, model, text)["anthem"]
            for point, text in zip(points, asked.texts, strict=True)
        ]
        vectors, hashes = [one["vector"] for one in made], [one["text_hash"] for one in made]
        return EncodeProductsResponse(model=model, points=vectors, text_hashes=hashes)

    return router


def _query_hyperboloids(query: EncodedQuery) -> QueryHyperboloids:
    return QueryHyperboloids(
        centres=query.centres.tolist(), limits=query.limits.tolist(), weights=query.weights.tolist(), size=query.size
    )
