"""Decides which fields a search returns in `_source`: ANTHEM's fields are hidden unless the caller names them.

In client mode the client fetches the model's values and texts that the caller did not request, and removes them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    MODEL_OBJECT_KEYS,
    MODEL_OBJECT_PATTERN,
    ModelFields,
    has_model_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# The bulk of another model's object. The pattern `anthem_*` could hide fields that are not ours.
_OTHER_MODEL_VALUES = ("anthem_*.vector", "anthem_*.trigrams")

_REMOVED = object()


@dataclass(frozen=True, slots=True, eq=False)
class SearchedFields(ModelFields):
    """A model's fields, and what is hidden of the indices of a search; equal to the `ModelFields` of the same name.

    `hidden` has the exclude patterns. `objects` has the models' objects of each index, as far as mappings are known.
    """

    hidden: tuple[str, ...] = ()
    objects: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelFields) and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.name,))


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """The `_source` setting of a body: whether the source is returned, and the patterns that filter it."""

    returned: bool
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> SourceFilter:
        """Read `_source` in any of its forms: missing, boolean, pattern, list or object."""
        setting = body.get("_source")
        if setting in (None, False) and _lists_source(body.get("stored_fields")):
            return cls(True)
        if setting is None:
            return cls(not _leaves_out_source(body))
        if isinstance(setting, bool):
            return cls(setting)
        if isinstance(setting, dict):
            return cls(True, *(_to_patterns(_last_spelling(setting, key) or ()) for key in ("include", "exclude")))
        return cls(True, _to_patterns(setting))

    def names_object(self, fields: ModelFields) -> bool:
        """Whether an include pattern names the model's object, as `anthem`, `anthem.model` or `anthem*` do."""
        return any(_is_own(pattern, fields) or pattern == f"{fields.name}*" for pattern in self.includes)

    def selects(self, path: str) -> bool:
        """Whether an include pattern covers the field and no exclude pattern does."""
        return _any_covers(self.includes, path) and not _any_covers(self.excludes, path)

    def returns(self, path: str) -> bool:
        """Whether OpenSearch returns the field."""
        return self.returned and self.includes_path(path) and not _any_covers(self.excludes, path)

    def includes_path(self, path: str) -> bool:
        """Whether there are no include patterns, or one of them covers the field."""
        return not self.includes or _any_covers(self.includes, path)

    def may_exclude_below(self, path: str) -> bool:
        """Whether an exclude pattern can match a field inside the object at `path`."""
        return any(_can_match_prefix(pattern, f"{path}.") for pattern in self.excludes)


def hide_values(body: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    """`_source` setting that hides ANTHEM's objects; empty if the body returns none of them anyway."""
    source = SourceFilter.from_body(body)
    lists_exact_fields = bool(source.includes) and not any("*" in pattern for pattern in source.includes)
    if not source.returned or source.names_object(fields) or lists_exact_fields:
        return {}
    excludes = dict.fromkeys((*source.excludes, *_hidden_patterns(fields)))
    if not excludes:
        return {}
    return {"_source": _source_object(source.includes, excludes)}


def fetch_values(body: Mapping[str, Any], fields: ModelFields, text_fields: Sequence[str] = ()) -> dict[str, Any]:
    """`_source` setting that returns the model's values and `text_fields` in addition to what the caller requested."""
    source = SourceFilter.from_body(body)
    required = _value_fields(fields)
    if not source.returned:
        return {"_source": [*required, *text_fields]}
    missing_fields = [field for field in text_fields if not source.includes_path(field)]
    includes = (*source.includes, *required, *missing_fields) if source.includes else ()
    excludes = _foreign_excludes(source, fields, text_fields)
    return {"_source": _source_object(includes, [*excludes, *_other_model_patterns(fields)])}


def fetchable_text_fields(body: Mapping[str, Any], fields: ModelFields, text_fields: Sequence[str]) -> Sequence[str]:
    """All text fields if all of them can be fetched; none if the caller excludes one of them with a wider pattern."""
    excludes = _foreign_excludes(SourceFilter.from_body(body), fields, text_fields)
    return () if any(_any_covers(excludes, field) for field in text_fields) else text_fields


def restore_source(
    hit: Mapping[str, Any], body: Mapping[str, Any], fields: ModelFields, text_fields: Sequence[str] = ()
) -> dict[str, Any]:
    """A hit that was fetched with the model's values and text fields, with only what the caller's body requests."""
    requested = SourceFilter.from_body(body)
    restored = {key: value for key, value in hit.items() if key != "_source"}
    if not requested.returned or "_source" not in hit:
        return restored
    index = hit.get("_index")
    source = {key: value for key, value in hit["_source"].items() if not _is_hidden(key, value, index, fields)}
    if any(_is_own(key, fields) for key in source) or not all(requested.returns(field) for field in text_fields):
        source = filter_source(source, requested)
    if requested.names_object(fields):
        stored = read_model_object(hit["_source"], fields)
        visible = {key: value for key, value in stored.items() if requested.selects(f"{fields.name}.{key}")}
        source |= {fields.name: visible} if visible else {}
    return {**restored, "_source": source}


def read_model_object(source: Mapping[str, Any], fields: ModelFields) -> dict[str, Any]:
    """The model's object in a source. OpenSearch accepts it nested, as a list of objects, or with dotted names."""
    nested, prefix = source.get(fields.name), f"{fields.name}."
    if isinstance(nested, dict) and not any(key.startswith(prefix) for key in source):
        return nested  # as ingest writes it
    objects = nested if isinstance(nested, list) else [nested]
    merged = {key: value for item in objects if isinstance(item, dict) for key, value in item.items()}
    dotted = {key.removeprefix(prefix): value for key, value in source.items() if key.startswith(prefix)}
    return merged | dotted


def filter_source(source: Mapping[str, Any], requested: SourceFilter) -> dict[str, Any]:
    """Filter a source as OpenSearch does: a pattern covers a field and all fields inside it; empty objects go."""
    return dict(_filter_object(source, requested, ""))


def excluded_value(body: Mapping[str, Any], fields: ModelFields) -> str | None:
    """Field of the model that a wildcard in the caller's exclude patterns hides from the client, or None."""
    excludes = _foreign_excludes(SourceFilter.from_body(body), fields)
    return next((field for field in _value_fields(fields) if _any_covers(excludes, field)), None)


def _filter_object(source: Mapping[str, Any], requested: SourceFilter, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in source.items():
        path = f"{prefix}{key}"
        if _any_covers(requested.excludes, path):
            continue
        included = requested.includes_path(path)
        if included and not requested.may_exclude_below(path):
            yield key, value
        elif isinstance(value, dict):
            below = dict(_filter_object(value, requested, f"{path}."))
            if below or included:
                yield key, below
        elif isinstance(value, list):
            if items := _filter_list(value, requested, path):
                yield key, items
        elif included:
            yield key, value


def _filter_list(items: Iterable[Any], requested: SourceFilter, path: str) -> list[Any]:
    filtered = [_filter_item(item, requested, path) for item in items]
    return [item for item in filtered if item is not _REMOVED]


def _filter_item(item: object, requested: SourceFilter, path: str) -> object:
    if isinstance(item, dict):
        return dict(_filter_object(item, requested, f"{path}.")) or _REMOVED
    if isinstance(item, list):
        return _filter_list(item, requested, path) or _REMOVED
    return item if requested.includes_path(path) else _REMOVED


def _leaves_out_source(body: Mapping[str, Any]) -> bool:
    """Whether OpenSearch returns `_source` only if it is requested: an empty list of `stored_fields` does that too."""
    return "stored_fields" in body or bool(body.get("script_fields"))


def _lists_source(stored_fields: object) -> bool:
    """Whether `stored_fields` requests `_source`, which OpenSearch then returns whatever else a body says."""
    return stored_fields == "_source" or (isinstance(stored_fields, list) and "_source" in stored_fields)


def _foreign_excludes(source: SourceFilter, fields: ModelFields, text_fields: Sequence[str] = ()) -> list[str]:
    """Exclude patterns that name neither one of the model's fields nor one of the text fields."""
    return [pattern for pattern in source.excludes if not _is_own(pattern, fields) and pattern not in text_fields]


def _can_match_prefix(pattern: str, prefix: str) -> bool:
    """Whether a pattern matches some path that starts with `prefix`."""
    head, star, _ = pattern.partition("*")
    return head.startswith(prefix) or (bool(star) and prefix.startswith(head))


def _last_spelling(setting: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 (as the caller wrote it)
    """Value of a key that has two spellings, `include` and `includes`; OpenSearch uses the last one in a body."""
    values = [value for name, value in setting.items() if name in (key, f"{key}s")]
    return values[-1] if values else None


def _to_patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _source_object(includes: Iterable[str], excludes: Iterable[str]) -> dict[str, list[str]]:
    patterns = {"includes": list(includes), "excludes": list(excludes)}
    return {key: value for key, value in patterns.items() if value}


def _other_model_patterns(fields: ModelFields) -> list[str]:
    """Exclude patterns of the other models' objects that leave this model's values visible."""
    patterns = _hidden_patterns(fields)
    return [pattern for pattern in patterns if not any(_any_covers([pattern], name) for name in _value_fields(fields))]


def drop_emptied_objects(hits: Iterable[Mapping[str, Any]], fields: ModelFields) -> list[dict[str, Any]]:
    """Hits without the objects of models that are empty because only their values, not their names, were hidden."""
    emptied = frozenset(pattern.partition(".")[0] for pattern in _hidden_patterns(fields) if "." in pattern)
    objects = fields.objects if isinstance(fields, SearchedFields) else {}

    def drop(hit: Mapping[str, Any]) -> dict[str, Any]:
        source, names = hit.get("_source"), emptied & objects.get(str(hit.get("_index")), emptied)
        if not isinstance(source, dict) or not any(source.get(name) == {} for name in names):
            return dict(hit)
        return {**hit, "_source": {key: value for key, value in source.items() if key not in names or value != {}}}

    return [drop(hit) for hit in hits]


def _hidden_patterns(fields: ModelFields) -> tuple[str, ...]:
    """Exclude patterns of the models' objects: those of the indices searched, or the usual names."""
    if isinstance(fields, SearchedFields):
        return fields.hidden
    return (*_first_object(fields), fields.name, *_OTHER_MODEL_VALUES)


def _is_hidden(key: str, value: object, index: str | None, fields: ModelFields) -> bool:
    """Whether an entry of a hit's source is a model's object, by the mapping of its index or else by its contents."""
    name, _, below = key.partition(".")
    if isinstance(fields, SearchedFields) and index is not None and index in fields.objects:
        return name in fields.objects[index]
    if not _is_own(key, fields):
        return value == {} and f"{key}.vector" in _hidden_patterns(fields)  # emptied by these patterns
    values = value if isinstance(value, list) else [value]
    return below in MODEL_OBJECT_KEYS if below else any(has_model_keys(item) for item in values)


def _first_object(fields: ModelFields) -> tuple[str, ...]:
    """The first model's object, which is hidden too; none beside an object of a chosen name: it is the user's field."""
    return ("anthem",) if MODEL_OBJECT_PATTERN.fullmatch(fields.name) or fields == CURRENT_FIELDS else ()


def _value_fields(fields: ModelFields) -> tuple[str, str, str]:
    """Fields that the client ranks by: vector, trigrams, and the model that computed them."""
    return fields.vector, fields.trigrams, fields.model


def _is_own(pattern: str, fields: ModelFields) -> bool:
    return pattern == fields.name or pattern.startswith(f"{fields.name}.")


def _any_covers(patterns: Iterable[str], path: str) -> bool:
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*") for pattern in patterns)
