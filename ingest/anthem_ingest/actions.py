"""What is sent to an index and what is read of it: pure builders, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.errors import DataError
from anthem_core.fields import Fields, text_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_core.beir import Product

Action: TypeAlias = dict[str, Any]
Hit: TypeAlias = dict[str, Any]

PARTS = ("title", "text", "metadata")
PAGE = 500
LONGEST_ID = 512  # bytes; with a longer one OpenSearch refuses the whole request
ALL: dict[str, Any] = {"match_all": {}}


def text_of(source: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Text a product's point is made from: the values of its fields, in order, joined by a space.

    A path may be dotted, and lead through lists; one string field gives exactly its value.
    """
    return " ".join(value for field in fields for value in _values(source, field.split(".")))


def _values(node: object, path: Sequence[str]) -> Iterator[str]:
    """Strings and numbers at a path; `{"a": {"b": 1}}` and `{"a.b": 1}` are the same to OpenSearch."""
    if isinstance(node, list):
        for item in node:
            yield from _values(item, path)
    elif isinstance(node, dict):
        for end in range(1, len(path) + 1):
            yield from _values(node.get(".".join(path[:end])), path[end:])
    elif not path and isinstance(node, str | int | float) and not isinstance(node, bool):
        yield str(node)


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
    routing = {"routing": hit["_routing"]} if "_routing" in hit else {}
    return {
        "_op_type": "update",
        "_index": hit["_index"],
        "_id": hit["_id"],
        "if_seq_no": hit["_seq_no"],
        "if_primary_term": hit["_primary_term"],
        **routing,
        "_source": {"doc": dict(document)},
    }


def index_action(index: str, product: Product, document: Mapping[str, Any]) -> Action:
    """Bulk action that writes a whole product, in place of one of the same id."""
    return {"_op_type": "index", "_index": index, "_id": product.id, "_source": dict(document)}


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


def source_of(product: Product) -> dict[str, Any]:
    """Return the document of a product of a BEIR corpus, without what is empty."""
    parts = zip(PARTS, (product.title, product.text, dict(product.metadata)), strict=True)
    return {name: value for name, value in parts if value}
