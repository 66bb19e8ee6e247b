"""Names and mapping of what an index holds for ANTHEM. See docs: fields are written nested, a dotted key is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.geometry.lorentz import Array


@dataclass(frozen=True, slots=True)
class VectorFields:
    """The object that holds a model's fields in an index, `anthem` for the first model."""

    name: str = "anthem"

    @property
    def vector(self) -> str:
        """Field of the product's point, Lorentz coordinates, time first."""
        return f"{self.name}.vector"

    @property
    def model(self) -> str:
        """Field of the id of the model that made the point."""
        return f"{self.name}.model"

    @property
    def text_hash(self) -> str:
        """Field of the hash of the text the point was made from."""
        return f"{self.name}.text_hash"

    def mapping(self, dimension: int) -> dict[str, Any]:
        """Mapping for an existing index: dimension alone, so no reindex is needed and no HNSW graph is built."""
        properties = {
            "vector": {"type": "knn_vector", "dimension": dimension + 1},
            "model": {"type": "keyword"},
            "text_hash": {"type": "keyword", "index": False},
        }
        return {"properties": {self.name: {"properties": properties}}}

    def document(self, point: Array, model: str, text: str) -> dict[str, Any]:
        """Partial document of one product, nested."""
        # The shortest text that gives the same float32 back: a third less index and `_source`.
        vector = [float(str(value)) for value in point]
        return {self.name: {"vector": vector, "model": model, "text_hash": hash_text(text)}}


CURRENT_FIELDS = VectorFields("anthem_current")  # holds no values, only aliases
VECTOR_FIELD_PATTERN = "anthem*.vector"  # those of every model, as OpenSearch takes a pattern of fields


def resolve_current_fields(mappings: Mapping[str, Any]) -> VectorFields:
    """Names that the aliases of an index point at, `anthem` where it has none."""
    aliases = mappings.get("properties", {}).get(CURRENT_FIELDS.name, {}).get("properties", {})
    return VectorFields(str(aliases.get("vector", {}).get("path", "anthem.vector")).removesuffix(".vector"))


def fields_of_model(model: str) -> VectorFields:
    """Names of the object that a model has to itself where it lives beside another: `anthem_<first 8 of its id>`."""
    return VectorFields(f"anthem_{model[:8]}")


def find_vector_fields(answer: Mapping[str, Any], model: str) -> VectorFields:
    """Names under which indices hold a model's vectors: its own object where one of them maps it, else `anthem`.

    `answer` is what `GET /<index, alias or pattern>/_mapping/field/anthem*.vector` gives. The object is named, not
    looked into: it may be empty, or hold another model's vectors, which searches tell from this one's by the model id.
    """
    mine = fields_of_model(model)
    return mine if any(mine.vector in found.get("mappings", {}) for found in answer.values()) else VectorFields()


def hash_text(text: str) -> str:
    """Sixteen hex digits of the SHA-256 of a text; a re-run skips a product whose text still has them."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def product_text(source: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Text of a product, from which its point is made and its attention is read: the values of its fields, in order.

    They are joined by a space. A path may be dotted, and lead through lists; one string field gives exactly its value.
    """
    return " ".join(value for field in fields for value in _iterate_values(source, field.split(".")))


def _iterate_values(node: object, path: Sequence[str]) -> Iterator[str]:
    """Strings and numbers at a path; `{"a": {"b": 1}}` and `{"a.b": 1}` are the same to OpenSearch."""
    if isinstance(node, list):
        for item in node:
            yield from _iterate_values(item, path)
    elif isinstance(node, dict):
        for end in range(1, len(path) + 1):
            yield from _iterate_values(node.get(".".join(path[:end])), path[end:])
    elif not path and isinstance(node, str | int | float) and not isinstance(node, bool):
        yield str(node)
