"""What all groups of endpoints share: what they work with, the base of what is asked, how a refusal reads."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from anthem_core.encoding.encoder import Encoder
from anthem_core.geometry.regions import EncodedQuery
from anthem_plugin.scoring.documents import DocumentScorer
from anthem_plugin.service.metrics import ServiceMetrics
from anthem_plugin.service.models import unprocessable
from anthem_plugin.service.settings import ServiceSettings

# Silent unless `anthem serve --log-texts`, whatever the level of the loggers above it.
text_logger = logging.getLogger("anthem.texts")
text_logger.setLevel(logging.WARNING)


@dataclass(frozen=True)
class ServiceContext:
    """What the endpoints work with; `query` encodes a text that was asked for before but once."""

    encoder: Encoder
    query: Callable[[str], EncodedQuery | None]
    documents: DocumentScorer
    settings: ServiceSettings
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)

    @classmethod
    def of(cls, encoder: Encoder, settings: ServiceSettings) -> Self:
        """The service around an encoder.

        Raises:
            BundleError: The bundle has no weights for lexical + containment, or its attention graph cannot be used.
        """
        query = lru_cache(settings.cache)(encoder.query)
        service = cls(encoder, query, DocumentScorer(encoder, query), settings)
        query.cache_clear()  # of what it was warmed with
        service.metrics.watch(query.cache_info)
        return service

    def take(self, place: str, documents: Sequence[str]) -> None:
        """Count documents.

        Raises:
            HTTPException: There are more than a request may have.
        """
        if len(documents) > self.settings.documents:
            raise unprocessable(f"{place}: {len(documents)} documents; at most {self.settings.documents} were wanted.")
        self.metrics.documents.inc(len(documents))

    def check(self, place: str, text: str) -> None:
        """Let a text pass that is read to its end.

        Raises:
            HTTPException: It has more characters than are read.
        """
        if len(text) > self.settings.characters:
            raise unprocessable(f"{place}: {len(text)} characters; at most {self.settings.characters} were wanted.")


def log_texts(*texts: str) -> None:
    """Log the texts of a request where that was asked for, each as one line of JSON."""
    for text in texts if text_logger.isEnabledFor(logging.INFO) else ():
        text_logger.info(json.dumps(text))
