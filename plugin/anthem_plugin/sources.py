"""What a search returns of `_source`: ANTHEM's objects stay out unless the caller names them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anthem_core.fields import Fields

# Another model's object weighs by its vector; all of `anthem_*` could hide a field of the shop's own.
_OTHER_MODELS = "anthem_*.vector"
_SILENT = ("stored_fields", "script_fields")  # with these OpenSearch returns no source unless `_source` asks for it


@dataclass(frozen=True, slots=True)
class Sources:
    """What a body asks of `_source`: whether it is returned, and by which patterns."""

    returned: bool
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Sources:
        """Read any of the forms: absent, flag, pattern, list, object."""
        asked = body.get("_source")
        if asked is None:
            return cls(not any(key in body for key in _SILENT))
        if isinstance(asked, bool):
            return cls(asked)
        if isinstance(asked, dict):
            return cls(
                True, *(_patterns(asked.get(f"{key}s") or asked.get(key) or ()) for key in ("include", "exclude"))
            )
        return cls(True, _patterns(asked))

    def names(self, fields: Fields) -> bool:
        """Whether a pattern names the object literally, as `anthem`, `anthem.model` or `anthem*` do."""
        return any(_own(pattern, fields) or pattern == f"{fields.name}*" for pattern in self.includes)

    def asks(self, path: str) -> bool:
        """Whether a field named by a pattern is to be returned."""
        return _any_covers(self.includes, path) and not _any_covers(self.excludes, path)


def hide(body: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Part of a body that keeps ANTHEM's objects out of the returned sources; empty where the body does so already."""
    asked = Sources.of(body)
    exact = bool(asked.includes) and not any("*" in pattern for pattern in asked.includes)
    if not asked.returned or asked.names(fields) or exact:
        return {}
    hidden = dict.fromkeys((*asked.excludes, "anthem", fields.name, _OTHER_MODELS))
    return {"_source": _object(asked.includes, hidden)}


def fetch(body: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Part of a body that returns vector and model id beside the sources the caller asked for."""
    asked = Sources.of(body)
    wanted = (fields.vector, fields.model)
    if not asked.returned:
        return {"_source": list(wanted)}
    includes = (*asked.includes, *wanted) if asked.includes else ()
    excludes = [pattern for pattern in asked.excludes if not _own(pattern, fields)]
    return {"_source": _object(includes, [*excludes, *_others(fields)])}


def restore(hit: Mapping[str, Any], body: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """A hit that was fetched with its vector, with the source the caller asked for."""
    asked = Sources.of(body)
    rest = {key: value for key, value in hit.items() if key != "_source"}
    if not asked.returned or "_source" not in hit:
        return rest
    source = {key: value for key, value in hit["_source"].items() if key != fields.name}
    stored = hit["_source"].get(fields.name)
    if asked.names(fields) and isinstance(stored, dict):
        kept = {key: value for key, value in stored.items() if asked.asks(f"{fields.name}.{key}")}
        source |= {fields.name: kept} if kept else {}
    return {**rest, "_source": source}


def hides_vectors(body: Mapping[str, Any], fields: Fields) -> bool:
    """Whether a wildcard the caller excludes by hides the vectors from the client as well."""
    foreign = [pattern for pattern in Sources.of(body).excludes if not _own(pattern, fields)]
    return _any_covers(foreign, fields.vector) or _any_covers(foreign, fields.model)


def _patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _object(includes: Iterable[str], excludes: Iterable[str]) -> dict[str, list[str]]:
    parts = {"includes": list(includes), "excludes": list(excludes)}
    return {key: value for key, value in parts.items() if value}


def _others(fields: Fields) -> list[str]:
    return [pattern for pattern in ("anthem", _OTHER_MODELS) if not _any_covers([pattern], fields.vector)]


def _own(pattern: str, fields: Fields) -> bool:
    return pattern == fields.name or pattern.startswith(f"{fields.name}.")


def _any_covers(patterns: Iterable[str], path: str) -> bool:
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*") for pattern in patterns)
