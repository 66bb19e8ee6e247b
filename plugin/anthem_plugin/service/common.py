"""What all groups of endpoints share: hard limits, the base of what is asked, how a refusal reads, what runs."""

import json
import logging
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from anthem_core.encoder import Encoder
from anthem_plugin.documents import Documents
from anthem_plugin.service.metrics import Metrics

MAX_TEXTS = 1_000
MAX_CHARACTERS = 10_000
MAX_BYTES = 32 * 2**20  # of a request: 1,000 texts of 10,000 characters in almost any script

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]

# Silent unless `anthem serve --log-texts`, whatever the level of the loggers above it.
texts_log = logging.getLogger("anthem.texts")
texts_log.setLevel(logging.WARNING)


@dataclass(frozen=True)
class Settings:
    """What whoever runs the service decides: keys that callers must show, requests at once, seconds for one."""

    keys: tuple[str, ...] = ()
    concurrency: int = 32
    timeout: float = 30.0


@dataclass(frozen=True)
class Service:
    """What the endpoints work with."""

    encoder: Encoder
    documents: Documents
    settings: Settings = field(default_factory=Settings)
    metrics: Metrics = field(default_factory=Metrics)


class Asked(BaseModel):
    """Base of every request body: a misspelled name or a number in quotes is refused, never guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: where in the request, and what was wanted there.")


def log_texts(*texts: str) -> None:
    """Log the texts of a request where that was asked for, each as one line of JSON."""
    for text in texts if texts_log.isEnabledFor(logging.INFO) else ():
        texts_log.info(json.dumps(text))
