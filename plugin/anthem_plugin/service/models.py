"""TODO: one line on what this module does."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _check_surrogates(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it holds half a surrogate pair")
    return text


StrictText = Annotated[str, AfterValidator(_check_surrogates)]


def _integral_float_to_int(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL_FLOAT_AS_INT = BeforeValidator(_integral_float_to_int)  # to JSON, and to Java's clients, 5.0 is as whole as 5


class RequestModel(BaseModel):
    """Base of every request body: a misspelled name or a number in quotes is refused, never guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorResponse(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: where in the request, and what was wanted there.")


def unprocessable(sentence: str) -> HTTPException:
    """What to raise where a request cannot be answered."""
    return HTTPException(422, sentence)
