"""From products to bulk actions, a page at a time: what is current is skipped, the rest is encoded together."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.opensearch.schema import VectorFields, product_text
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
class LoadTarget:
    """Where whole products go: an index, and a look at those it has already, by their ids."""

    index: str
    known: Callable[[Sequence[str]], Mapping[str, IndexHit]]


@dataclass(frozen=True)
class VectorBuilder:
    """How a product gets its point: by which encoder, from the text of which fields, kept under which names."""

    encoder: Encoder
    fields: tuple[str, ...] = ("title",)
    names: VectorFields = field(default_factory=VectorFields)

    def documents(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Partial document with the point of each text; an empty one for a text without letters or digits."""
        worded = [bool(extract_trigrams(text, 1)) for text in texts]
        points = iter(self.encoder.products([text for text, has_words in zip(texts, worded, strict=True) if has_words]))
        model = self.encoder.bundle.model
        return [
            self.names.document(next(points), model, text) if has_words else {}
            for text, has_words in zip(texts, worded, strict=True)
        ]


def plan_updates(
    pages: Iterable[Sequence[IndexHit]], recipe: VectorBuilder, tally: IngestTally, advance: Callable[[int], object]
) -> Iterator[BulkAction]:
    """Bulk updates for the hits whose point is missing or stale; a point whose text has gone is taken away."""
    names, model = recipe.names, recipe.encoder.bundle.model
    for hits in pages:
        pairs = [(hit, product_text(hit["_source"], recipe.fields)) for hit in hits]
        due = [(hit, text) for hit, text in pairs if not is_current(hit, names, model, text)]
        tally.skipped += len(hits) - len(due)
        for (hit, _), document in zip(due, recipe.documents([text for _, text in due]), strict=True):
            if document:
                yield build_update_action(hit, document)
            elif has_vector_data(hit, names):
                yield tally.marked(build_update_action(hit, {names.name: None}))
            else:
                tally.empty += 1
        advance(len(hits))


def plan_loads(
    products: Iterable[ProductDocument],
    recipe: VectorBuilder,
    tally: IngestTally,
    target: LoadTarget,
    advance: Callable[[int], object],
) -> Iterator[BulkAction]:
    """Bulk actions that write whole products, each with its point where its text gives one; the same are skipped."""
    rest, names, model = iter(products), recipe.names, recipe.encoder.bundle.model
    while page := list(islice(rest, PRODUCTS_PER_PAGE)):
        good = [product for product in page if not _reject_invalid_id(product, tally)]
        known = target.known([product.id for product in good])
        pairs = [(product, product_text(product.source, recipe.fields)) for product in good]
        due = [(new, text) for new, text in pairs if not is_unchanged(known.get(new.id), new, names, model, text)]
        tally.skipped += len(good) - len(due)
        for (product, _), point in zip(due, recipe.documents([text for _, text in due]), strict=True):
            action = build_index_action(target.index, product.id, {**product.source, **point})
            yield action if point else tally.marked(action)
        advance(len(page))


def _reject_invalid_id(product: ProductDocument, tally: IngestTally) -> bool:
    why = invalid_id_reason(product.id)
    if why:
        tally.fail(product.id, why)
    return why is not None
