"""Turns products into bulk actions, a page at a time: current products are skipped, the others encoded in one batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress, islice
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.tokenizer import has_words
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, VectorFields, product_text
from anthem_ingest.actions import (
    PRODUCTS_PER_PAGE,
    BulkAction,
    IndexHit,
    ProductDocument,
    build_index_action,
    build_update_action,
    has_vector_data,
    invalid_id_reason,
    is_current,
    is_unchanged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from anthem_core.encoding.encoder import Encoder
    from anthem_ingest.report import IngestTally


@dataclass(frozen=True)
class VectorBuilder:
    """Computes the vectors of products: which encoder, from which text fields, stored in which vector fields."""

    encoder: Encoder
    text_fields: tuple[str, ...] = DEFAULT_TEXT_FIELDS
    vector_fields: VectorFields = field(default_factory=VectorFields)

    @property
    def model_id(self) -> str:
        """Id of the model that computes the vectors."""
        return self.encoder.bundle.model_id

    def build(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Partial document with the vector of each text; empty for a text without letters or digits."""
        is_encodable = [has_words(text) for text in texts]
        points = iter(self.encoder.encode_products(list(compress(texts, is_encodable))))
        return [
            self.vector_fields.document(next(points), self.model_id, text) if encodable else {}
            for text, encodable in zip(texts, is_encodable, strict=True)
        ]


@dataclass(frozen=True)
class LoadTarget:
    """Index that whole products are written to, and a function that looks up its present products by id."""

    index: str
    look_up: Callable[[Sequence[str]], Mapping[str, IndexHit]]


def plan_updates(
    pages: Iterable[Sequence[IndexHit]], builder: VectorBuilder, tally: IngestTally, advance: Callable[[int], object]
) -> Iterator[BulkAction]:
    """Bulk updates for hits whose vector is missing or stale; a product that lost its text loses its vector."""
    vector_fields = builder.vector_fields
    for hits in pages:
        texts = [product_text(hit["_source"], builder.text_fields) for hit in hits]
        due = [
            (hit, text)
            for hit, text in zip(hits, texts, strict=True)
            if not is_current(hit, vector_fields, builder.model_id, text)
        ]
        tally.skipped += len(hits) - len(due)
        for (hit, _), partial_document in zip(due, builder.build([text for _, text in due]), strict=True):
            if partial_document:
                yield build_update_action(hit, partial_document)
            elif has_vector_data(hit, vector_fields):
                yield tally.mark_without_vector(build_update_action(hit, {vector_fields.name: None}))
            else:
                tally.empty += 1
        advance(len(hits))


def plan_loads(
    documents: Iterable[ProductDocument],
    builder: VectorBuilder,
    tally: IngestTally,
    target: LoadTarget,
    advance: Callable[[int], object],
) -> Iterator[BulkAction]:
    """Bulk actions that write whole products, with a vector if their text has words; unchanged ones are skipped."""
    remaining = iter(documents)
    while page := list(islice(remaining, PRODUCTS_PER_PAGE)):
        valid = [document for document in page if _has_valid_id(document, tally)]
        present = target.look_up([document.id for document in valid])
        texts = [product_text(document.source, builder.text_fields) for document in valid]
        due = [
            (document, text)
            for document, text in zip(valid, texts, strict=True)
            if not is_unchanged(present.get(document.id), document, builder.vector_fields, builder.model_id, text)
        ]
        tally.skipped += len(valid) - len(due)
        for (document, _), vector_part in zip(due, builder.build([text for _, text in due]), strict=True):
            action = build_index_action(target.index, document.id, {**document.source, **vector_part})
            yield action if vector_part else tally.mark_without_vector(action)
        advance(len(page))


def _has_valid_id(document: ProductDocument, tally: IngestTally) -> bool:
    reason = invalid_id_reason(document.id)
    if reason:
        tally.count_failed(document.id, reason)
    return reason is None
