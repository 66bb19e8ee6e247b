"""Pure functions that turn one record of a file into a product, or say why they cannot."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.opensearch.schema import MODEL_OBJECT_PATTERN, is_model_object
from anthem_ingest.actions import ProductDocument

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

NumberedRow: TypeAlias = tuple[int, dict[Any, Any] | str]  # line or row number; the record, or why it cannot be read

DEFAULT_ID_FIELDS = ("_id", "id")

# Names of a hit's metadata, as dumps and exported tables have them next to the fields of the document.
_ROW_METADATA = frozenset({"_id", "_routing"})
_HIT_METADATA = _ROW_METADATA | {"_index", "_type", "_score", "_version", "_seq_no", "_primary_term", "_ignored"}
# What a search response or a dump may have next to `_source`.
_HIT_KEYS = _HIT_METADATA | {
    "_source", "_explanation", "_nested", "_node", "_parent", "_shard", "fields", "found", "highlight",
    "ignored_field_values", "inner_hits", "matched_queries", "routing", "sort",
}  # fmt: skip
_RESERVED_NAMES = frozenset(
    {"_version", "_seq_no", "_primary_term", "_ignored", "_field_names", "_nested_path", "_index"}
)  # of fields that no document can have
_LIST_NAMES = frozenset({"products", "items", "data"})  # under which shop systems export all products at once
_DECIMAL_ID = re.compile(r"[+-]?\d+\.0+")
_EXPONENT_ID = re.compile(r"[+-]?\d([.,]\d+)?[Ee]\+\d+")


def choose_id_fields(id_field: str | None) -> tuple[str, ...]:
    """Fields that may hold the product id, the first that is not empty counts."""
    return (id_field,) if id_field else DEFAULT_ID_FIELDS


def parse_product(
    record: Mapping[Any, Any], id_field: str | None = None, *, is_typed: bool = True
) -> ProductDocument | str:
    """The product of a record, without empty fields and a model's values; or the reason why it cannot be used.

    A hit, as a dump has it (`_index`, `_id`, `_source`, `_routing`), becomes its source. In an untyped record, such as
    a row of CSV, an id that looks like a float is a reason too: it was an integer before some program rewrote it; and
    spaces around an id or a routing are not part of it.
    """
    if reason := _several_products_reason(record):
        return reason
    is_hit = "_source" in record
    fields = record["_source"] if is_hit else record
    if not isinstance(fields, dict):
        return "a hit whose _source is not an object"
    if is_hit and (beside := sorted(str(key) for key in record if key not in _HIT_KEYS)):
        return f"fields beside _source ({', '.join(beside[:3])}); expected a hit or a product, not both"
    id_fields = choose_id_fields(id_field)
    product_id = _find_id({**fields, "_id": record.get("_id")}, id_fields)
    routing = record.get("_routing", record.get("routing") if is_hit else None)
    if not is_typed:
        product_id, routing = _strip(product_id), _strip(routing)
    reason = _invalid_id_reason(product_id, id_fields, is_typed=is_typed) or _invalid_routing_reason(routing)
    if reason:
        return reason
    source = _own_fields(fields, _HIT_METADATA if "_index" in record and not is_hit else _ROW_METADATA)
    if "_index" in record and not source:
        return "a hit without _source"
    reason = _refused_field_reason(source) or _unencodable_reason(source, product_id, routing)
    return reason or ProductDocument(str(product_id), source, None if routing in (None, "") else str(routing))


def _several_products_reason(record: Mapping[Any, Any]) -> str | None:
    """Why a record is no single product: it has many of them in a list; None if it has none."""
    if {"took", "hits"} <= record.keys():
        return "a search response; write one hit on each line: jq -c '.hits.hits[]' FILE"
    name = next(iter(record), None) if len(record) == 1 else None
    if name in _LIST_NAMES and isinstance(record[name], list):
        return f"one object with the list {name}; write one product on each line: jq -c '.{name}[]' FILE"
    return None


def _find_id(record: Mapping[Any, Any], id_fields: Sequence[str]) -> object:
    return next((record[name] for name in id_fields if not _is_blank(record.get(name))), None)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _strip(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _own_fields(fields: Mapping[Any, Any], metadata: Collection[str]) -> dict[str, Any]:
    values = {str(key): value for key, value in fields.items() if value not in (None, "", {})}
    return {
        key: value
        for key, value in values.items()
        if key not in metadata and not (MODEL_OBJECT_PATTERN.fullmatch(key) and is_model_object(value))
    }


def _invalid_id_reason(product_id: object, id_fields: Sequence[str], *, is_typed: bool) -> str | None:
    """Why a value cannot be an id; None for a string or an integer."""
    names = " or ".join(id_fields)
    if product_id is None:
        return f"no {names}"
    if isinstance(product_id, float) or (not is_typed and _DECIMAL_ID.fullmatch(str(product_id))):
        return f"the id {product_id} is a float, perhaps because some ids are missing; write integers or text"
    if not is_typed and _EXPONENT_ID.fullmatch(str(product_id)):
        return f"the id {product_id} is a rounded number, as spreadsheets write long ones; export the column as text"
    if not isinstance(product_id, str | int) or isinstance(product_id, bool):
        return f"the id in {names} is {type(product_id).__name__}; expected text or an integer"
    return None


def _invalid_routing_reason(routing: object) -> str | None:
    if routing is None or (isinstance(routing, str | int) and not isinstance(routing, bool)):
        return None
    return f"its routing is {type(routing).__name__}; expected text"


def _refused_field_reason(source: Mapping[str, Any]) -> str | None:
    """Why OpenSearch would refuse every product with these fields; None if it would not."""
    reserved = next((name for name in source if name in _RESERVED_NAMES), None)
    if reserved:
        return f"a field {reserved}, a name that OpenSearch reserves; rename or remove it"
    for name in source:
        parents = accumulate(name.split(".")[:-1], "{}.{}".format)
        parent = next((parent for parent in parents if not isinstance(source.get(parent, {}), dict | list)), None)
        if parent:
            return f"the fields {parent} and {name}: {parent} cannot be a value and an object; rename one of them"
    return None


def _unencodable_reason(source: Mapping[str, Any], *names: object) -> str | None:
    try:
        (json.dumps(source, ensure_ascii=False) + "".join(map(str, names))).encode()
    except UnicodeEncodeError:
        return "not UTF-8, or a lone surrogate"
    except TypeError as error:
        return f"a value that JSON cannot represent ({error})"
    return None
