"""`GET /health`, whether the service answers and with what, and `GET /ready`, whether it takes more work now."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from anthem_plugin.service.context import ServiceContext


class HealthResponse(BaseModel):
    """State of the service."""

    status: Literal["ok"] = Field(description="The bundle is loaded and requests are answered.")
    model: str = Field(description="Id of the model; vectors in an index carry the same.")
    version: str = Field(description="Version of anthem-search.")


class ReadinessResponse(BaseModel):
    """Whether the service takes more work."""

    status: Literal["ready", "busy"] = Field(description="Busy, with status 503, where as many requests run as may.")


def routes(service: ServiceContext) -> APIRouter:
    """The checks of a service."""
    router = APIRouter(tags=["health"])
    state = HealthResponse(status="ok", model=service.encoder.bundle.model, version=version("anthem-search"))

    @router.get("/health")
    def health() -> HealthResponse:
        """Say that the service answers, with which model and in which version."""
        return state

    @router.get("/ready", responses={503: {"model": ReadinessResponse}})
    def ready(request: Request, response: Response) -> ReadinessResponse:
        """Say whether the service takes more work; its graphs are warm before it listens."""
        busy = request.scope["guard"].full
        response.status_code = 503 if busy else 200
        return ReadinessResponse(status="busy" if busy else "ready")

    return router
