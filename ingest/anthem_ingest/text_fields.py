"""Which fields of an index a product's text can be read from: by the mapping, and by what `_source` really holds."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import (
    MATCH_ALL,
    MODEL_OBJECT_KEYS,
    MODEL_OBJECT_PATTERN,
    has_text_value,
    is_model_object,
    product_text,
    recorded_objects,
)
from anthem_ingest import index_io
from anthem_ingest.conflicts import UsersFieldError
from anthem_ingest.mapping import list_model_objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import ModelFields
    from anthem_ingest.actions import IndexHit
    from anthem_ingest.mapping import IndexDescription

MAX_SUGGESTED_FIELDS = 10
SUGGESTION_SAMPLE_SIZE = 50  # products in which text fields are looked for
_TEXT_TYPES = (
    {"text", "match_only_text", "search_as_you_type"},
    {"keyword", "wildcard", "constant_keyword"},
)  # fields of the second kind are suggested only if there are none of the first

_NUMBER_TYPES = {
    "long", "integer", "short", "byte", "unsigned_long", "double", "float", "half_float", "scaled_float",
}  # fmt: skip
SEARCH_GAP_REMEDY = "map it as text in a new index (PUT), copy the products there (POST _reindex), and ingest that"


def check_text_fields(index: IndexDescription, text_fields: Sequence[str]) -> None:
    """Check that documents can have text in the text fields.

    Raises:
        ClusterError: The mapping does not allow text in one of them.
    """
    unknown = find_unknown_fields(index, text_fields)
    if unknown:
        known = [field for name in unknown for field in _fields_below(index.mappings, name)]
        raise unusable_fields_error(index.name, unknown, known or list_text_fields(index.mappings))
    check_first_field(index, text_fields)


def check_first_field(index: IndexDescription, text_fields: Sequence[str]) -> None:
    """Check that searches find products by the first text field.

    Raises:
        ClusterError: It lies in a nested object.
    """
    parent = find_nested_parent(index.mappings, text_fields[0])
    if parent:
        others = [field for field in list_text_fields(index.mappings) if field != text_fields[0]]
        raise ClusterError(
            f"{text_fields[0]} of index '{index.name}' lies in the nested object {parent}, where only a nested "
            "query finds text, so product searches would find nothing. Name a field outside nested objects first: "
            f"{', '.join(others[:MAX_SUGGESTED_FIELDS]) or 'this index has none'}. Other --field options may lie in "
            "one. Or map the object with include_in_root in a new index."
        )


def find_nested_parent(mappings: Mapping[str, Any], field: str) -> str | None:
    """The nested object that hides a field from all but nested queries; None if there is none."""
    node, path = mappings, field.split(".")
    for end, key in enumerate(path, start=1):
        node = node.get("properties", {}).get(key, {})
        if _is_hidden(node):
            return ".".join(path[:end])
    return None


def describe_search_gap(mappings: Mapping[str, Any], field: str) -> str | None:
    """Why searches by words do not find products by a field; None if they do, or if the first product maps it."""
    node, dynamic = mappings, mappings.get("dynamic")
    for key in field.split("."):
        node, dynamic = node.get("properties", {}).get(key), node.get("dynamic", dynamic)
        if node is None and str(dynamic).lower() == "false":
            return "not mapped (dynamic: false), so no search finds anything in it"
        node = node or {}
    if any(part.get("type") in _TEXT_TYPES[0] for part in node.get("fields", {}).values()):
        return None
    if str(node.get("index")).lower() == "false":
        return "not indexed (index: false), so no search finds anything in it"
    kind = node.get("type")
    if kind in _TEXT_TYPES[1] or kind in _NUMBER_TYPES:
        return f"of type {kind}, in which searches find whole values only, not words"
    return None


def _is_hidden(node: Mapping[str, Any]) -> bool:
    """Whether a node is a nested object whose fields are not indexed in the product as well."""
    copies = (str(node.get(name)).lower() for name in ("include_in_root", "include_in_parent"))
    return node.get("type") == "nested" and "true" not in copies


def find_unknown_fields(index: IndexDescription, text_fields: Sequence[str]) -> list[str]:
    """Fields in which no document can have text: they are not mapped, or are aliases or objects."""
    return [field for field in text_fields if not _can_hold_text(index.mappings, field.split("."))]


def _can_hold_text(node: Mapping[str, Any], path: Sequence[str]) -> bool:
    if not path:
        is_object = "properties" in node or node.get("type") in ("object", "nested")
        return node.get("type") != "alias" and not (is_object and node.get("enabled") is not False)
    if path[0] in node.get("properties", {}):
        return _can_hold_text(node["properties"][path[0]], path[1:])
    return str(node.get("dynamic")) == "false" or node.get("enabled") is False or node.get("type") == "flat_object"


def list_text_fields(mappings: Mapping[str, Any]) -> list[str]:
    """Mapped fields from which a product's text can be read, those for full text first.

    None of them is filled by `copy_to` or hidden in a nested object.
    """
    leaves = list(_iterate_leaves(mappings, "", frozenset(list_model_objects(mappings))))
    filled = {target for _, field in leaves for target in _as_list(field.get("copy_to", []))}
    kinds = ([path for path, field in leaves if field.get("type") in types] for types in _TEXT_TYPES)
    return next((names for kind in kinds if (names := [name for name in kind if name not in filled])), [])


def _iterate_leaves(
    node: Mapping[str, Any], prefix: str, hidden: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, field in node.get("properties", {}).items():
        if name in hidden or _is_hidden(field):
            continue
        if "properties" in field:
            yield from _iterate_leaves(field, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _fields_below(mappings: Mapping[str, Any], name: str) -> list[str]:
    return [field for field in list_text_fields(mappings) if field.startswith(f"{name}.")]


def unusable_fields_error(index: str, fields: Sequence[str], usable: Sequence[str]) -> ClusterError:
    """Error for fields that no product has text in, with fields that would do."""
    more = ", …" if len(usable) > MAX_SUGGESTED_FIELDS else ""
    named = f"{', '.join(usable[:MAX_SUGGESTED_FIELDS])}{more}" if usable else "none"
    return ClusterError(
        f"No product of index '{index}' can have text in {', '.join(fields)}. The text is read from the _source of "
        f"products; an object, an alias, a field that copy_to fills and a misspelled name have no text there. "
        f"Fields with text are: {named}. Name the one that holds the title with --field."
    )


def check_products_have_text(
    client: OpenSearch, index: str, mappings: Mapping[str, Any], text_fields: Sequence[str], model_fields: ModelFields
) -> None:
    """Check that each text field is in some product's `_source`, and that the model's object is not the user's.

    Products are read until every field has been found, usually one page. An index without products passes.

    Raises:
        ClusterError: No product has one of the fields, not even as an empty text, or products have data in the model's
            object.
    """
    name = model_fields.name
    values = [f"{name}.{key}" for key in sorted(MODEL_OBJECT_KEYS)]
    body = {"query": MATCH_ALL, "_source": {"includes": [*text_fields, name], "excludes": values}}
    missing, is_empty = list(text_fields), True
    with closing(index_io.read_pages(client, index, body)) as pages:
        for hits in pages:
            is_empty = False
            if name not in recorded_objects(mappings):  # otherwise the product alone fails
                _check_object_is_free(index, name, hits, mappings.get("properties", {}))
            missing = [field for field in missing if not any(has_text_value(hit["_source"], field) for hit in hits)]
            if not missing:
                return
    if not is_empty:
        raise unusable_fields_error(index, missing, _find_text_fields(client, index, mappings))


def find_empty_fields(text_fields: Iterable[str], sources: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of the fields in which none of the sources has text."""
    missing = list(text_fields)
    for source in sources:
        missing = [field for field in missing if not product_text(source, [field])]
        if not missing:
            break
    return missing


def _check_object_is_free(index: str, name: str, hits: Iterable[IndexHit], mapped: Iterable[str]) -> None:
    for hit in hits:
        value = hit["_source"].get(name)
        if not is_model_object(value):
            field = {"properties": dict.fromkeys(value)} if isinstance(value, dict) else {"type": type(value).__name__}
            raise UsersFieldError(index, name, field, {*mapped, *hit["_source"]})


def _find_text_fields(client: OpenSearch, index: str, mappings: Mapping[str, Any]) -> list[str]:
    """Fields in which some of the first products have text: mapped ones, or any if none is mapped."""
    body = {"query": MATCH_ALL, "size": SUGGESTION_SAMPLE_SIZE}
    sources = [hit["_source"] for hit in client.search(index=index, body=body)["hits"]["hits"]]
    mapped = list_text_fields(mappings)
    empty = set(find_empty_fields(mapped, sources))
    usable = [field for field in mapped if field not in empty]
    return usable or sorted({path for source in sources for path in iterate_text_paths(source)})


def iterate_text_paths(source: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted paths of the strings of a source, objects of models left out."""
    for key, value in source.items():
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, dict):
                if prefix or not (MODEL_OBJECT_PATTERN.fullmatch(key) and is_model_object(item)):
                    yield from iterate_text_paths(item, f"{prefix}{key}.")
            elif isinstance(item, str):
                yield f"{prefix}{key}"
