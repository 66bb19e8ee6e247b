"""What an index stores for ANTHEM: names and mapping of the vector fields, and the product text they are made from.

The fields are written nested (`{"anthem": {"vector": …}}`); OpenSearch rejects dotted keys for them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anthem_core.geometry.lorentz import Array


@dataclass(frozen=True, slots=True)
class VectorFields:
    """The object field of an index that holds one model's vectors, `anthem` for the first model."""

    name: str = "anthem"

    @property
    def vector(self) -> str:
        """Field of the product's point: Lorentz coordinates, time first."""
        return f"{self.name}.vector"

    @property
    def model(self) -> str:
        """Field of the id of the model that computed the point."""
        return f"{self.name}.model"

    @property
    def text_hash(self) -> str:
        """Field of the hash of the text that the point was computed from."""
        return f"{self.name}.text_hash"

    def mapping(self, dimension: int) -> dict[str, Any]:
        """Mapping to add to an existing index; with a dimension alone it needs no reindex and builds no HNSW graph."""
        properties = {
            "vector": {"type": "knn_vector", "dimension": dimension + 1},
            "model": {"type": "keyword"},
            "text_hash": {"type": "keyword", "index": False},
        }
        return {"properties": {self.name: {"properties": properties}}}

    def document(self, point: Array, model: str, text: str) -> dict[str, Any]:
        """Partial document of one product, nested."""
        # The shortest decimal that reads back as the same float32: a third less index and `_source`.
        vector = [float(str(value)) for value in point]
        return {self.name: {"vector": vector, "model": model, "text_hash": hash_text(text)}}


DEFAULT_TEXT_FIELDS = ("title",)  # of the product text, where nothing else is named or recorded
MATCH_ALL: dict[str, Any] = {"match_all": {}}  # query that finds every product
CURRENT_FIELDS = VectorFields("anthem_current")  # holds only field aliases
SCRIPT_ID_PREFIX = "anthem-containment-"  # of the stored scripts, one per version of their source
_META_KEY = "anthem"  # in the mapping's `_meta`: one record per vector object


def resolve_current_fields(mappings: Mapping[str, Any]) -> VectorFields:
    """Fields that the aliases of an index point at; `anthem` if it has no aliases."""
    aliases = mappings.get("properties", {}).get(CURRENT_FIELDS.name, {}).get("properties", {})
    return VectorFields(str(aliases.get("vector", {}).get("path", "anthem.vector")).removesuffix(".vector"))


def fields_of_model(model: str) -> VectorFields:
    """Fields of a model that shares an index with another model: `anthem_<first 8 characters of its id>`."""
    return VectorFields(f"anthem_{model[:8]}")


def find_vector_fields(mappings: Iterable[Mapping[str, Any]], model: str) -> VectorFields:
    """Fields in which indices hold a model's vectors: its own object if one of them maps it, otherwise `anthem`.

    Only the mappings are checked: the object may be empty or hold another model's vectors, which searches recognise by
    the model id.
    """
    fields = fields_of_model(model)
    is_mapped = any("vector" in _object_properties(mapping, fields.name) for mapping in mappings)
    return fields if is_mapped else VectorFields()


def _object_properties(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = mapping.get("properties", {}).get(name, {}).get("properties", {})
    return properties


def ingested_fields(mappings: Mapping[str, Any], object_name: str) -> tuple[str, ...] | None:
    """Text fields that a vector object was ingested from, in order, as recorded in `_meta`; None if not recorded."""
    record = _ingest_records(mappings.get("_meta")).get(object_name)
    fields = record.get("fields") if isinstance(record, dict) else None
    if not isinstance(fields, list) or not fields or not all(isinstance(field, str) for field in fields):
        return None
    return tuple(fields)


def with_ingest_meta(
    meta: Mapping[str, Any] | None,
    object_name: str,
    model: str,
    fields: Sequence[str],
    text_rules: Mapping[str, Any],
) -> dict[str, Any]:
    """Mapping `_meta` with a record of what a vector object was ingested from; everything else in it is kept.

    An `anthem` entry that is not an object belongs to the user: it is kept, and nothing is recorded.
    """
    kept = dict(meta or {})
    if not isinstance(kept.get(_META_KEY, {}), dict):
        return kept
    record = {"model": model, "fields": list(fields), "text_rules": dict(text_rules)}
    return {**kept, _META_KEY: {**_ingest_records(kept), object_name: record}}


def without_ingest_meta(meta: Mapping[str, Any] | None, object_name: str) -> dict[str, Any]:
    """Mapping `_meta` without the record of a vector object; everything else in it is kept."""
    kept = dict(meta or {})
    records = dict(_ingest_records(kept))
    if records.pop(object_name, None) is not None:
        kept[_META_KEY] = records
        if not records:
            del kept[_META_KEY]
    return kept


def _ingest_records(meta: object) -> Mapping[str, Any]:
    records = meta.get(_META_KEY) if isinstance(meta, dict) else None
    return records if isinstance(records, dict) else {}


def hash_text(text: str) -> str:
    """First sixteen hex digits of the SHA-256 of a text; ingest skips a product whose text hash has not changed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def product_text(source: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Text of a product, which its point and its attention score are computed from: the values of its fields, in order.

    Values are joined by a space. A field may be a dotted path and lead through lists; a single string field gives
    exactly its value.
    """
    return " ".join(value for field in fields for value in _iterate_values(source, field.split(".")))


def _iterate_values(node: object, path: Sequence[str]) -> Iterator[str]:
    """Strings and numbers at a path; OpenSearch treats `{"a": {"b": 1}}` and `{"a.b": 1}` as the same."""
    if isinstance(node, list):
        for item in node:
            yield from _iterate_values(item, path)
    elif isinstance(node, dict):
        for end in range(1, len(path) + 1):
            yield from _iterate_values(node.get(".".join(path[:end])), path[end:])
    elif not path and isinstance(node, str | int | float) and not isinstance(node, bool):
        yield str(node)
