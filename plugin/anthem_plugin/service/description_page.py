"""`GET /docs`: the OpenAPI description as one plain page, without scripts and without files from other servers."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

DESCRIPTION_PATH = "/docs"
_SCHEMA_PREFIX = "#/components/schemas/"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { border-top: 1px solid; margin-top: 2.5rem; padding-top: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid; padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
code { font: .9rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
h2 code { font-size: 1.2rem; }
.wide { overflow-x: auto; }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_description_page(app: FastAPI) -> None:
    """Serve the description of an application; it is built at the first request."""

    @cache
    def build() -> str:
        return build_description_page(app.openapi())

    @app.get(DESCRIPTION_PATH, include_in_schema=False)
    async def describe() -> Response:
        return HTMLResponse(build(), headers=_HEADERS)


def build_description_page(description: Mapping[str, Any]) -> str:
    """One HTML page of an OpenAPI description: each endpoint with its request and responses, and each schema."""
    info, schemas = description["info"], description.get("components", {}).get("schemas", {})
    endpoints = [
        (method.upper(), path, endpoint)
        for path, methods in description["paths"].items()
        for method, endpoint in methods.items()
    ]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        *_paragraphs(info.get("description", "")),
        '<p>The same for tools: <a href="/openapi.json">/openapi.json</a></p>',
        "<ul>",
        *(f'<li><a href="#{_anchor(method, path)}"><code>{method} {escape(path)}</code></a></li>'
          for method, path, _ in endpoints),
        "</ul>",
        *(line for endpoint in endpoints for line in _describe_endpoint(*endpoint)),
        *(line for name in sorted(schemas) for line in _describe_schema(name, schemas[name])),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(info["title"])}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        "<body><main>\n" + "\n".join(parts) + "\n</main></body>\n</html>\n"
    )


def _describe_endpoint(method: str, path: str, endpoint: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{_anchor(method, path)}"><code>{method} {escape(path)}</code></h2>'
    yield from _paragraphs(endpoint.get("description") or endpoint.get("summary", ""))
    if request := endpoint.get("requestBody"):
        yield f"<p>Request: {_content_type(request)}</p>"
    rows = [
        (f"<code>{escape(status)}</code>", _content_type(response), _format(response.get("description", "")))
        for status, response in endpoint.get("responses", {}).items()
    ]
    yield from _table(("Status", "Response", "Meaning"), rows)


def _describe_schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{_anchor("schema", name)}">{escape(name)}</h2>'
    yield from _paragraphs(schema.get("description", ""))
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(field)}</code>{' (required)' if field in required else ''}",
            _describe_type(kind),
            _format(kind.get("description", "")),
        )
        for field, kind in schema.get("properties", {}).items()
    ]
    if rows:
        yield from _table(("Field", "Type", "Meaning"), rows)


def _describe_type(schema: Mapping[str, Any]) -> str:
    """A type in words, as HTML, with a link to each schema that has a name."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_SCHEMA_PREFIX)
        return f'<a href="#{_anchor("schema", name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_describe_type(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_describe_type(schema.get('items', {}))}"
    kind = schema.get("type", "any value")
    return escape(" or ".join(kind) if isinstance(kind, list) else kind)


def _content_type(message: Mapping[str, Any]) -> str:
    """The schema of a request or response, or its media type if it has none."""
    found = [_describe_type(content["schema"]) if content.get("schema") else escape(media_type)
             for media_type, content in message.get("content", {}).items()]  # fmt: skip
    return ", ".join(found)


def _table(names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table whose names are text and whose cells are HTML."""
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    yield "</tr></thead><tbody>"
    yield from (f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    yield "</tbody></table></div>"


def _paragraphs(text: str) -> Iterator[str]:
    return (f"<p>{_format(part)}</p>" for part in text.split("\n\n") if part.strip())


def _format(text: str) -> str:
    """A text as HTML; what is between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(kind: str, name: str) -> str:
    """Id of a place in the page, of letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", f"{kind}-{name}".lower())
