"""The place of the query text in a search body that is kept in a file."""

from __future__ import annotations

from typing import Any

QUERY_PLACEHOLDER = "{{query}}"


def fill_text(template: Any, text: str) -> Any:  # noqa: ANN401 (any JSON value)
    """Copy a body and replace `{{query}}` in its strings by the query text."""
    match template:
        case str():
            return template.replace(QUERY_PLACEHOLDER, text)
        case list():
            return [fill_text(item, text) for item in template]
        case dict():
            return {key: fill_text(value, text) for key, value in template.items()}
    return template
