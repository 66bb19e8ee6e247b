"""What all groups of endpoints share: what they work with, the base of what is asked, how a refusal reads."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Self

from fastapi import HTTPException
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from anthem_core.containment import Query
from anthem_core.encoder import Encoder
from anthem_plugin.documents import Documents
from anthem_plugin.service.metrics import Metrics
from anthem_plugin.service.settings import Settings

# Silent unless `anthem serve --log-texts`, whatever the level of the loggers above it.
texts_log = logging.getLogger("anthem.texts")
texts_log.setLevel(logging.WARNING)


@dataclass(frozen=True)
class Service:
    """What the endpoints work with; `query` encodes a text that was asked for before but once."""

    encoder: Encoder
    query: Callable[[str], Query | None]
    documents: Documents
    settings: Settings
    metrics: Metrics = field(default_factory=Metrics)

    @classmethod
    def of(cls, encoder: Encoder, settings: Settings) -> Self:
        """The service around an encoder.

        Raises:
            BundleError: The bundle has no weights for lexical + containment, or its attention graph cannot be used.
        """
        query = lru_cache(settings.cache)(encoder.query)
        service = cls(encoder, query, Documents(encoder, query), settings)
        query.cache_clear()  # of what it was warmed with
        service.metrics.watch(query.cache_info)
        return service

    def take(self, place: str, documents: Sequence[str]) -> None:
        """Count documents.

        Raises:
            HTTPException: There are more than a request may have.
        """
        if len(documents) > self.settings.documents:
            raise refused(f"{place}: {len(documents)} documents; at most {self.settings.documents} were wanted.")
        self.metrics.documents.inc(len(documents))

    def check(self, place: str, text: str) -> None:
        """Let a text pass that is read to its end.

        Raises:
            HTTPException: It has more characters than are read.
        """
        if len(text) > self.settings.characters:
            raise refused(f"{place}: {len(text)} characters; at most {self.settings.characters} were wanted.")


def _whole(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it holds half a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_whole)]


def _counted(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_counted)  # to JSON, and to Java's clients, 5.0 is as whole as 5


class Asked(BaseModel):
    """Base of every request body: a misspelled name or a number in quotes is refused, never guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: where in the request, and what was wanted there.")


def refused(sentence: str) -> HTTPException:
    """What to raise where a request cannot be answered."""
    return HTTPException(422, sentence)


def log_texts(*texts: str) -> None:
    """Log the texts of a request where that was asked for, each as one line of JSON."""
    for text in texts if texts_log.isEnabledFor(logging.INFO) else ():
        texts_log.info(json.dumps(text))
