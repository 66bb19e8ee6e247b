"""What all groups of endpoints share: hard limits, the base of what is asked, and how a refusal reads."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXTS = 1_000
MAX_CHARACTERS = 10_000
MAX_BYTES = 32 * 2**20  # of a request: 1,000 texts of 10,000 characters in almost any script

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class Asked(BaseModel):
    """Base of every request body: a misspelled name or a number in quotes is refused, never guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: where in the request, and what was wanted there.")
