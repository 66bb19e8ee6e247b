"""Reads the records of JSON lines, those of a body for `_bulk` too; a line that cannot be used is reported."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anthem_ingest.product_rows import NumberedRow

BULK_ACTIONS = frozenset({"index", "create", "update", "delete"})
_LOADED_ACTIONS = frozenset({"index", "create"})
_ACTION_KEYS = frozenset(
    {
        "_id", "_index", "_type", "_routing", "routing", "_version", "version", "version_type", "pipeline",
        "require_alias", "dynamic_templates", "if_seq_no", "if_primary_term", "op_type", "retry_on_conflict",
        "_parent", "parent", "_version_type", "_retry_on_conflict", "_timestamp", "timestamp", "_ttl", "ttl",
    }
)  # fmt: skip
_OPENINGS = {"[": ("a JSON array", "jq -c '.[]'"), "{": ("JSON objects", "jq -c .")}  # of an indented file
_WITHOUT_PRODUCT = "an action of a _bulk body without the product that follows it"


def read_json_rows(stream: Iterable[bytes], name: str) -> Iterator[NumberedRow]:
    """Records by line number; only a line feed ends a line, so U+2028 and similar characters stay inside.

    In a body for `_bulk`, an action and the line after it are one record, with the number of the action.

    Raises:
        DataError: The first value takes several lines, as in an indented file, or the text is XML.
    """
    action: tuple[int, dict[str, Any]] | None = None
    for number, row in _read_lines(stream, name):
        is_action = isinstance(row, dict) and _is_action(row)
        if action:
            yield action[0], _WITHOUT_PRODUCT if is_action else _join_action(action[1], row)
            action = None
        elif not is_action:
            yield number, row
        if isinstance(row, dict) and is_action:
            if "delete" in row:  # no line belongs to it
                yield number, _join_action(row, {})
            else:
                action = number, row
    if action:
        yield action[0], _WITHOUT_PRODUCT


def _is_action(record: dict[str, Any]) -> bool:
    """Whether a record is an action of `_bulk`: `{"index": {"_id": …}}`, which has no id of its own."""
    ((name, details),) = record.items() if len(record) == 1 else (("", None),)
    return name in BULK_ACTIONS and isinstance(details, dict) and details.keys() <= _ACTION_KEYS


def _join_action(action: dict[str, Any], row: dict[str, Any] | str) -> dict[str, Any] | str:
    """The product of an action as a hit, or why it cannot be loaded."""
    ((name, details),) = action.items()
    if name not in _LOADED_ACTIONS:
        return f"the action {name} of a _bulk body; only index and create have a whole product"
    if isinstance(row, str):
        return row
    hit = {key: details[key] for key in ("_index", "_id", "_routing", "routing", "_parent") if key in details}
    parent = {"_parent": details["parent"]} if "parent" in details else {}
    return {**parent, **hit, "_source": row}


def _read_lines(stream: Iterable[bytes], name: str) -> Iterator[NumberedRow]:
    is_first = True
    for number, line in enumerate(stream, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        if not text.strip():
            continue
        if is_first and text.strip() in _OPENINGS:
            found, command = _OPENINGS[text.strip()]
            raise DataError(
                f"{name} has {found} over several lines. Expected one object on each line, as {command} FILE prints."
            )
        if is_first and text.lstrip().startswith("<"):
            raise DataError(f"{name} is XML or HTML. Expected one JSON object on each line; or save it as CSV.")
        is_first = False
        yield number, _parse_line(text)


def _parse_line(text: str) -> dict[str, Any] | str:
    try:
        record = json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_build_object)
    except _RefusedValueError as error:
        return str(error)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"not JSON ({error})"
    except ValueError:  # Python limits the digits of an integer that it converts
        return f"an integer of more than {sys.get_int_max_str_digits()} digits; expected a smaller one, or text"
    if isinstance(record, list):
        return "a JSON array; expected one object on each line"
    return record if isinstance(record, dict) else "not a JSON object"


class _RefusedValueError(ValueError):
    """A value that the parser accepts cannot be kept as it is; the message is the reason."""


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; a key that occurs twice would lose a value in silence."""
    built = dict(pairs)
    if len(built) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _RefusedValueError(f"the key {repeated!r} occurs twice in an object; expected it once")
    return built


def _reject_constant(name: str) -> None:
    raise _RefusedValueError(f"not JSON ({name} is not a JSON number)")
