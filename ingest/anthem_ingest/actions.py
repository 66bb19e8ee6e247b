"""What is sent to an index and what is read of it: pure builders, no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.errors import DataError
from anthem_core.opensearch.schema import VectorFields, hash_text, product_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anthem_core.beir import Product

BulkAction: TypeAlias = dict[str, Any]
IndexHit: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProductDocument:
    """One product as it is to stand in an index."""

    id: str
    source: Mapping[str, Any]


BEIR_FIELDS = ("title", "text", "metadata")
PRODUCTS_PER_PAGE = 500
MAX_ID_BYTES = 512  # bytes; with a longer one OpenSearch refuses the whole request
VECTOR_OBJECT_PATTERN = re.compile(r"anthem(_[0-9a-f]{8})?")  # names of what holds a model's fields
MATCH_ALL: dict[str, Any] = {"match_all": {}}


def build_read_body(fields: Sequence[str], names: VectorFields, query: Mapping[str, Any]) -> dict[str, Any]:
    """Search body that reads products: their text, what their point was made from, their state; never a vector.

    Whether there is a vector is told by the name of the clause that found it.
    """
    pointed = {"exists": {"field": names.vector, "_name": names.vector}}
    return {
        "query": {"bool": {"filter": [query], "should": [pointed]}},
        "_source": [*fields, names.model, names.text_hash],
        "seq_no_primary_term": True,
    }


def has_vector(hit: IndexHit, names: VectorFields) -> bool:
    """Whether a product has a vector, of whatever model."""
    return names.vector in hit.get("matched_queries", ())


def is_unchanged(
    stored: IndexHit | None, document: ProductDocument, names: VectorFields, model: str, text: str
) -> bool:
    """Whether what stands in the index is this very document, with its point of this model where it has words."""
    if stored is None:
        return False
    kept = stored["_source"]
    rest = {key: value for key, value in kept.items() if not VECTOR_OBJECT_PATTERN.fullmatch(key)}
    mine = _vector_object(kept, names)
    made = mine.get("model") == model and mine.get("text_hash") == hash_text(text) and "vector" in mine
    return rest == document.source and (made or not (mine or extract_trigrams(text, 1)))


def has_vector_data(hit: IndexHit, names: VectorFields) -> bool:
    """Whether a product has a vector, or what was kept of one."""
    return has_vector(hit, names) or bool(_vector_object(hit["_source"], names).get("model"))


def is_current(hit: IndexHit, names: VectorFields, model: str, text: str) -> bool:
    """Whether a product has a vector, and it was made by this model from this text."""
    stored = _vector_object(hit["_source"], names)
    made = stored.get("model") == model and stored.get("text_hash") == hash_text(text)
    return made and has_vector(hit, names)


def _vector_object(source: Mapping[str, Any], names: VectorFields) -> Mapping[str, Any]:
    stored = source.get(names.name)
    return stored if isinstance(stored, dict) else {}


def build_update_action(hit: IndexHit, document: Mapping[str, Any]) -> BulkAction:
    """Bulk action that merges a partial document into a hit, refused (409) where the product has changed since."""
    return {**_action_header(hit, "update"), "_source": {"doc": dict(document)}}


def _action_header(hit: IndexHit, kind: str) -> BulkAction:
    routing = {"routing": hit["_routing"]} if "_routing" in hit else {}
    return {
        "_op_type": kind,
        "_index": hit["_index"],
        "_id": hit["_id"],
        "if_seq_no": hit["_seq_no"],
        "if_primary_term": hit["_primary_term"],
        **routing,
    }


def build_index_action(index: str, identity: str, source: Mapping[str, Any]) -> BulkAction:
    """Bulk action that writes a whole product, in place of one of the same id."""
    return {"_op_type": "index", "_index": index, "_id": identity, "_source": dict(source)}


def build_replace_action(hit: IndexHit, source: Mapping[str, Any]) -> BulkAction:
    """Bulk action that writes a hit anew, refused (409) where the product has changed since; no pipeline runs."""
    return {**_action_header(hit, "index"), "pipeline": "_none", "_source": dict(source)}


def invalid_id_reason(identity: str) -> str | None:
    """Why OpenSearch would refuse an id, and all that is sent with it; None for a good one."""
    size = len(identity.encode("utf-8", "surrogatepass"))
    return None if 0 < size <= MAX_ID_BYTES else f"its id has {size} bytes; 1 to {MAX_ID_BYTES} were wanted"


def check_beir_fields(fields: Sequence[str]) -> None:
    """Check that products of a BEIR corpus can have the fields.

    Raises:
        DataError: A field is none of theirs.
    """
    unknown = [field for field in fields if field.split(".")[0] not in BEIR_FIELDS]
    if unknown:
        raise DataError(
            f"A product of a corpus has no field {', '.join(unknown)}; it has {', '.join(BEIR_FIELDS)}, "
            "and what is below metadata, such as metadata.brand."
        )


def check_fields_have_text(fields: Sequence[str], documents: Iterable[ProductDocument], name: str) -> int:
    """Check that each field has text in some product, and count the products.

    Raises:
        DataError: A field has no text in any product.
    """
    missing, number, known = set(fields), 0, set[str]()
    for document in documents:
        number += 1
        if missing:
            missing -= {field for field in missing if product_text(document.source, [field])}
            known |= document.source.keys()
    if missing and number:
        raise DataError(
            f"No product of {name} has text in {', '.join(sorted(missing))}; their fields are "
            f"{', '.join(sorted(known))}. Name the field of the title with --field."
        )
    return number


def build_product_source(product: Product) -> dict[str, Any]:
    """Return the source of a product of a BEIR corpus, without what is empty."""
    parts = zip(BEIR_FIELDS, (product.title, product.text, dict(product.metadata)), strict=True)
    return {name: value for name, value in parts if value}
