"""The service as one application: every group of endpoints, and one way to refuse."""

from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from anthem_core.encoder import Encoder
from anthem_plugin.service import encode, health, rewriting
from anthem_plugin.service.common import MAX_BYTES, Refusal

GROUPS = (health, encode, rewriting)


def create_app(encoder: Encoder) -> FastAPI:
    """The service around an encoder.

    Raises:
        BundleError: The bundle has no weights for lexical + containment.
    """
    app = FastAPI(
        title="ANTHEM Search",
        description="Hyperbolic reranking of product search for an OpenSearch cluster that already works.",
        version=version("anthem-search"),
        max_body_size=MAX_BYTES,
        responses={422: {"model": Refusal, "description": "The request was refused; the answer says why."}},
        exception_handlers={RequestValidationError: _refuse, HTTPException: _refuse_unreadable},
    )
    for group in GROUPS:
        app.include_router(group.routes(encoder))
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
