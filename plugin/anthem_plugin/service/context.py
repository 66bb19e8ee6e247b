"""Objects that all endpoints of one service share: encoder, query cache, scorer, settings, metrics and text log."""

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

# Silent without `anthem serve --log-texts`, whatever the level of its parent loggers.
text_logger = logging.getLogger("anthem.texts")
text_logger.setLevel(logging.WARNING)


@dataclass(frozen=True)
class ServiceContext:
    """Objects that the endpoints share; `encode_query` caches encoded queries."""

    encoder: Encoder
    encode_query: Callable[[str], EncodedQuery | None]
    scorer: DocumentScorer
    settings: ServiceSettings
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)

    @classmethod
    def create(cls, encoder: Encoder, settings: ServiceSettings) -> Self:
        """Create the shared objects for an encoder and warm up its graphs.

        Raises:
            BundleError: The bundle has no weights for lexical score and containment, or its attention graph cannot be
                used.
        """
        encode_query = lru_cache(settings.query_cache_size)(encoder.encode_query)
        context = cls(encoder, encode_query, DocumentScorer(encoder, encode_query), settings)
        encode_query.cache_clear()  # forget the warm-up query
        context.metrics.watch_query_cache(encode_query.cache_info)
        return context

    def count_documents(self, place: str, documents: Sequence[str]) -> None:
        """Count documents in the metrics; `place` names the field of the request.

        Raises:
            HTTPException: There are more than a request may contain.
        """
        limit = self.settings.max_documents
        if len(documents) > limit:
            raise unprocessable(f"{place}: {len(documents)} documents; at most {limit} are allowed.")
        self.metrics.documents.inc(len(documents))

    def check_length(self, place: str, text: str) -> None:
        """Check the length of a text that must not be truncated.

        Raises:
            HTTPException: It has too many characters.
        """
        limit = self.settings.max_characters
        if len(text) > limit:
            raise unprocessable(f"{place}: {len(text)} characters; at most {limit} are allowed.")


def log_texts(*texts: str) -> None:
    """Log the texts of a request, each as one line of JSON, if `--log-texts` is on."""
    for text in texts if text_logger.isEnabledFor(logging.INFO) else ():
        text_logger.info(json.dumps(text))
