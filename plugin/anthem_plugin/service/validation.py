"""Says in one sentence what is wrong with a request: the field, what was expected and what was found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MAX_NAME_CHARACTERS = 60  # of a name or a value of the caller in a message

_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)
# What was expected, by pydantic's type of error; `limits` are the limits of the field.
_EXPECTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "a string",
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a whole number of fewer digits",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "list_type": lambda _: "a list",
    "text_or_texts_type": lambda _: "text or a list of texts",
    "dict_type": lambda _: "an object",
    "model_type": lambda _: "an object",
    "model_attributes_type": lambda _: "an object",
    "greater_than_equal": lambda limits: f"at least {limits['ge']}",
    "less_than_equal": lambda limits: f"at most {limits['le']}",
    "too_short": lambda limits: f"at least {limits['min_length']} {_plural(limits['min_length'])}",
    "too_long": lambda limits: f"at most {limits['max_length']} {_plural(limits['max_length'])}",
    "string_too_long": lambda limits: f"at most {limits['max_length']} characters",
    "literal_error": lambda limits: str(limits["expected"]).replace("'", "`"),
}
_ANOTHER_VALUE = "another value"
# Errors that are not about a value of the wrong type or size.
_FIELD_RULES = {
    "missing": "this field is required",
    "extra_forbidden": "this request has no such field",
    "string_unicode": "it contains a lone surrogate, half of a surrogate pair",
}


def describe_invalid_request(errors: Sequence[Mapping[str, Any]], body: object) -> str:
    """One sentence about the first of pydantic's errors, and about the others of the same field.

    Args:
        errors: Errors of the request, at least one.
        body: The request as it was parsed.
    """
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}."
    if not isinstance(body, dict):
        return "The body: expected a JSON object and the header Content-Type: application/json."
    path = _path_in_body(first["loc"][1:], body)
    place = ".".join(map(_shorten, path)) or "The body"
    if first["type"] == "value_error":
        return f"{place}: {first['ctx']['error']}."
    if first["type"] in _FIELD_RULES:
        return f"{place}: {_FIELD_RULES[first['type']]}."
    same = [error for error in errors if _path_in_body(error["loc"][1:], body) == path]
    expected = dict.fromkeys(_describe_expected(error) for error in same)
    return f"{place}: expected {' or '.join(expected)}, found {_describe_found(first)}."


def _path_in_body(location: Sequence[str | int], body: object) -> tuple[str | int, ...]:
    """The parts of a location that lead through the body, and a missing name at its end, without pydantic's own parts.

    For a field that may have several types, pydantic adds a part that names the type that it tried.
    """
    path: list[str | int] = []
    node: Any = body
    for number, part in enumerate(location):
        is_item = part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        is_missing_name = isinstance(node, dict) and number == len(location) - 1
        if is_item:
            node = node[part]
        if is_item or is_missing_name:
            path.append(part)
    return tuple(path)


def _describe_expected(error: Mapping[str, Any]) -> str:
    describe = _EXPECTED.get(error["type"])
    return describe(error.get("ctx", {})) if describe else _ANOTHER_VALUE


def _describe_found(error: Mapping[str, Any]) -> str:
    limits, value = error.get("ctx", {}), error["input"]
    if "actual_length" in limits:
        return f"{limits['actual_length']}"
    if error["type"] == "string_too_long":
        return f"{len(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _shorten(value)
    if error["type"] == "literal_error" and isinstance(value, str):
        return f"`{_shorten(value)}`"
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), _ANOTHER_VALUE)


def _plural(count: int) -> str:
    return "item" if count == 1 else "items"


def _shorten(value: object) -> str:
    """The first characters of a caller's name or value; lone surrogates, which UTF-8 cannot express, become `?`."""
    return str(value)[:MAX_NAME_CHARACTERS].encode("utf-8", "replace").decode()
