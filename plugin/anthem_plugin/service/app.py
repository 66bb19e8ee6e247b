"""Builds the application: includes every group of endpoints, adds the request guard, and formats all errors alike."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from anthem_core.cores import usable_cores
from anthem_core.encoding.encoder import Encoder
from anthem_plugin.service import encode, health, metrics, rerank, rewrite
from anthem_plugin.service.context import ServiceContext
from anthem_plugin.service.guard import RequestGuard
from anthem_plugin.service.models import ErrorResponse
from anthem_plugin.service.settings import ServiceSettings
from anthem_plugin.service.validation import describe_invalid_request

MAX_WORKER_THREADS = 4  # each keeps 30 MB

_DESCRIPTION = """Hyperbolic reranking of product search for an existing OpenSearch cluster.

A request may contain up to {0.max_documents:,} documents and {0.max_bytes:,} bytes. Rerank endpoints read the first
{0.max_characters:,} characters of each text; encode endpoints reject longer texts.
"""
_ERROR_DESCRIPTIONS: dict[int | str, str] = {
    401: "The API key is missing or wrong.",
    413: "The request body is too large.",
    422: "The request is invalid; the response says why.",
    500: "The service failed.",
    503: "Too many requests are in progress, or the request timed out.",
}


def create_app(encoder: Encoder, settings: ServiceSettings | None = None) -> FastAPI:
    """Create the service for an encoder; its graphs are loaded when this returns.

    Raises:
        BundleError: The bundle has no weights for lexical score and containment, or its attention graph cannot be used.
    """
    context = ServiceContext.create(encoder, settings or ServiceSettings())
    app = FastAPI(
        title="ANTHEM Search",
        description=_DESCRIPTION.format(context.settings),
        version=version("anthem-search"),
        responses={status: {"model": ErrorResponse, "description": why} for status, why in _ERROR_DESCRIPTIONS.items()},
        lifespan=_limit_threads,
        exception_handlers={RequestValidationError: _refuse_invalid, HTTPException: _refuse_unreadable},
    )
    for router in (
        rerank.routes(context),
        rewrite.routes(context),
        encode.routes(context),
        health.routes(context),
        metrics.routes(context.metrics),
    ):
        app.include_router(router)
    app.add_middleware(RequestGuard, settings=context.settings, metrics=context.metrics)
    return app


@asynccontextmanager
async def _limit_threads(_: FastAPI) -> AsyncIterator[None]:
    """Run the work of long requests in as many threads as there are cores to run them, and only a few."""
    current_default_thread_limiter().total_tokens = min(MAX_WORKER_THREADS, usable_cores())
    yield


async def _refuse_invalid(_: Request, error: RequestValidationError) -> Response:
    return _unprocessable_response(describe_invalid_request(error.errors(), error.body))


async def _refuse_unreadable(request: Request, error: HTTPException) -> Response:
    """Answer bytes that the JSON parser rejects with 422, as any other invalid input; FastAPI's own status is 400."""
    if error.status_code == 400:
        return _unprocessable_response(
            "The body is not readable JSON in UTF-8: check its encoding, its nesting and its numbers."
        )
    return await http_exception_handler(request, error)


def _unprocessable_response(sentence: str) -> Response:
    return JSONResponse(ErrorResponse(detail=sentence).model_dump(), status_code=422)
