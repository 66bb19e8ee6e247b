"""Pure functions for the data exchanged between ingest and an index: hits, product documents, bulk actions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.encoding.tokenizer import has_words
from anthem_core.errors import DataError
from anthem_core.opensearch.schema import hash_text, product_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anthem_core.beir import Product
    from anthem_core.opensearch.schema import VectorFields

BulkAction: TypeAlias = dict[str, Any]
IndexHit: TypeAlias = dict[str, Any]

BEIR_FIELDS = ("title", "text", "metadata")
PRODUCTS_PER_PAGE = 500
MAX_ID_BYTES = 512  # a longer id makes OpenSearch reject the whole bulk request
VECTOR_OBJECT_PATTERN = re.compile(r"anthem(_[0-9a-f]{8})?")  # names of the objects that hold a model's fields


@dataclass(frozen=True, slots=True)
class ProductDocument:
    """A product as it will be written to an index."""

    id: str
    source: Mapping[str, Any]


def build_read_body(
    text_fields: Sequence[str], vector_fields: VectorFields, query: Mapping[str, Any]
) -> dict[str, Any]:
    """Search body that reads products without their vectors: text fields, model id, text hash, sequence number.

    The named clause marks the hits that have a vector, see `has_vector`.
    """
    has_vector_clause = {"exists": {"field": vector_fields.vector, "_name": vector_fields.vector}}
    return {
        "query": {"bool": {"filter": [query], "should": [has_vector_clause]}},
        "_source": [*text_fields, vector_fields.model, vector_fields.text_hash],
        "seq_no_primary_term": True,
    }


def has_vector(hit: IndexHit, vector_fields: VectorFields) -> bool:
    """Whether a product has a vector, of any model."""
    return vector_fields.vector in hit.get("matched_queries", ())


def has_vector_data(hit: IndexHit, vector_fields: VectorFields) -> bool:
    """Whether a product has a vector, or the model id and hash of one that was removed."""
    return has_vector(hit, vector_fields) or bool(_vector_object(hit["_source"], vector_fields).get("model"))


def is_current(hit: IndexHit, vector_fields: VectorFields, model_id: str, text: str) -> bool:
    """Whether a product's vector is current: this model computed it from this text. The rest is not compared."""
    values = _vector_object(hit["_source"], vector_fields)
    return _is_computed_from(values, model_id, text) and has_vector(hit, vector_fields)


def is_unchanged(
    hit: IndexHit | None, document: ProductDocument, vector_fields: VectorFields, model_id: str, text: str
) -> bool:
    """Whether an index already holds exactly this whole document, and its current vector if its text has words."""
    if hit is None:
        return False
    source = hit["_source"]
    own_source = {key: value for key, value in source.items() if not VECTOR_OBJECT_PATTERN.fullmatch(key)}
    values = _vector_object(source, vector_fields)
    has_current_vector = _is_computed_from(values, model_id, text) and "vector" in values
    needs_no_vector = not values and not has_words(text)
    return own_source == document.source and (has_current_vector or needs_no_vector)


def _is_computed_from(values: Mapping[str, Any], model_id: str, text: str) -> bool:
    return values.get("model") == model_id and values.get("text_hash") == hash_text(text)


def _vector_object(source: Mapping[str, Any], vector_fields: VectorFields) -> Mapping[str, Any]:
    values = source.get(vector_fields.name)
    return values if isinstance(values, dict) else {}


def build_update_action(hit: IndexHit, partial_document: Mapping[str, Any]) -> BulkAction:
    """Bulk action that merges a partial document into a hit; refused (409) if the product has changed since."""
    return {**_conditional_header(hit, "update"), "_source": {"doc": dict(partial_document)}}


def build_replace_action(hit: IndexHit, source: Mapping[str, Any]) -> BulkAction:
    """Bulk action that replaces the source of a hit; refused (409) if it has changed since. Runs no ingest pipeline."""
    return {**_conditional_header(hit, "index"), "pipeline": "_none", "_source": dict(source)}


def build_index_action(index: str, product_id: str, source: Mapping[str, Any]) -> BulkAction:
    """Bulk action that writes a whole product, replacing any product with the same id."""
    return {"_op_type": "index", "_index": index, "_id": product_id, "_source": dict(source)}


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


def build_product_source(product: Product) -> dict[str, Any]:
    """Source of a product of a BEIR corpus, without empty fields."""
    values = (product.title, product.text, dict(product.metadata))
    return {name: value for name, value in zip(BEIR_FIELDS, values, strict=True) if value}


def check_fields_have_text(text_fields: Sequence[str], documents: Iterable[ProductDocument], file_name: str) -> int:
    """Check that each field has text in at least one product, and count the products.

    Raises:
        DataError: A field has no text in any product.
    """
    missing, count, known = set(text_fields), 0, set[str]()
    for document in documents:
        count += 1
        if missing:
            missing -= {field for field in missing if product_text(document.source, [field])}
            known |= document.source.keys()
    if missing and count:
        raise DataError(
            f"No product of {file_name} has text in {', '.join(sorted(missing))}. Its fields are: "
            f"{', '.join(sorted(known))}. Name the field that holds the title with --field."
        )
    return count
