"""Pure functions for the data exchanged between ingest and an index: hits, product documents, bulk actions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.console import name_some
from anthem_core.errors import DataError
from anthem_core.opensearch.schema import (
    MODEL_OBJECT_PATTERN,
    MODEL_SIGNALS,
    VALUE_OF_SIGNAL,
    has_text_value,
    hash_words,
    is_model_object,
    product_text,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from anthem_core.beir import Product
    from anthem_core.opensearch.schema import ModelFields, ModelSignal

BulkAction: TypeAlias = dict[str, Any]
IndexHit: TypeAlias = dict[str, Any]

BEIR_FIELDS = ("title", "text", "metadata")
PRODUCTS_PER_PAGE = 500
MAX_SHOWN_ID = 60  # characters of an id in a message
MAX_SHOWN_FIELDS = 50  # fields of a file in a message
MAX_ID_BYTES = 512  # a longer id makes OpenSearch reject the whole bulk request


@dataclass(frozen=True, slots=True)
class ProductDocument:
    """A product as it will be written to an index, and its routing if the file names one.

    `unused_id` is what its row has in `_id`, if the id is another: a document cannot have a field of this name.
    """

    id: str
    source: Mapping[str, Any]
    routing: str | None = None
    unused_id: str | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells a product of an index from all others: an id may occur once for each routing."""
        return self.id, self.routing


def build_read_body(text_fields: Sequence[str], model_fields: ModelFields, query: Mapping[str, Any]) -> dict[str, Any]:
    """Search body that reads products without their values: text fields, model id, text hash, sequence number.

    Named clauses mark the values that a hit has, see `stored_signals`.
    """
    return {
        "query": {"bool": {"filter": [query], "should": value_clauses(model_fields)}},
        "_source": [*text_fields, model_fields.model, model_fields.text_hash],
        "seq_no_primary_term": True,
    }


def value_clauses(model_fields: ModelFields, signals: Collection[ModelSignal] = MODEL_SIGNALS) -> list[dict[str, Any]]:
    """For each signal a clause, named after its field, that finds the products with its value, of any model."""
    fields = (model_fields.value(signal) for signal in signals)
    return [{"exists": {"field": field, "_name": field}} for field in fields]


def has_any_value(model_fields: ModelFields) -> dict[str, Any]:
    """Query for the products with at least one value in a model's fields, of any model."""
    return {"bool": {"should": value_clauses(model_fields), "minimum_should_match": 1}}


def has_all_values(model_fields: ModelFields, signals: Collection[ModelSignal]) -> dict[str, Any]:
    """Query for the products with the value of each of these signals, of any model."""
    return {"bool": {"filter": value_clauses(model_fields, signals)}}


def stored_signals(hit: IndexHit, model_fields: ModelFields) -> frozenset[ModelSignal]:
    """Signals whose value a product has, of any model."""
    matched = hit.get("matched_queries", ())
    return frozenset(signal for signal in MODEL_SIGNALS if model_fields.value(signal) in matched)


def has_model_data(hit: IndexHit, model_fields: ModelFields) -> bool:
    """Whether a product has a value, or the model id and hash of values that were removed."""
    return bool(stored_signals(hit, model_fields) or _model_object(hit["_source"], model_fields).get("model"))


def is_current(
    hit: IndexHit, model_fields: ModelFields, model_id: str, words: list[str], signals: Collection[ModelSignal]
) -> bool:
    """Whether a product has a current value for each signal: this model computed it from these words."""
    values = _model_object(hit["_source"], model_fields)
    return _is_computed_from(values, model_id, words) and stored_signals(hit, model_fields).issuperset(signals)


def outdated_values(
    hit: IndexHit, model_fields: ModelFields, model_id: str, words: list[str], signals: Collection[ModelSignal]
) -> dict[str, None]:
    """Nulls that remove the values of other signals, if another model or other words were used to compute them."""
    if _is_computed_from(_model_object(hit["_source"], model_fields), model_id, words):
        return {}
    return {VALUE_OF_SIGNAL[signal]: None for signal in sorted(stored_signals(hit, model_fields) - set(signals))}


def is_unchanged(
    hit: IndexHit | None,
    document: ProductDocument,
    model_fields: ModelFields,
    model_id: str,
    words: list[str],
    signals: Collection[ModelSignal],
) -> bool:
    """Whether an index already holds exactly this whole document, with a current value for each signal.

    A document without words must have no values.
    """
    if hit is None:
        return False
    needs_no_values = not words and not _model_object(hit["_source"], model_fields)
    is_complete = needs_no_values or keeps_values(hit, model_fields, model_id, words, signals)
    own = own_source(hit, model_fields)
    return is_complete and own == document.source and _to_json(own) == _to_json(document.source)


def _to_json(source: Mapping[str, Any]) -> str:
    """The JSON of a source, in which false and 0 differ: for Python they are equal."""
    return json.dumps(source, sort_keys=True)


def own_source(hit: IndexHit, model_fields: ModelFields) -> dict[str, Any]:
    """Source of a hit without the values of models."""
    objects = model_objects_of(hit, model_fields)
    return {key: value for key, value in hit["_source"].items() if key not in objects}


def model_objects_of(hit: IndexHit, model_fields: ModelFields) -> dict[str, Any]:
    """The objects of models in the source of a hit."""
    return {
        key: value
        for key, value in hit["_source"].items()
        if key == model_fields.name or (MODEL_OBJECT_PATTERN.fullmatch(key) and is_model_object(value))
    }


def keeps_values(
    hit: IndexHit, model_fields: ModelFields, model_id: str, words: list[str], signals: Collection[ModelSignal]
) -> bool:
    """Whether the source of a hit has a value for each signal, which this model computed from these words."""
    values = _model_object(hit["_source"], model_fields)
    has_values = all(values.get(VALUE_OF_SIGNAL[signal]) is not None for signal in signals)
    return has_values and _is_computed_from(values, model_id, words)


def _is_computed_from(values: Mapping[str, Any], model_id: str, words: list[str]) -> bool:
    return values.get("model") == model_id and values.get("text_hash") == hash_words(words)


def _model_object(source: Mapping[str, Any], model_fields: ModelFields) -> Mapping[str, Any]:
    values = source.get(model_fields.name)
    return values if isinstance(values, dict) else {}


def build_update_action(hit: IndexHit, partial_document: Mapping[str, Any]) -> BulkAction:
    """Bulk action that merges a partial document into a hit; refused (409) if the product has changed since.

    It is written even if `_source` stays the same: it may contain values that were not indexed for lack of a mapping.
    """
    return {**_conditional_header(hit, "update"), "_source": {"doc": dict(partial_document), "detect_noop": False}}


def build_replace_action(hit: IndexHit, source: Mapping[str, Any]) -> BulkAction:
    """Bulk action that replaces the source of a hit; refused (409) if it has changed since. Runs no ingest pipeline."""
    return {**_conditional_header(hit, "index"), "pipeline": "_none", "_source": dict(source)}


def build_index_action(
    index: str, product_id: str, source: Mapping[str, Any], routing: str | None = None
) -> BulkAction:
    """Bulk action that writes a whole product, replacing any product with the same id and routing."""
    action = {"_op_type": "index", "_index": index, "_id": product_id, "_source": dict(source)}
    return action if routing is None else {**action, "routing": routing}


def build_change_action(hit: IndexHit, source: Mapping[str, Any]) -> BulkAction:
    """Bulk action that replaces the source of a hit as a load does; refused (409) if it has changed since."""
    return {**_conditional_header(hit, "index"), "_source": dict(source)}


def _conditional_header(hit: IndexHit, operation: str) -> BulkAction:
    return {
        "_op_type": operation,
        "_index": hit["_index"],
        "_id": hit["_id"],
        "if_seq_no": hit["_seq_no"],
        "if_primary_term": hit["_primary_term"],
        **routing_of(hit),
    }


def routing_of(hit: Mapping[str, Any]) -> dict[str, str]:
    """Routing parameter of a hit; empty for a hit without one."""
    return {"routing": hit["_routing"]} if "_routing" in hit else {}


def shorten_id(product_id: str) -> str:
    """An id for a message: a long one is cut."""
    return product_id if len(product_id) <= MAX_SHOWN_ID else f"{product_id[:MAX_SHOWN_ID]}…"


def invalid_id_reason(product_id: str) -> str | None:
    """Why OpenSearch would reject an id and the whole request with it; None for a valid id."""
    size = len(product_id.encode("utf-8", "surrogatepass"))
    return None if 0 < size <= MAX_ID_BYTES else f"its id has {size} bytes; an id must have 1 to {MAX_ID_BYTES}"


def check_beir_fields(text_fields: Sequence[str]) -> None:
    """Check that products of a BEIR corpus can have the fields.

    Raises:
        DataError: A field is not a BEIR field.
    """
    unknown = [field for field in text_fields if field.split(".")[0] not in BEIR_FIELDS]
    if unknown:
        raise DataError(
            f"Products of a BEIR corpus have no field {', '.join(unknown)}. Use {', '.join(BEIR_FIELDS)}, or a field "
            "under metadata, such as metadata.brand."
        )


def find_beir_fields(documents: Sequence[ProductDocument]) -> list[str]:
    """BEIR fields that can be mapped as such: `title` and `text` hold no object, `metadata` holds nothing else."""
    return [name for name in BEIR_FIELDS if all(_suits_beir(name, document.source) for document in documents)]


def _suits_beir(name: str, source: Mapping[str, Any]) -> bool:
    if name != "metadata" and any(key.startswith(f"{name}.") for key in source):
        return False
    value = source.get(name)
    values = value if isinstance(value, list) else [value]
    return all(isinstance(item, dict) == (name == "metadata") for item in values if item is not None)


def build_product_source(product: Product) -> dict[str, Any]:
    """Source of a product of a BEIR corpus, without empty fields."""
    values = (product.title, product.text, dict(product.metadata))
    return {name: value for name, value in zip(BEIR_FIELDS, values, strict=True) if value}


class FieldsWithoutTextError(DataError):
    """No product of a file has text in some of the text fields."""

    def __init__(self, file_name: str, fields: Sequence[str], known: Collection[str]) -> None:
        self.file_name, self.fields = file_name, fields
        self.known = f"Its fields are: {name_some(sorted(known), MAX_SHOWN_FIELDS)}."
        super().__init__(
            f"No product of {file_name} has text in {', '.join(fields)}. {self.known} Name the field that holds the "
            "title with --field."
        )


def _field_names(source: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Names of all fields of a product, such as `title.en` for those of an object."""
    for name, value in source.items():
        if isinstance(value, dict) and value:
            yield from _field_names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


class FieldWatch:
    """Counts documents and finds the text fields in which none of them has text, while they are read."""

    def __init__(self, text_fields: Sequence[str]) -> None:
        self.missing = list(text_fields)
        self.absent = list(text_fields)  # those that no record has, not even without text
        self.count = 0
        self._known = set[str]()

    def watch(self, documents: Iterable[ProductDocument]) -> None:
        """Read all documents."""
        for document in documents:
            self.count += 1
            if self.missing:
                self.missing = [field for field in self.missing if not product_text(document.source, [field])]
                self._known.update(_field_names(document.source))

    def watch_record(self, record: Mapping[Any, Any]) -> None:
        """Look for the fields in a record of the file, which still has its empty ones."""
        if self.absent:
            self.absent = [name for name in self.absent if not (name in record or has_text_value(record, name))]

    def check(self, file_name: str, recorded: Collection[str]) -> None:
        """Check that each field has text in at least one document; a recorded one may also be empty in all of them.

        Raises:
            FieldsWithoutTextError: A field has no text in any of them.
        """
        if any(name in self.absent or name not in recorded for name in self.missing):
            raise FieldsWithoutTextError(file_name, self.missing, self._known)
