"""Builds the application: includes every group of endpoints, adds the request guard, and formats all errors alike."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from anthem_core.cores import usable_cores
from anthem_core.encoding.encoder import Encoder
from anthem_plugin.service import encode, explain, health, metrics, rerank, rewrite
from anthem_plugin.service.context import ServiceContext
from anthem_plugin.service.description_page import DESCRIPTION_PATH, add_description_page
from anthem_plugin.service.guard import PUBLIC_PATHS, RequestGuard
from anthem_plugin.service.models import ErrorResponse
from anthem_plugin.service.settings import ServiceSettings
from anthem_plugin.service.validation import describe_invalid_request

if TYPE_CHECKING:
    from anthem_plugin.service.ui.page_search import PageTarget

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


def create_app(encoder: Encoder, settings: ServiceSettings | None = None, page: "PageTarget | None" = None) -> FastAPI:
    """Create the service for an encoder, with a page to try it if `page` says on what; its graphs are loaded then.

    Raises:
        BundleError: The bundle has no weights for lexical score and containment, or its attention graph cannot be used.
    """
    context = ServiceContext.create(encoder, settings or ServiceSettings())
    app = FastAPI(
        title="ANTHEM Search",
        description=_DESCRIPTION.format(context.settings),
        version=version("anthem-search"),
        responses={status: {"model": ErrorResponse, "description": why} for status, why in _ERROR_DESCRIPTIONS.items()},
        docs_url=None,  # its page, like that of `redoc_url`, loads scripts from another server
        redoc_url=None,
        lifespan=_limit_threads,
        exception_handlers={RequestValidationError: _refuse_invalid, HTTPException: _refuse_unreadable},
    )
    for router in (
        rerank.routes(context),
        rewrite.routes(context),
        encode.routes(context),
        explain.routes(context, page),
        health.routes(context),
        metrics.routes(context.metrics),
    ):
        app.include_router(router)
    add_description_page(app)
    public_paths = PUBLIC_PATHS if page is None else PUBLIC_PATHS | _add_page(app, context, page)
    app.add_middleware(RequestGuard, settings=context.settings, metrics=context.metrics, public_paths=public_paths)
    return app


def _add_page(app: FastAPI, context: ServiceContext, target: "PageTarget") -> frozenset[str]:
    """Add the page, and return the paths of its files: a browser cannot send a key with them."""
    from anthem_plugin.service.ui import routes
    from anthem_plugin.service.ui.own_host import OwnHostGuard
    from anthem_plugin.service.ui.page_files import PAGE_PATH, read_page_files
    from anthem_plugin.service.ui.page_search import SearchPage

    app.include_router(routes.routes(context, SearchPage(target, context)))
    if target.names is not None and not context.settings.api_keys:
        app.add_middleware(OwnHostGuard, names=target.names)
    return frozenset({f"{PAGE_PATH}/", *(file.path for file in read_page_files())})


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
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            return _unprocessable_response(f"The body is encoded as {encoding[:60]}; send it without Content-Encoding.")
        return _unprocessable_response(
            "The body is not readable JSON in UTF-8: check its encoding, its nesting and its numbers."
        )
    if error.detail == HTTPStatus(error.status_code).phrase:  # the framework's own words
        error = HTTPException(error.status_code, _describe_refusal(request, error), error.headers)
    return await http_exception_handler(request, error)


def _describe_refusal(request: Request, error: HTTPException) -> str:
    """What is wrong with the path or the method of a request, and what to do."""
    path, allowed = request.url.path[:60], (error.headers or {}).get("Allow")
    if error.status_code == 405:
        return f"{request.method} is not allowed for {path}; expected {allowed}."
    if error.status_code == 404:
        return f"There is no endpoint {path}; {DESCRIPTION_PATH} lists all of them."
    return error.detail


def _unprocessable_response(sentence: str) -> Response:
    return JSONResponse(ErrorResponse(detail=sentence).model_dump(), status_code=422)
