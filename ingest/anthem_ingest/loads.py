"""Turns the products of a file into bulk actions, a page at a time; those that the index already has are skipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import product_text
from anthem_ingest.actions import (
    PRODUCTS_PER_PAGE,
    BulkAction,
    IndexHit,
    ProductDocument,
    build_change_action,
    build_index_action,
    invalid_id_reason,
    is_unchanged,
    keeps_values,
    model_objects_of,
    own_source,
)
from anthem_ingest.encode import check_object
from anthem_ingest.partial_rows import merge_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from anthem_ingest.encode import ValueBuilder
    from anthem_ingest.report import IngestTally


@dataclass(frozen=True)
class LoadTarget:
    """Index that whole products are written to, and a function that looks up its present products by their keys.

    If it is `partial`, the fields of a row replace those of the product, and all its other fields stay.
    """

    index: str
    look_up: Callable[[Sequence[ProductDocument]], Mapping[tuple[str, str | None], IndexHit]]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class _PlannedLoad:
    """A product that will be written, its text, the objects of models that it keeps, and the hit that it changes.

    The values of the model are computed unless they are kept.
    """

    document: ProductDocument
    text: str
    kept: Mapping[str, Any]
    has_values: bool
    changed_hit: IndexHit | None = None


def plan_loads(
    documents: Iterable[ProductDocument],
    builder: ValueBuilder,
    tally: IngestTally,
    target: LoadTarget,
    advance: Callable[[int], object],
) -> Iterator[BulkAction]:
    """Bulk actions that write products, with values if their text has words; unchanged ones are skipped."""
    remaining = iter(documents)
    plan = _plan_partial if target.partial else _plan_whole
    while page := list(islice(remaining, PRODUCTS_PER_PAGE)):
        valid = [document for document in page if _has_valid_id(document, tally)]
        present = target.look_up(valid)
        planned = [
            load
            for document in valid
            if (load := plan(document, present.get(document.key), builder, tally)) is not None
        ]
        built = iter(builder.build([load.text for load in planned if not load.has_values]))
        for load in planned:
            values = {} if load.has_values else next(built)
            action = _build_action(load, values, target.index)
            yield action if values or load.has_values else tally.mark_without_values(action)
        advance(len(page))


def _plan_whole(
    document: ProductDocument, hit: IndexHit | None, builder: ValueBuilder, tally: IngestTally
) -> _PlannedLoad | None:
    """A row that replaces the whole product; None if both are equal."""
    text = product_text(document.source, builder.text_fields)
    if _is_skipped(hit, document, text, builder, tally):
        return None
    if hit:
        tally.lost_text.update(_lost_fields(hit, document, builder.text_fields))
    return _PlannedLoad(document, text, {}, has_values=False)


def _plan_partial(
    document: ProductDocument, hit: IndexHit | None, builder: ValueBuilder, tally: IngestTally
) -> _PlannedLoad | None:
    """A row whose fields replace those of the product; None if it changes nothing, or makes no product with words."""
    fields = builder.model_fields
    if hit and not check_object(hit, fields.name, tally):
        return None
    if hit:
        document = replace(document, source=merge_fields(own_source(hit, fields), document.source))
    text = product_text(document.source, builder.text_fields)
    words = builder.split_words(text)
    if hit is None:
        if words:
            return _PlannedLoad(document, text, {}, has_values=False)
        names = ", ".join(builder.text_fields)
        tally.count_failed(document.id, f"the index has no such product, and the row has no text in {names}")
        return None
    if _is_skipped(hit, document, text, builder, tally):
        return None
    is_same_text = words == builder.split_words(product_text(hit["_source"], builder.text_fields))
    kept = model_objects_of(hit, fields) if is_same_text else {}
    has_values = keeps_values(hit, fields, builder.model_id, words, builder.signals)
    return _PlannedLoad(document, text, kept, has_values, hit)


def _is_skipped(
    hit: IndexHit | None, document: ProductDocument, text: str, builder: ValueBuilder, tally: IngestTally
) -> bool:
    words = builder.split_words(text)
    is_same = is_unchanged(hit, document, builder.model_fields, builder.model_id, words, builder.signals)
    tally.skipped += is_same
    return is_same


def _lost_fields(hit: IndexHit, document: ProductDocument, text_fields: Sequence[str]) -> list[str]:
    """Text fields in which a product has text, and the document that replaces it has none."""
    lost = [field for field in text_fields if not product_text(document.source, [field])]
    return [field for field in lost if product_text(hit["_source"], [field])]


def _build_action(load: _PlannedLoad, values: Mapping[str, Any], index: str) -> BulkAction:
    document = load.document
    source = {**load.kept, **document.source, **values}
    if load.changed_hit:
        return build_change_action(load.changed_hit, source)
    return build_index_action(index, document.id, source, document.routing)


def _has_valid_id(document: ProductDocument, tally: IngestTally) -> bool:
    reason = invalid_id_reason(document.id)
    if reason:
        tally.count_failed(document.id, reason)
    return reason is None
