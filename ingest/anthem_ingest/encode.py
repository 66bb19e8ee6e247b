"""From products to bulk actions, a page at a time: what is current is skipped, the rest is encoded together."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from anthem_core.fields import Fields
from anthem_core.text import text_of, trigrams
from anthem_ingest.actions import (
    PAGE,
    Action,
    Document,
    Hit,
    bad_id,
    has_point,
    index_action,
    is_current,
    is_same,
    update_action,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from anthem_core.encoder import Encoder
    from anthem_ingest.report import Tally


@dataclass(frozen=True)
class Target:
    """Where whole products go: an index, and a look at those it has already, by their ids."""

    index: str
    known: Callable[[Sequence[str]], Mapping[str, Hit]]


@dataclass(frozen=True)
class Recipe:
    """How a product gets its point: by which encoder, from the text of which fields, kept under which names."""

    encoder: Encoder
    fields: tuple[str, ...] = ("title",)
    names: Fields = field(default_factory=Fields)

    def documents(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Partial document with the point of each text; an empty one for a text without letters or digits."""
        worded = [bool(trigrams(text, 1)) for text in texts]
        points = iter(self.encoder.products([text for text, has_words in zip(texts, worded, strict=True) if has_words]))
        model = self.encoder.bundle.model
        return [
            self.names.document(next(points), model, text) if has_words else {}
            for text, has_words in zip(texts, worded, strict=True)
        ]


def updates(
    pages: Iterable[Sequence[Hit]], recipe: Recipe, tally: Tally, advance: Callable[[int], object]
) -> Iterator[Action]:
    """Bulk updates for the hits whose point is missing or stale; a point whose text has gone is taken away."""
    names, model = recipe.names, recipe.encoder.bundle.model
    for hits in pages:
        pairs = [(hit, text_of(hit["_source"], recipe.fields)) for hit in hits]
        due = [(hit, text) for hit, text in pairs if not is_current(hit, names, model, text)]
        tally.skipped += len(hits) - len(due)
        for (hit, _), document in zip(due, recipe.documents([text for _, text in due]), strict=True):
            if document:
                yield update_action(hit, document)
            elif has_point(hit, names):
                yield tally.marked(update_action(hit, {names.name: None}))
            else:
                tally.empty += 1
        advance(len(hits))


def loads(
    products: Iterable[Document],
    recipe: Recipe,
    tally: Tally,
    target: Target,
    advance: Callable[[int], object],
) -> Iterator[Action]:
    """Bulk actions that write whole products, each with its point where its text gives one; the same are skipped."""
    rest, names, model = iter(products), recipe.names, recipe.encoder.bundle.model
    while page := list(islice(rest, PAGE)):
        good = [product for product in page if not _refused(product, tally)]
        known = target.known([product.id for product in good])
        pairs = [(product, text_of(product.source, recipe.fields)) for product in good]
        due = [(new, text) for new, text in pairs if not is_same(known.get(new.id), new, names, model, text)]
        tally.skipped += len(good) - len(due)
        for (product, _), point in zip(due, recipe.documents([text for _, text in due]), strict=True):
            action = index_action(target.index, product.id, {**product.source, **point})
            yield action if point else tally.marked(action)
        advance(len(page))


def _refused(product: Document, tally: Tally) -> bool:
    why = bad_id(product.id)
    if why:
        tally.fail(product.id, why)
    return why is not None
