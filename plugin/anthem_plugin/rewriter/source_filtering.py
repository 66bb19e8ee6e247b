"""What a search returns of `_source`: ANTHEM's objects stay out unless the caller names them.

The client fetches more than the caller asked for, the vectors and the texts it ranks by, and takes it away again.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anthem_core.opensearch.schema import VectorFields

# Another model's object weighs by its vector; all of `anthem_*` could hide a field of the shop's own.
_OTHER_MODEL_VECTORS = "anthem_*.vector"
_KEYS_WITHOUT_SOURCE = (
    "stored_fields",
    "script_fields",
)  # with these OpenSearch returns no source unless `_source` asks for it

_REMOVED = object()


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """What a body asks of `_source`: whether it is returned, and by which patterns."""

    returned: bool
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> SourceFilter:
        """Read any of the forms: absent, flag, pattern, list, object."""
        asked = body.get("_source")
        if asked is None:
            return cls(not any(key in body for key in _KEYS_WITHOUT_SOURCE))
        if isinstance(asked, bool):
            return cls(asked)
        if isinstance(asked, dict):
            return cls(True, *(_patterns(_last(asked, key) or ()) for key in ("include", "exclude")))
        return cls(True, _patterns(asked))

    def names(self, fields: VectorFields) -> bool:
        """Whether a pattern names the object literally, as `anthem`, `anthem.model` or `anthem*` do."""
        return any(_own(pattern, fields) or pattern == f"{fields.name}*" for pattern in self.includes)

    def asks(self, path: str) -> bool:
        """Whether a field named by a pattern is to be returned."""
        return _any_covers(self.includes, path) and not _any_covers(self.excludes, path)

    def brings(self, path: str) -> bool:
        """Whether a field is returned."""
        return self.returned and self.included(path) and not _any_covers(self.excludes, path)

    def included(self, path: str) -> bool:
        """Whether no pattern is needed for a field, or one covers it."""
        return not self.includes or _any_covers(self.includes, path)

    def cuts(self, path: str) -> bool:
        """Whether a pattern can exclude something beneath a field."""
        return any(_reaches(pattern, f"{path}.") for pattern in self.excludes)


def hide_vectors(body: Mapping[str, Any], fields: VectorFields) -> dict[str, Any]:
    """Part of a body that keeps ANTHEM's objects out of the returned sources; empty where the body does so already."""
    asked = SourceFilter.of(body)
    exact = bool(asked.includes) and not any("*" in pattern for pattern in asked.includes)
    if not asked.returned or asked.names(fields) or exact:
        return {}
    hidden = dict.fromkeys((*asked.excludes, "anthem", fields.name, _OTHER_MODEL_VECTORS))
    return {"_source": _object(asked.includes, hidden)}


def fetch_vectors(body: Mapping[str, Any], fields: VectorFields, texts: Sequence[str] = ()) -> dict[str, Any]:
    """Part of a body that returns vector, model id and `texts` beside the sources the caller asked for."""
    asked = SourceFilter.of(body)
    wanted = (fields.vector, fields.model)
    if not asked.returned:
        return {"_source": [*wanted, *texts]}
    unasked = [text for text in texts if not asked.included(text)]
    includes = (*asked.includes, *wanted, *unasked) if asked.includes else ()
    excludes = _foreign(asked, fields, texts)
    return {"_source": _object(includes, [*excludes, *_others(fields)])}


def fetchable_texts(body: Mapping[str, Any], fields: VectorFields, texts: Sequence[str]) -> Sequence[str]:
    """The fields of the text where all can be fetched; none where the caller excludes one by a wider pattern."""
    excludes = _foreign(SourceFilter.of(body), fields, texts)
    return () if any(_any_covers(excludes, text) for text in texts) else texts


def restore_source(
    hit: Mapping[str, Any], body: Mapping[str, Any], fields: VectorFields, texts: Sequence[str] = ()
) -> dict[str, Any]:
    """A hit that was fetched with its vector and `texts`, with the source the caller asked for."""
    asked = SourceFilter.of(body)
    rest = {key: value for key, value in hit.items() if key != "_source"}
    if not asked.returned or "_source" not in hit:
        return rest
    source = {key: value for key, value in hit["_source"].items() if not _own(key, fields)}
    if not all(asked.brings(text) for text in texts):
        source = filter_source(source, asked)
    stored = read_vector_object(hit["_source"], fields)
    if asked.names(fields):
        kept = {key: value for key, value in stored.items() if asked.asks(f"{fields.name}.{key}")}
        source |= {fields.name: kept} if kept else {}
    return {**rest, "_source": source}


def read_vector_object(source: Mapping[str, Any], fields: VectorFields) -> dict[str, Any]:
    """What a source holds of the object, which OpenSearch takes nested, as a list of objects, or with dotted names."""
    nested = source.get(fields.name)
    parts = nested if isinstance(nested, list) else [nested]
    whole = {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}
    dotted = {key: value for key, value in source.items() if key.startswith(f"{fields.name}.")}
    return whole | {key.removeprefix(f"{fields.name}."): value for key, value in dotted.items()}


def filter_source(source: Mapping[str, Any], asked: SourceFilter) -> dict[str, Any]:
    """Source as OpenSearch filters it: a pattern covers a field and all beneath it, what becomes empty is left out."""
    return dict(_kept(source, asked, ""))


def _kept(source: Mapping[str, Any], asked: SourceFilter, above: str) -> Iterator[tuple[str, Any]]:
    for key, value in source.items():
        path = f"{above}{key}"
        if _any_covers(asked.excludes, path):
            continue
        included = asked.included(path)
        if included and not asked.cuts(path):
            yield key, value
        elif isinstance(value, dict):
            below = dict(_kept(value, asked, f"{path}."))
            if below or included:
                yield key, below
        elif isinstance(value, list):
            if items := _kept_items(value, asked, path):
                yield key, items
        elif included:
            yield key, value


def _kept_items(items: Iterable[Any], asked: SourceFilter, path: str) -> list[Any]:
    below = [_kept_item(item, asked, path) for item in items]
    return [item for item in below if item is not _REMOVED]


def _kept_item(item: object, asked: SourceFilter, path: str) -> object:
    if isinstance(item, dict):
        return dict(_kept(item, asked, f"{path}.")) or _REMOVED
    if isinstance(item, list):
        return _kept_items(item, asked, path) or _REMOVED
    return item if asked.included(path) else _REMOVED


def excludes_vectors(body: Mapping[str, Any], fields: VectorFields) -> bool:
    """Whether a wildcard the caller excludes by hides the vectors from the client as well."""
    foreign = _foreign(SourceFilter.of(body), fields)
    return _any_covers(foreign, fields.vector) or _any_covers(foreign, fields.model)


def _foreign(asked: SourceFilter, fields: VectorFields, texts: Sequence[str] = ()) -> list[str]:
    """Patterns to exclude by that name neither ANTHEM's fields nor one of the texts."""
    return [pattern for pattern in asked.excludes if not _own(pattern, fields) and pattern not in texts]


def _reaches(pattern: str, beginning: str) -> bool:
    """Whether a pattern matches some path with this beginning."""
    head, star, _ = pattern.partition("*")
    return head.startswith(beginning) or (bool(star) and beginning.startswith(head))


def _last(asked: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 (as the caller wrote it)
    """Value of a key that has two spellings; where a body has both, OpenSearch goes by the last."""
    found = [value for name, value in asked.items() if name in (key, f"{key}s")]
    return found[-1] if found else None


def _patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _object(includes: Iterable[str], excludes: Iterable[str]) -> dict[str, list[str]]:
    parts = {"includes": list(includes), "excludes": list(excludes)}
    return {key: value for key, value in parts.items() if value}


def _others(fields: VectorFields) -> list[str]:
    return [pattern for pattern in ("anthem", _OTHER_MODEL_VECTORS) if not _any_covers([pattern], fields.vector)]


def _own(pattern: str, fields: VectorFields) -> bool:
    return pattern == fields.name or pattern.startswith(f"{fields.name}.")


def _any_covers(patterns: Iterable[str], path: str) -> bool:
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*") for pattern in patterns)
