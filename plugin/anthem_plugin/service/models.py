"""Types that the request and response models of several endpoints share."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import HTTPException, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_BODY_DEPTH = 100  # of a search body


def _check_surrogates(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it contains a lone surrogate, half of a surrogate pair")
    return text


def check_sendable(body: dict[str, Any]) -> dict[str, Any]:
    """Reject what Python's JSON parser accepts but OpenSearch or UTF-8 does not."""
    if not _is_shallow(body, MAX_BODY_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_BODY_DEPTH} levels")
    try:
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise ValueError("it contains NaN, an infinite number or a lone surrogate") from error
    return body


def _is_shallow(node: object, levels: int) -> bool:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels > 0 and all(_is_shallow(child, levels - 1) for child in children)


StrictText = Annotated[str, AfterValidator(_check_surrogates)]


def _integral_float_to_int(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL_FLOAT_AS_INT = BeforeValidator(_integral_float_to_int)  # JSON and Java clients do not distinguish 5.0 from 5


class RequestModel(BaseModel):
    """Base of the requests of our own endpoints: rejects unknown names and converts no types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorResponse(BaseModel):
    """Body of every error response."""

    detail: str = Field(description="One sentence that says what is wrong, where, and what was expected.")


def unprocessable(sentence: str) -> HTTPException:
    """Create the exception that answers a request with status 422 and a sentence."""
    return HTTPException(422, sentence)


def json_response(content: object) -> Response:
    """Create the response of an endpoint from values that need no check, because this service computed them."""
    return Response(json.dumps(content, ensure_ascii=False, allow_nan=False), media_type="application/json")
