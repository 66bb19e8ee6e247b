"""`GET /health`, whether the service answers and with which model, and `GET /ready`, whether it accepts more work."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from anthem_plugin.service.context import ServiceContext
from anthem_plugin.service.guard import RETRY_HEADERS


class HealthResponse(BaseModel):
    """State of the service."""

    status: Literal["ok"] = Field(description="The bundle is loaded and requests are answered.")
    model: str = Field(description="Id of the model; it must equal the model id of the vectors in the index.")
    version: str = Field(description="Version of anthem-search.")


class ReadinessResponse(BaseModel):
    """Whether the service accepts more work."""

    status: Literal["ready", "busy"] = Field(
        description="`busy`, with status 503, while the maximum number of requests is in progress."
    )


def routes(context: ServiceContext) -> APIRouter:
    """Define the health checks."""
    router = APIRouter(tags=["health"])
    state = HealthResponse(status="ok", model=context.encoder.bundle.model_id, version=version("anthem-search"))

    @router.head("/health", include_in_schema=False)  # as some load balancers ask
    @router.get("/health")
    async def health() -> HealthResponse:
        """Report that the service answers, its model and its version."""
        return state

    @router.head("/ready", include_in_schema=False)
    @router.get("/ready", responses={503: {"model": ReadinessResponse}})
    async def ready(request: Request, response: Response) -> ReadinessResponse:
        """Report whether the service accepts more work; its graphs are loaded before it listens."""
        is_busy = request.scope["guard"].is_full
        if is_busy:
            response.status_code = 503
            response.headers.update(RETRY_HEADERS)
        return ReadinessResponse(status="busy" if is_busy else "ready")

    return router
