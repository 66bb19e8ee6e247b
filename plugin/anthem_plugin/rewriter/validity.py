"""Whether OpenSearch can read the parts of a body that a rewrite replaces.

A rewrite would turn an invalid value in one of them into a valid request. Such a body is left alone, so that OpenSearch
answers it with its own error.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from numbers import Integral

PAGE_KEYS = ("from", "size")
FIELD_LIST_KEYS = ("docvalue_fields", "fields")  # to which a search adds what identifies a hit's values
_SOURCE_KEYS = frozenset(("include", "includes", "exclude", "excludes"))


def invalid_body_reason(body: object) -> str | None:
    """Why a body is left to OpenSearch as it is, or None if the parts that a rewrite replaces are valid."""
    if body is None:
        return "the search has no body, and so no query to rank by; pass a dict with a `query`"
    if not isinstance(body, Mapping):
        return f"the body is of type {type(body).__name__}; only a dict can be reranked"
    for key in PAGE_KEYS:
        if key in body and not _is_count(body[key]):
            return f"`{key}` is {body[key]!r}, not a whole number of 0 or more"
    if "_source" in body and not _is_source_setting(body["_source"]):
        return "`_source` is none of: true, false, a pattern, a list of patterns, an object with `includes`, `excludes`"
    for key in FIELD_LIST_KEYS:
        if key in body and not isinstance(body[key], list | tuple):
            return f"`{key}` is not a list"
    return None


def _is_count(value: object) -> bool:
    """Whether a number is 0 or more, in a form that Python and OpenSearch read alike: 3, 3.7 or "3"."""
    if isinstance(value, str):
        return value.isascii() and value.isdecimal()
    if isinstance(value, float):
        return isfinite(value) and value >= 0
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _is_source_setting(value: object) -> bool:
    if isinstance(value, dict):
        return value.keys() <= _SOURCE_KEYS and all(map(_are_patterns, value.values()))
    return isinstance(value, bool) or _are_patterns(value)


def _are_patterns(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value))
