"""Names and mapping of what an index holds for ANTHEM. See docs: fields are written nested, a dotted key is refused."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.lorentz import Array


@dataclass(frozen=True, slots=True)
class Fields:
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
        return {self.name: {"vector": vector, "model": model, "text_hash": text_hash(text)}}


CURRENT = Fields("anthem_current")  # holds no values, only aliases
VECTORS = "anthem*.vector"  # those of every model, as OpenSearch takes a pattern of fields


def current(mappings: Mapping[str, Any]) -> Fields:
    """Names that the aliases of an index point at, `anthem` where it has none."""
    aliases = mappings.get("properties", {}).get(CURRENT.name, {}).get("properties", {})
    return Fields(str(aliases.get("vector", {}).get("path", "anthem.vector")).removesuffix(".vector"))


def own(model: str) -> Fields:
    """Names of the object that a model has to itself where it lives beside another: `anthem_<first 8 of its id>`."""
    return Fields(f"anthem_{model[:8]}")


def holding(answer: Mapping[str, Any], model: str) -> Fields:
    """Names under which indices hold a model's vectors: its own object where one of them maps it, else `anthem`.

    `answer` is what `GET /<index, alias or pattern>/_mapping/field/anthem*.vector` gives. The object is named, not
    looked into: it may be empty, or hold another model's vectors, which searches tell from this one's by the model id.
    """
    mine = own(model)
    return mine if any(mine.vector in found.get("mappings", {}) for found in answer.values()) else Fields()


def text_hash(text: str) -> str:
    """Sixteen hex digits of the SHA-256 of a text; a re-run skips a product whose text still has them."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
