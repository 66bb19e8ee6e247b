"""Types that the request and response models of several endpoints share."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import HTTPException, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _check_surrogates(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it contains a lone surrogate, half of a surrogate pair")
    return text


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
