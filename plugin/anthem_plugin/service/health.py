"""`GET /health`: whether the service answers, and what it answers with."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from anthem_core.encoder import Encoder


class Health(BaseModel):
    """State of the service."""

    status: Literal["ok"] = Field(description="The bundle is loaded and requests are answered.")
    model: str = Field(description="Id of the model; vectors in an index carry the same.")
    version: str = Field(description="Version of anthem-search.")


def routes(encoder: Encoder) -> APIRouter:
    """The health check of a service with this encoder."""
    router = APIRouter(tags=["health"])
    state = Health(status="ok", model=encoder.bundle.model, version=version("anthem-search"))

    @router.get("/health")
    def health() -> Health:
        """Say that the service answers, with which model and in which version."""
        return state

    return router
