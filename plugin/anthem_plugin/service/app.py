"""The service as one application: every group of endpoints, what stands before them, and one way to refuse."""

from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from anthem_core.encoder import Encoder
from anthem_plugin.service import encode, health, metrics, reranking, rewriting
from anthem_plugin.service.common import Refusal, Service
from anthem_plugin.service.guard import Guard
from anthem_plugin.service.settings import Settings

_DESCRIPTION = """Hyperbolic reranking of product search for an OpenSearch cluster that already works.

A request holds at most {0.documents:,} documents and {0.bytes:,} bytes; of a text {0.characters:,} characters are read.
"""
_REFUSALS: dict[int | str, str] = {
    401: "The request shows no key, or none of the service.",
    413: "The request has more bytes than one may have.",
    422: "The request was refused; the answer says why.",
    500: "The service failed.",
    503: "As many requests are under way as may be, or time is up.",
}


def create_app(encoder: Encoder, settings: Settings | None = None) -> FastAPI:
    """The service around an encoder, its graphs warm.

    Raises:
        BundleError: The bundle has no weights for lexical + containment, or its attention graph cannot be used.
    """
    service = Service.of(encoder, settings or Settings())
    app = FastAPI(
        title="ANTHEM Search",
        description=_DESCRIPTION.format(service.settings),
        version=version("anthem-search"),
        responses={status: {"model": Refusal, "description": why} for status, why in _REFUSALS.items()},
        exception_handlers={RequestValidationError: _refuse, HTTPException: _refuse_unreadable},
    )
    for router in (
        reranking.routes(service),
        rewriting.routes(service),
        encode.routes(service),
        health.routes(service),
        metrics.routes(service.metrics),
    ):
        app.include_router(router)
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    return app


async def _refuse(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _refusal(f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}.")
    where = ".".join(str(part) for part in first["loc"][1:]) or "The body"
    return _refusal(f"{where}: {first['msg'].removeprefix('Value error, ')}.")


async def _refuse_unreadable(request: Request, error: HTTPException) -> Response:
    """Answer as for any bad input where FastAPI found bytes that no JSON parser takes, which it calls a 400."""
    if error.status_code == 400:
        return _refusal("The body is not JSON in UTF-8 that can be read: check its encoding, its nesting, its numbers.")
    return await http_exception_handler(request, error)


def _refusal(sentence: str) -> Response:
    return JSONResponse(Refusal(detail=sentence).model_dump(), status_code=422)
