"""Objects that all endpoints of one service share: encoder, query caches, scorer, settings, metrics and text log."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from starlette.concurrency import run_in_threadpool

from anthem_core.encoding.attention import AttentionScorer, AttentionTable
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.query_operators import encode_tables
from anthem_core.geometry.lorentz import Array
from anthem_core.geometry.regions import EncodedQuery
from anthem_plugin.query_cache import QueryCache
from anthem_plugin.scoring.documents import DocumentScorer
from anthem_plugin.service.metrics import ServiceMetrics
from anthem_plugin.service.models import unprocessable
from anthem_plugin.service.settings import ServiceSettings

# A thread costs as much as scoring 20 titles. Scoring this many characters takes 5 ms, while all other requests wait.
MAX_INLINE_CHARACTERS = 20_000

# Silent without `anthem serve --log-texts`, whatever the level of its parent loggers.
text_logger = logging.getLogger("anthem.texts")
text_logger.setLevel(logging.WARNING)


@dataclass(frozen=True)
class ServiceContext:
    """Objects that the endpoints share; `encode_query` and `encode_table` cache encoded queries.

    `attention` and `encode_table` are None if the bundle has no attention.
    """

    encoder: Encoder
    attention: AttentionScorer | None
    encode_query: Callable[[str], EncodedQuery | None]
    encode_table: Callable[[str], AttentionTable | None] | None
    scorer: DocumentScorer
    settings: ServiceSettings
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)

    @classmethod
    def create(cls, encoder: Encoder, settings: ServiceSettings) -> Self:
        """Create the shared objects for an encoder and warm up its graphs.

        Raises:
            BundleError: The bundle has no fusion weights for one of its signals, or its attention graph cannot be used.
        """
        attention = AttentionScorer(encoder.bundle) if encoder.bundle.has_attention else None
        encode_query = QueryCache(encoder.encode_query, settings.query_cache_size)
        encode_table = QueryCache(attention.encode_query, settings.query_cache_size) if attention else None
        scorer = DocumentScorer(encoder, attention, encode_query, encode_table)
        scorer.score("warm up", ["warm up"])  # loads the attention graph, which is read at its first use
        context = cls(encoder, attention, encode_query, encode_table, scorer, settings)
        caches = {"hyperboloids": (encode_query.cache_clear, encode_query.cache_info)}
        if encode_table:
            caches["table"] = (encode_table.cache_clear, encode_table.cache_info)
        for forget_warm_up, _ in caches.values():
            forget_warm_up()
        context.metrics.watch_query_caches({encoding: info for encoding, (_, info) in caches.items()})
        return context

    async def score_documents(self, query: str, texts: Sequence[str]) -> Array:
        """Relevance of each text, `(N,)`: computed at once if the texts are short, otherwise in a thread."""
        if self.attention and sum(map(len, texts)) <= MAX_INLINE_CHARACTERS:
            return self.scorer.score(query, texts)
        return await run_in_threadpool(self.scorer.score, query, texts)

    def encode_tables(self, phrases: Iterable[str]) -> tuple[AttentionTable, ...]:
        """Attention table of each phrase that has letters or digits; none if the bundle has no attention."""
        if self.encode_table is None:
            return ()
        return encode_tables(self.encode_table, phrases)

    def count_documents(self, place: str, documents: Sequence[object]) -> None:
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
