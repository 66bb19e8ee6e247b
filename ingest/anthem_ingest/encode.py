"""Computes the values of products, and turns hits into bulk updates: current products are skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import BundleError
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, MODEL_SIGNALS, ModelFields, product_text
from anthem_ingest.actions import (
    BulkAction,
    IndexHit,
    build_update_action,
    has_model_data,
    is_current,
    outdated_values,
)
from anthem_ingest.conflicts import find_users_data

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.report import IngestTally


def choose_signals(bundle: Bundle, requested: Collection[str] | None = None) -> tuple[ModelSignal, ...]:
    """Signals whose values are written: the requested ones, or all that the bundle can compute values for.

    Raises:
        BundleError: Attention is requested, and the bundle cannot compute trigrams.
    """
    available = MODEL_SIGNALS if bundle.has_attention else ("containment",)
    missing = set(requested or ()) - set(available)
    if missing:
        raise BundleError(
            f"{bundle.path} has no graph for {', '.join(sorted(missing))}, so it cannot compute its values. "
            "Use a bundle that has one, or write vectors only: --signals containment"
        )
    return tuple(signal for signal in available if requested is None or signal in requested)


@dataclass(frozen=True)
class ValueBuilder:
    """Computes the values of products for some signals, from text fields; an index has them in `model_fields`."""

    encoder: Encoder
    signals: tuple[ModelSignal, ...]
    text_fields: tuple[str, ...] = DEFAULT_TEXT_FIELDS
    model_fields: ModelFields = field(default_factory=ModelFields)

    @property
    def model_id(self) -> str:
        """Id of the model that computes the values."""
        return self.encoder.bundle.model_id

    def split_words(self, text: str) -> list[str]:
        """Words of a text by the text rules of the model."""
        return self.encoder.bundle.vocabulary.split_words(text)

    def build(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Partial document with the values of each text; empty for a text without letters or digits."""
        words = [self.split_words(text) for text in texts]
        encodable = list(compress(texts, words))
        vectors: Iterable[Iterable[np.int8] | None] = repeat(None)
        trigrams: Iterable[bytes | None] = repeat(None)
        if "containment" in self.signals:
            vectors = self.encoder.encode_vectors(encodable)
        if "attention" in self.signals:
            trigrams = self.pack_trigrams(encodable)
        values = zip(vectors, filter(None, words), trigrams, strict=False)
        documents = (self.model_fields.document(vector, self.model_id, has, packed) for vector, has, packed in values)
        return [next(documents) if has else {} for has in words]

    def is_current(self, hit: IndexHit, text: str) -> bool:
        """Whether a product with this text already has every value, computed by this model."""
        return is_current(hit, self.model_fields, self.model_id, self.split_words(text), self.signals)

    def build_update(self, hit: IndexHit, text: str, values: Mapping[str, Any]) -> BulkAction:
        """Update of a hit with the values of its text; values of other signals stay only if they are current too."""
        words = self.split_words(text)
        outdated = outdated_values(hit, self.model_fields, self.model_id, words, self.signals)
        name = self.model_fields.name
        return build_update_action(hit, {name: {**values[name], **outdated}})

    def pack_trigrams(self, texts: Sequence[str]) -> list[bytes]:
        """Trigrams of each text as an index stores them.

        Raises:
            BundleError: The bundle has no attention.
        """
        return self._scorer.encode_titles(texts).pack()

    @cached_property
    def _scorer(self) -> AttentionScorer:
        return AttentionScorer(self.encoder.bundle)


def plan_updates(
    pages: Iterable[Sequence[IndexHit]], builder: ValueBuilder, tally: IngestTally, advance: Callable[[int], object]
) -> Iterator[BulkAction]:
    """Bulk updates for hits whose values are missing or stale; a product that lost its text loses its values."""
    model_fields = builder.model_fields
    for hits in pages:
        writable = [hit for hit in hits if check_object(hit, model_fields.name, tally)]
        texts = [product_text(hit["_source"], builder.text_fields) for hit in writable]
        due = [(hit, text) for hit, text in zip(writable, texts, strict=True) if not builder.is_current(hit, text)]
        tally.skipped += len(writable) - len(due)
        for (hit, text), values in zip(due, builder.build([text for _, text in due]), strict=True):
            if values:
                yield builder.build_update(hit, text, values)
            elif has_model_data(hit, model_fields):
                yield tally.mark_without_values(build_update_action(hit, {model_fields.name: None}))
            else:
                tally.empty += 1
        advance(len(hits))


def check_object(hit: IndexHit, name: str, tally: IngestTally) -> bool:
    """Whether the object of a product holds nothing but a model's values; if it holds other data, the product fails."""
    if find_users_data(hit["_source"], name) is None:
        return True
    tally.count_failed(hit["_id"], f"its field {name} holds data of its own, which the model's values would replace")
    return False
