"""The service as one application: every group of endpoints, what stands before them, and one way to refuse."""

from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from anthem_core.encoding.encoder import Encoder
from anthem_plugin.service import encode, health, metrics, rerank, rewrite
from anthem_plugin.service.context import ServiceContext
from anthem_plugin.service.guard import RequestGuard
from anthem_plugin.service.models import ErrorResponse
from anthem_plugin.service.settings import ServiceSettings

_DESCRIPTION = """Hyperbolic reranking of product search for an OpenSearch cluster that already works.

A request holds at most {0.documents:,} documents and {0.bytes:,} bytes; of a text {0.characters:,} characters are read.
"""
_ERROR_DESCRIPTIONS: dict[int | str, str] = {
    401: "The request shows no key, or none of the service.",
    413: "The request has more bytes than one may have.",
    422: "The request was refused; the answer says why.",
    500: "The service failed.",
    503: "As many requests are under way as may be, or time is up.",
}


def create_app(encoder: Encoder, settings: ServiceSettings | None = None) -> FastAPI:
    """The service around an encoder, its graphs warm.

    Raises:
        BundleError: The bundle has no weights for lexical + containment, or its attention graph cannot be used.
    """
    service = ServiceContext.of(encoder, settings or ServiceSettings())
    app = FastAPI(
        title="ANTHEM Search",
        description=_DESCRIPTION.format(service.settings),
        version=version("anthem-search"),
        responses={status: {"model": ErrorResponse, "description": why} for status, why in _ERROR_DESCRIPTIONS.items()},
        exception_handlers={RequestValidationError: _refuse_invalid, HTTPException: _refuse_unreadable},
    )
    for router in (
        rerank.routes(service),
        rewrite.routes(service),
        encode.routes(service),
        health.routes(service),
        metrics.routes(service.metrics),
    ):
        app.include_router(router)
    app.add_middleware(RequestGuard, settings=service.settings, metrics=service.metrics)
    return app


async def _refuse_invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _unprocessable_response(f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}.")
    where = ".".join(str(part) for part in first["loc"][1:]) or "The body"
    return _unprocessable_response(f"{where}: {first['msg'].removeprefix('Value error, ')}.")


async def _refuse_unreadable(request: Request, error: HTTPException) -> Response:
    """Answer as for any bad input where FastAPI found bytes that no JSON parser takes, which it calls a 400."""
    if error.status_code == 400:
        return _unprocessable_response(
            "The body is not JSON in UTF-8 that can be read: check its encoding, its nesting, its numbers."
        )
    return await http_exception_handler(request, error)


def _unprocessable_response(sentence: str) -> Response:
    return JSONResponse(ErrorResponse(detail=sentence).model_dump(), status_code=422)
