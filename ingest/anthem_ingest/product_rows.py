"""Pure functions that turn one record of a file into a product, or say why they cannot."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.opensearch.schema import MODEL_OBJECT_PATTERN, is_model_object
from anthem_ingest.actions import ProductDocument
from anthem_ingest.hit_rows import list_routings, metadata_names, misplaced_reason, no_product_reason
from anthem_ingest.json_values import MAX_NESTING, is_nested_too_deep

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

NumberedRow: TypeAlias = tuple[int, dict[Any, Any] | str]  # line or row number; the record, or why it cannot be read

DEFAULT_ID_FIELDS = ("_id", "id")

_RESERVED_NAMES = frozenset(
    {"_version", "_seq_no", "_primary_term", "_ignored", "_field_names", "_nested_path", "_index", "_source"}
)  # of fields that no document can have
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_DECIMAL_ID = re.compile(r"[+-]?\d+\.0+")
_EXPONENT_ID = re.compile(r"[+-]?\d([.,]\d+)?[Ee]\+\d+")


def choose_id_fields(id_field: str | None) -> tuple[str, ...]:
    """Fields that may hold the product id, the first that is not empty counts."""
    return (id_field,) if id_field else DEFAULT_ID_FIELDS


def parse_product(
    record: Mapping[Any, Any], id_field: str | None = None, *, is_typed: bool = True
) -> ProductDocument | str:
    """The product of a record, with its values as they are but without a model's; or why it cannot be used.

    A hit, as a dump has it (`_index`, `_id`, `_source`, `_routing`), becomes its source. In an untyped record, such as
    a row of CSV, an id that looks like a float is a reason too: it was an integer before some program rewrote it; and
    spaces around an id or a routing are not part of it.
    """
    if reason := no_product_reason(record):
        return reason
    fields = record.get("_source", record)
    if not isinstance(fields, dict):
        return "a hit whose _source is not an object"
    id_fields, routings = choose_id_fields(id_field), list_routings(record)
    product_id, routing = _find_id({**fields, "_id": record.get("_id")}, id_fields), next(iter(routings), None)
    if not is_typed:
        product_id, routing = _strip(product_id), _strip(routing)
    source = _own_fields(fields, metadata_names(record))
    if "_source" not in record:
        # A feed writes them for "no value", and most types of a field refuse them; a dump has what an index accepted.
        source = {name: value for name, value in source.items() if value not in ("", {})}
    reason = (
        misplaced_reason(record, routing)
        or _invalid_id_reason(product_id, id_fields, is_typed=is_typed)
        or _invalid_routing_reason(routings)
        or ("a hit without fields in _source" if not source and not {"_index", "_source"}.isdisjoint(record) else None)
        or _refused_field_reason(source)
        or _unencodable_reason(source, product_id, routing)
    )
    if reason:
        return reason
    unused_id = _unused_id(record, product_id) if id_field else None
    return ProductDocument(str(product_id), source, None if routing in (None, "") else str(routing), unused_id)


def _find_id(record: Mapping[Any, Any], id_fields: Sequence[str]) -> object:
    return next((record[name] for name in id_fields if not _is_blank(record.get(name))), None)


def _unused_id(record: Mapping[Any, Any], product_id: object) -> str | None:
    """What a record has in `_id` besides its id, which another field holds; None for nothing else."""
    beside = record.get("_id")
    return None if _is_blank(beside) or str(beside).strip() == str(product_id).strip() else str(beside)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _strip(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _own_fields(fields: Mapping[Any, Any], metadata: Collection[str]) -> dict[str, Any]:
    return {
        str(key): value
        for key, value in fields.items()
        if str(key) not in metadata and not (MODEL_OBJECT_PATTERN.fullmatch(str(key)) and is_model_object(value))
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


def _invalid_routing_reason(routings: Sequence[object]) -> str | None:
    if len(routings) > 1:
        return f"several routings ({', '.join(map(str, routings))}); expected one"
    wrong = (value for value in routings if not isinstance(value, str | int) or isinstance(value, bool))
    return next((f"its routing is {type(value).__name__}; expected text" for value in wrong), None)


def _refused_field_reason(source: Mapping[str, Any]) -> str | None:
    """Why OpenSearch would refuse every product with these fields; None if it would not."""
    reserved = next((name for name in source if name in _RESERVED_NAMES), None)
    if reserved:
        return f"a field {reserved}, a name that OpenSearch reserves; rename or remove it"
    for name in source:
        if not name.strip():
            return "a field without a name; give it one, or remove it"
        if "." not in name:
            continue
        parts = name.split(".")
        if not all(map(str.strip, parts)):
            return f"the field {name!r} has an empty part before or after a dot; rename it"
        parents = accumulate(parts[:-1], "{}.{}".format)
        parent = next((parent for parent in parents if not isinstance(source.get(parent), dict | list | None)), None)
        if parent:
            return f"the fields {parent} and {name}: {parent} cannot be a value and an object; rename one of them"
    return None


def _unencodable_reason(source: Mapping[str, Any], *names: object) -> str | None:
    if is_nested_too_deep(source):
        return f"nested on more than {MAX_NESTING} levels; expected fewer (OpenSearch accepts 20 by default)"
    try:
        (_JSON.encode(source) + "".join(map(str, names))).encode()
    except UnicodeEncodeError:
        return "not UTF-8, or a lone surrogate"
    except ValueError:
        name = next((name for name, value in source.items() if not _is_finite(value)), "a field")
        return f"{name} is infinite or too large; the largest number is about 1.8e308"
    except TypeError as error:
        return f"a value that JSON cannot represent ({error})"
    return None


def _is_finite(value: object) -> bool:
    """Whether a value has no infinite number in it: JSON has none, and Python reads `1e400` as one."""
    if isinstance(value, dict | list):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)
