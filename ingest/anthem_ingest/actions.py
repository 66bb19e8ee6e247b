"""What is sent to an index and what is read of it: pure builders, no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.errors import DataError
from anthem_core.fields import Fields, text_hash
from anthem_core.text import text_of, trigrams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anthem_core.beir import Product

Action: TypeAlias = dict[str, Any]
Hit: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """One product as it is to stand in an index."""

    id: str
    source: Mapping[str, Any]


PARTS = ("title", "text", "metadata")
PAGE = 500
LONGEST_ID = 512  # bytes; with a longer one OpenSearch refuses the whole request
OBJECT = re.compile(r"anthem(_[0-9a-f]{8})?")  # names of what holds a model's fields
ALL: dict[str, Any] = {"match_all": {}}


def read_body(fields: Sequence[str], names: Fields, query: Mapping[str, Any]) -> dict[str, Any]:
    """Search body that reads products: their text, what their point was made from, their state; never a vector.

    Whether there is a vector is told by the name of the clause that found it.
    """
    pointed = {"exists": {"field": names.vector, "_name": names.vector}}
    return {
        "query": {"bool": {"filter": [query], "should": [pointed]}},
        "_source": [*fields, names.model, names.text_hash],
        "seq_no_primary_term": True,
    }


def has_vector(hit: Hit, names: Fields) -> bool:
    """Whether a product has a vector, of whatever model."""
    return names.vector in hit.get("matched_queries", ())


def is_same(stored: Hit | None, document: Document, names: Fields, model: str, text: str) -> bool:
    """Whether what stands in the index is this very document, with its point of this model where it has words."""
    if stored is None:
        return False
    kept = stored["_source"]
    rest = {key: value for key, value in kept.items() if not OBJECT.fullmatch(key)}
    mine = _stored(kept, names)
    made = mine.get("model") == model and mine.get("text_hash") == text_hash(text) and "vector" in mine
    return rest == document.source and (made or not (mine or trigrams(text, 1)))


def has_point(hit: Hit, names: Fields) -> bool:
    """Whether a product has a vector, or what was kept of one."""
    return has_vector(hit, names) or bool(_stored(hit["_source"], names).get("model"))


def is_current(hit: Hit, names: Fields, model: str, text: str) -> bool:
    """Whether a product has a vector, and it was made by this model from this text."""
    stored = _stored(hit["_source"], names)
    made = stored.get("model") == model and stored.get("text_hash") == text_hash(text)
    return made and has_vector(hit, names)


def _stored(source: Mapping[str, Any], names: Fields) -> Mapping[str, Any]:
    stored = source.get(names.name)
    return stored if isinstance(stored, dict) else {}


def update_action(hit: Hit, document: Mapping[str, Any]) -> Action:
    """Bulk action that merges a partial document into a hit, refused (409) where the product has changed since."""
    return {**_address(hit, "update"), "_source": {"doc": dict(document)}}


def _address(hit: Hit, kind: str) -> Action:
    routing = {"routing": hit["_routing"]} if "_routing" in hit else {}
    return {
        "_op_type": kind,
        "_index": hit["_index"],
        "_id": hit["_id"],
        "if_seq_no": hit["_seq_no"],
        "if_primary_term": hit["_primary_term"],
        **routing,
    }


def index_action(index: str, identity: str, source: Mapping[str, Any]) -> Action:
    """Bulk action that writes a whole product, in place of one of the same id."""
    return {"_op_type": "index", "_index": index, "_id": identity, "_source": dict(source)}


def replace_action(hit: Hit, source: Mapping[str, Any]) -> Action:
    """Bulk action that writes a hit anew, refused (409) where the product has changed since; no pipeline runs."""
    return {**_address(hit, "index"), "pipeline": "_none", "_source": dict(source)}


def bad_id(identity: str) -> str | None:
    """Why OpenSearch would refuse an id, and all that is sent with it; None for a good one."""
    size = len(identity.encode("utf-8", "surrogatepass"))
    return None if 0 < size <= LONGEST_ID else f"its id has {size} bytes; 1 to {LONGEST_ID} were wanted"


def check_parts(fields: Sequence[str]) -> None:
    """Check that products of a BEIR corpus can have the fields.

    Raises:
        DataError: A field is none of theirs.
    """
    unknown = [field for field in fields if field.split(".")[0] not in PARTS]
    if unknown:
        raise DataError(
            f"A product of a corpus has no field {', '.join(unknown)}; it has {', '.join(PARTS)}, "
            "and what is below metadata, such as metadata.brand."
        )


def check_found(fields: Sequence[str], documents: Iterable[Document], name: str) -> int:
    """Check that each field has text in some product, and count the products.

    Raises:
        DataError: A field has no text in any product.
    """
    missing, number, known = set(fields), 0, set[str]()
    for document in documents:
        number += 1
        if missing:
            missing -= {field for field in missing if text_of(document.source, [field])}
            known |= document.source.keys()
    if missing and number:
        raise DataError(
            f"No product of {name} has text in {', '.join(sorted(missing))}; their fields are "
            f"{', '.join(sorted(known))}. Name the field of the title with --field."
        )
    return number


def source_of(product: Product) -> dict[str, Any]:
    """Return the source of a product of a BEIR corpus, without what is empty."""
    parts = zip(PARTS, (product.title, product.text, dict(product.metadata)), strict=True)
    return {name: value for name, value in parts if value}
