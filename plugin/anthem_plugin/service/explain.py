"""`POST /explain`: why titles have their places for a query, or a product of an index its place in a search."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Response
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_plugin.rewriter.rescore import MAX_RESCORE_WINDOW
from anthem_plugin.search.title_explanation import TitleExplainer
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import (
    INTEGRAL_FLOAT_AS_INT,
    ErrorResponse,
    RequestModel,
    StrictText,
    check_sendable,
    json_response,
    unprocessable,
)

if TYPE_CHECKING:
    from anthem_plugin.client import AnthemClient
    from anthem_plugin.service.ui.page_search import PageTarget

MAX_EXPLAINED_TITLES = 100  # a grid takes some milliseconds
CLUSTER_FAILED = 502
_TITLES_FORM, _HIT_FORM = "explain-titles", "explain-hit"  # differ from every field: they appear in error locations
_HIT_FIELDS = {"index", "body", "id"}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "The service does not read this index."},
    502: {"model": ErrorResponse, "description": "The cluster does not answer, or refuses the search."},
}


class ExplainTitlesRequest(RequestModel):
    """Titles to explain for a query, without a cluster."""

    query: StrictText = Field(description="Query text.", examples=["fire tv"])
    titles: Annotated[list[StrictText], Field(min_length=1, max_length=MAX_EXPLAINED_TITLES)] = Field(
        description="Titles of products.", examples=[["Fire TV stick 4K"]]
    )
    lexical: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        None, description="Lexical score of each title; 0 by default, which leaves only the factor meaningful."
    )

    @field_validator("lexical")
    @classmethod
    def _check_number(cls, lexical: list[float] | None, found: ValidationInfo) -> list[float] | None:
        titles = found.data.get("titles")  # absent if they are invalid, which is said first
        if lexical is not None and titles is not None and len(lexical) != len(titles):
            raise ValueError(f"expected one score for each title, {len(titles)} in all, found {len(lexical)}")
        return lexical


def _check_filled(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return text


class ExplainHitRequest(RequestModel):
    """A product of the service's index, and the search in which its place is explained."""

    index: StrictText = Field(description="The index that the service reads (`anthem serve --ui --index`).")
    body: Annotated[dict[str, Any], AfterValidator(check_sendable)] = Field(description="Search body.")
    id: Annotated[StrictText, Field(json_schema_extra={"minLength": 1}), AfterValidator(_check_filled)] = Field(
        description="Id of the product."
    )
    query_text: StrictText | None = Field(None, description="Query text; by default it is found in the body.")
    mode: Literal["cluster", "client", "filter", "retrieve", "none"] = Field(
        "cluster", description="How the search is reranked."
    )
    window: Annotated[int, Field(ge=1, le=MAX_RESCORE_WINDOW), INTEGRAL_FLOAT_AS_INT] | None = Field(
        None, description="Number of hits to rerank; defaults to that of the bundle, or 100."
    )


def _choose_form(value: object) -> str:
    return _HIT_FORM if isinstance(value, dict) and _HIT_FIELDS & value.keys() else _TITLES_FORM


ExplainRequest = Annotated[
    Annotated[ExplainTitlesRequest, Tag(_TITLES_FORM)] | Annotated[ExplainHitRequest, Tag(_HIT_FORM)],
    Discriminator(_choose_form),
]


class Explanations:
    """Explains for the endpoint; the model's grids are read at the first request."""

    def __init__(self, context: ServiceContext, target: PageTarget | None) -> None:
        self._context, self._target = context, target

    def of_titles(self, request: ExplainTitlesRequest) -> dict[str, Any]:
        """What `anthem explain --json` prints for the titles."""
        self._context.check_length("query", request.query)
        for number, title in enumerate(request.titles):
            self._context.check_length(f"titles.{number}", title)
        log_texts(request.query, *request.titles)
        found = self._explainer.explain_all(request.query, request.titles, request.lexical or ())
        weights = self._explainer.query_weights(request.query)
        return {"query": request.query, "weights": weights, "titles": [title.to_dict() for title in found]}

    def of_hit(self, request: ExplainHitRequest) -> dict[str, Any]:
        """What `AnthemClient.explain` returns for the product.

        Raises:
            HTTPException: The service reads another index or none, or the cluster does not answer the search.
        """
        if self._target is None:
            raise HTTPException(404, "This service reads no index; start it with: anthem serve --ui --index INDEX.")
        if request.index != self._target.index:
            raise HTTPException(404, f"index: this service reads `{self._target.index}` only.")
        asked = {"query_text": request.query_text, "mode": request.mode, "window": request.window}
        try:
            with cluster_errors():
                return self._client.explain(request.index, request.body, request.id, **asked).to_dict()
        except ValueError as error:
            raise unprocessable(f"body: {error}.") from error
        except ClusterError as error:
            raise HTTPException(CLUSTER_FAILED, str(error)) from error

    @cached_property
    def _explainer(self) -> TitleExplainer:
        return TitleExplainer(self._context.encoder.bundle, self._context.encoder)

    @cached_property
    def _client(self) -> AnthemClient:
        from anthem_plugin.client import AnthemClient

        assert self._target is not None  # noqa: S101 (`of_hit` has checked it)
        return AnthemClient(self._target.cluster, self._context.encoder)


def routes(context: ServiceContext, target: PageTarget | None = None) -> APIRouter:
    """Define the endpoint that explains titles and, with an index, its products."""
    router, explanations = APIRouter(tags=["explain"]), Explanations(context, target)

    @router.post("/explain", responses=_RESPONSES)
    def explain(request: ExplainRequest) -> Response:
        """Explain titles for a query, or a product of the service's index in a search: grid, region, score.

        With `query` and `titles` no cluster is needed. With `index`, `body` and `id` the numbers are those of the
        search, and `hit` has the ranks before and after.
        """
        if isinstance(request, ExplainHitRequest):
            return json_response(explanations.of_hit(request))
        return json_response(explanations.of_titles(request))

    return router
