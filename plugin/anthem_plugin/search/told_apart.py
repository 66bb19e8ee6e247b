"""Whether the model tells hits apart: each returns its model id and the hash of its text, which are removed again."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from anthem_plugin.search.counts import SCOPE_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_plugin.scoring.params import ScoringParams

# Both are returned in a hit's `fields`, where a value requested by both appears twice.
_FIELD_LISTS = ("docvalue_fields", "fields")
_WINDOW_KEYS = (*SCOPE_KEYS, "query", "post_filter", "min_score", "terminate_after")  # what decides which hits it has


def request_text_hashes(body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """Body whose hits return the model that computed their values, and the hash of the text they were computed from."""
    missing = _fields_to_add(body, scoring)
    return {**body, "docvalue_fields": [*body.get("docvalue_fields", []), *missing]} if missing else dict(body)


def remove_text_hash(hit: Mapping[str, Any], body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """The hit without the fields that the caller's own body does not request."""
    added = _fields_to_add(body, scoring)
    fields = {name: values for name, values in hit.get("fields", {}).items() if name not in added}
    return {key: value for key, value in hit.items() if key != "fields"} | ({"fields": fields} if fields else {})


def text_identity(hit: Mapping[str, Any], scoring: ScoringParams) -> str | None:
    """Hash of the text that the model's values of a hit were computed from; None for a hit without such values.

    Without a stored hash, a hit counts as having a text of its own.
    """
    fields = hit.get("fields", {})
    # The script reads the first of several ids, which are sorted.
    if min(map(str, fields.get(scoring.fields.model, [])), default=None) != scoring.model_id:
        return None
    hashes = fields.get(scoring.fields.text_hash)
    return str(hashes[0]) if hashes else f"{hit.get('_index')}/{hit.get('_id')}"


def are_told_apart(hits: Sequence[Mapping[str, Any]], scoring: ScoringParams) -> bool:
    """Whether two hits have values of different texts, or only one of them has values of this model."""
    return len({text_identity(hit, scoring) for hit in hits}) > 1


def build_window_hashes_body(body: Mapping[str, Any], scoring: ScoringParams, window: int) -> dict[str, Any]:
    """Body that finds the hits of another body's window, and returns only their model ids and text hashes."""
    kept = {key: body[key] for key in _WINDOW_KEYS if key in body}
    fields = [scoring.fields.model, scoring.fields.text_hash]
    return {**kept, "size": window, "_source": False, "track_total_hits": False, "docvalue_fields": fields}


def _fields_to_add(body: Mapping[str, Any], scoring: ScoringParams) -> list[str]:
    requested = list(_requested_fields(body))
    names = (scoring.fields.model, scoring.fields.text_hash)
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in requested)]


def _requested_fields(body: Mapping[str, Any]) -> Iterator[str]:
    for key in _FIELD_LISTS:
        entries = body.get(key, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            yield str(entry.get("field") if isinstance(entry, dict) else entry)
