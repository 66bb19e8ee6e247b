"""What an index stores for ANTHEM: names and mapping of a model's fields, and the product text they are made from.

The fields are written nested (`{"anthem": {"vector": …}}`); OpenSearch rejects dotted keys for them.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsInt, TypeAlias

from anthem_core.encoding.stored_vectors import VECTOR_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

ModelSignal: TypeAlias = Literal["containment", "attention"]

# The field that holds a product's value for each signal of the model.
VALUE_OF_SIGNAL: dict[ModelSignal, str] = {"containment": "vector", "attention": "trigrams"}
MODEL_SIGNALS = tuple(VALUE_OF_SIGNAL)
# Names of the objects that hold a model's fields, unless another one was chosen and recorded.
MODEL_OBJECT_PATTERN = re.compile(r"anthem(_[0-9a-f]{8})?")
MODEL_OBJECT_KEYS = frozenset({*VALUE_OF_SIGNAL.values(), "model", "text_hash"})
_MODEL_OBJECT_MARKS = frozenset({"model", "text_hash"})  # that ingest maps in every object
_HEX_ID = re.compile(r"[0-9a-f]{16}")  # a model id or a hash of words


@dataclass(frozen=True, slots=True)
class ModelFields:
    """The object field that holds one model's values of each product; `anthem` for the first model."""

    name: str = "anthem"

    @property
    def vector(self) -> str:
        """Field of the product's point: its space coordinates as `stored_vectors` writes them."""
        return f"{self.name}.vector"

    @property
    def trigrams(self) -> str:
        """Field of the product's trigrams: ids and weights as `TitleEntities.pack` writes them."""
        return f"{self.name}.trigrams"

    @property
    def model(self) -> str:
        """Field of the id of the model that computed the values."""
        return f"{self.name}.model"

    @property
    def text_hash(self) -> str:
        """Field of the hash of the words that the values were computed from (`hash_words`)."""
        return f"{self.name}.text_hash"

    def value(self, signal: ModelSignal) -> str:
        """Field of the value that a signal of the model is computed from."""
        return f"{self.name}.{VALUE_OF_SIGNAL[signal]}"

    def mapping(self, dimension: int, signals: Collection[ModelSignal] = MODEL_SIGNALS) -> dict[str, Any]:
        """Mapping to add to an existing index; it needs no reindex and builds no HNSW graph."""
        values: dict[str, dict[str, Any]] = {
            "vector": {"type": "knn_vector", "dimension": dimension, "data_type": VECTOR_TYPE},
            "trigrams": {"type": "binary", "doc_values": True},
        }
        properties = {VALUE_OF_SIGNAL[signal]: values[VALUE_OF_SIGNAL[signal]] for signal in signals} | {
            "model": {"type": "keyword"},
            "text_hash": {"type": "keyword", "index": False},
        }
        return {"properties": {self.name: {"properties": properties}}}

    def document(
        self, vector: Iterable[SupportsInt] | None, model: str, words: list[str], trigrams: bytes | None = None
    ) -> dict[str, Any]:
        """Partial document that writes the given values of one product, as the index stores them.

        `words` are those that the model's vocabulary finds in the product text.
        """
        values: dict[str, Any] = {}
        if vector is not None:
            values["vector"] = [int(number) for number in vector]
        if trigrams is not None:
            values["trigrams"] = b64encode(trigrams).decode("ascii")
        return {self.name: {**values, "model": model, "text_hash": hash_words(words)}}


DEFAULT_TEXT_FIELDS = ("title",)  # of the product text, where nothing else is named or recorded
MATCH_ALL: dict[str, Any] = {"match_all": {}}  # query that finds every product
CURRENT_FIELDS = ModelFields("anthem_current")  # holds only field aliases
SCRIPT_ID_PREFIX = "anthem-score-"  # of the stored scripts, one per version of their source
_META_KEY = "anthem"  # in the mapping's `_meta`: one record per model's object
PENDING_KEY = "pending"  # in a record: searches still read the same model's values in another object


def list_fields(fields: str | Iterable[str]) -> tuple[str, ...]:
    """Names of text fields; a string is one name, not a list of letters."""
    return (fields,) if isinstance(fields, str) else tuple(fields)


def resolve_current_fields(mappings: Mapping[str, Any]) -> ModelFields:
    """Fields that the aliases of an index point at; those of the first model if it has no aliases."""
    aliases = _object_properties(mappings, CURRENT_FIELDS.name)
    paths = (aliases[name].get("path") for name in (*VALUE_OF_SIGNAL.values(), "model") if name in aliases)
    path = next(filter(None, paths), None)
    return ModelFields(str(path).partition(".")[0]) if path else first_model_fields(mappings)


def fields_of_model(model: str) -> ModelFields:
    """Fields of a model that shares an index with another model: `anthem_<first 8 characters of its id>`."""
    return ModelFields(f"anthem_{model[:8]}")


def find_model_fields(mappings: Iterable[Mapping[str, Any]], model: str) -> ModelFields:
    """Fields in which indices hold a model's values: its own object if one of them maps it, or one that is recorded.

    An object that is pending, or was pruned, counts only where no other one is recorded for the model. Without any,
    they are those of the first model. Only the mappings are checked: the object may be empty or hold another model's
    values, which searches recognise by the model id.
    """
    known, own = list(mappings), fields_of_model(model)
    found = [fields for mapping in known if (fields := _find_objects_fields(mapping, model)) is not None]
    if found:
        return own if own in found else found[0]
    first = (fields for mapping in known if (fields := first_model_fields(mapping)) != ModelFields())
    return next(first, ModelFields())


def _find_objects_fields(mappings: Mapping[str, Any], model: str) -> ModelFields | None:
    """The object in which one index holds a model's values; None if neither its name nor a record tells."""
    own = fields_of_model(model)
    usable = [
        name
        for name, record in recorded_objects(mappings).items()
        if record.get("model") == model and not record.get(PENDING_KEY) and _maps_values(mappings, name)
    ]
    if _maps_values(mappings, own.name) and (not usable or own.name in usable):
        return own
    return ModelFields(usable[0]) if usable else None


def first_model_fields(mappings: Mapping[str, Any]) -> ModelFields:
    """Fields of the first model of an index: `anthem`, or an object that was named with `--as` and is recorded."""
    if mapped_signals(mappings, ModelFields()):
        return ModelFields()
    named = (name for name in recorded_objects(mappings) if not MODEL_OBJECT_PATTERN.fullmatch(name))
    return ModelFields(next((name for name in named if mapped_signals(mappings, ModelFields(name))), "anthem"))


def _maps_values(mappings: Mapping[str, Any], name: str) -> bool:
    return bool(set(VALUE_OF_SIGNAL.values()) & _object_properties(mappings, name).keys())


def is_users_field(mappings: Mapping[str, Any], name: str) -> bool:
    """Whether a field of this name is not a model's object: it is no object, or its fields are not those of a model.

    Ingest maps a value of the right type, or a model id together with a hash of words; an object with neither is a
    model's only if it is recorded. A recorded one is a model's even if a product has added fields of its own.
    """
    field = mappings.get("properties", {}).get(name)
    if field is None:
        return False
    present = field.get("properties", {}).keys()
    if field.get("type", "object") != "object":
        return True
    if name in recorded_objects(mappings):
        return False
    has_marks = present >= _MODEL_OBJECT_MARKS or mapped_signals(mappings, ModelFields(name))
    return not present <= MODEL_OBJECT_KEYS or (bool(present) and not has_marks)


def has_model_keys(value: object) -> bool:
    """Whether a value in a hit has only keys of a model's object; the search may have returned only some of them."""
    return value is None or (isinstance(value, dict) and value.keys() <= MODEL_OBJECT_KEYS)


def is_model_object(value: object) -> bool:
    """Whether a value of a product is what a model's object holds, or held before it was removed.

    The names of its fields are not enough, because a user's object can have a `model` or a `vector` too.
    """
    if value is None:
        return True
    if not isinstance(value, dict) or not has_model_keys(value):
        return False
    present = {key: item for key, item in value.items() if item is not None}
    return not present or ("model" in present and all(_CAN_BE_VALUE[key](item) for key, item in present.items()))


def _is_hex_id(value: object) -> bool:
    return isinstance(value, str) and _HEX_ID.fullmatch(value) is not None


def _is_vector(value: object) -> bool:
    """Whether a value is a list of numbers: bytes, or floats as earlier versions wrote them."""
    return isinstance(value, list) and bool(value) and {type(number) for number in value} <= {int, float}


def _is_base64(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        b64decode(value, validate=True)
    except ValueError:
        return False
    return True


_CAN_BE_VALUE: dict[str, Callable[[object], bool]] = {
    "vector": _is_vector,
    "trigrams": _is_base64,
    "model": _is_hex_id,
    "text_hash": _is_hex_id,
}


def mapped_signals(mappings: Mapping[str, Any], fields: ModelFields) -> tuple[ModelSignal, ...]:
    """Signals whose values an index can hold in these fields, by the types of its mapping.

    A vector has to be a `knn_vector`, of any size and element type, trigrams have to be `binary` with doc values.
    """
    mapped = _object_properties(mappings, fields.name)
    required = fields.mapping(0)["properties"][fields.name]["properties"]

    def has_type(value: str) -> bool:
        keys = required[value].keys() & {"type", "doc_values"}
        return all(mapped.get(value, {}).get(key) == required[value][key] for key in keys)

    return tuple(signal for signal, value in VALUE_OF_SIGNAL.items() if has_type(value))


def _object_properties(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = mapping.get("properties", {}).get(name, {}).get("properties", {})
    return properties


def ingested_fields(mappings: Mapping[str, Any], object_name: str) -> tuple[str, ...] | None:
    """Text fields that a model's object was ingested from, in order, as recorded in `_meta`; None if not recorded."""
    return _recorded_names(mappings, object_name, "fields")


def ingested_signals(mappings: Mapping[str, Any], object_name: str) -> tuple[str, ...] | None:
    """Signals whose values the last ingest wrote into a model's object, as recorded in `_meta`; None if not recorded.

    Ingests from before the attention score was in the cluster recorded none.
    """
    return _recorded_names(mappings, object_name, "signals")


def recorded_objects(mappings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The records of ingests in `_meta`, by the object that each wrote its values into."""
    records = _ingest_records(mappings.get("_meta"))
    return {name: record for name, record in records.items() if isinstance(record, dict)}


def _recorded_names(mappings: Mapping[str, Any], object_name: str, key: str) -> tuple[str, ...] | None:
    record = _ingest_records(mappings.get("_meta")).get(object_name)
    names = record.get(key) if isinstance(record, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def with_ingest_meta(meta: Mapping[str, Any] | None, object_name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Mapping `_meta` with a record of what a model's object was ingested from; everything else in it is kept.

    An `anthem` entry that is not an object, or whose entry for the object is no record, belongs to the user: it is
    kept, and nothing is recorded.
    """
    kept = dict(meta or {})
    if not isinstance(kept.get(_META_KEY, {}), dict):
        return kept
    present = _ingest_records(kept).get(object_name, {})
    if present and not (isinstance(present, dict) and "model" in present):
        return kept
    return {**kept, _META_KEY: {**_ingest_records(kept), object_name: dict(record)}}


def can_record(mappings: Mapping[str, Any]) -> bool:
    """Whether ingests can be recorded in `_meta`: its `anthem` entry is missing or an object."""
    return isinstance((mappings.get("_meta") or {}).get(_META_KEY, {}), dict)


def build_ingest_record(
    model: str, fields: Sequence[str], signals: Sequence[str], text_rules: Mapping[str, Any]
) -> dict[str, Any]:
    """Record of an ingest for the mapping's `_meta`: model id, text fields, signals, tokenizer rules."""
    return {"model": model, "fields": list(fields), "signals": list(signals), "text_rules": dict(text_rules)}


def without_ingest_meta(meta: Mapping[str, Any] | None, object_name: str) -> dict[str, Any]:
    """Mapping `_meta` without the record of a model's object; everything else in it is kept."""
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


def hash_words(words: list[str]) -> str:
    """First sixteen hex digits of the SHA-256 of a text's normalised words, on which alone the model's values depend.

    Texts with equal hashes have equal values, so ingest skips a product whose hash has not changed.
    """
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def product_text(source: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Text of a product, which the model's values are computed from: the values of its fields, in order.

    Values are joined by a space. A field may be a dotted path and lead through lists; a single string field gives
    exactly its value.
    """
    return " ".join(value for field in fields for value in _iterate_values(source, field.split(".")))


def has_text_value(source: Mapping[str, Any], field: str) -> bool:
    """Whether a product has a string or a number at a dotted path, an empty string included."""
    return next(_iterate_values(source, field.split(".")), None) is not None


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
