"""Whether the model tells hits apart: each returns what identifies its values, which is removed from it again.

That is the id of its model, the hash of its text and, where attention ranks, its trigrams.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_plugin.scoring.params import ATTENTION, Signals
from anthem_plugin.search.counts import SCOPE_KEYS
from anthem_plugin.search.response import smallest_trigrams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_plugin.scoring.params import ScoringParams

Identity: TypeAlias = tuple[Signals, str]

# Both are returned in a hit's `fields`, where a value requested by both appears twice.
_DOC_VALUES, _SOURCE_VALUES = _FIELD_LISTS = ("docvalue_fields", "fields")
_WINDOW_KEYS = (*SCOPE_KEYS, "query", "post_filter", "min_score", "terminate_after")  # what decides which hits it has


def request_text_hashes(body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """Body whose hits return what `text_identity` reads; `scoring.signals` are those that rank, here and below."""
    missing, key = _fields_to_add(body, scoring), _field_list(scoring)
    return {**body, key: [*body.get(key, []), *missing]} if missing else dict(body)


def remove_text_hash(hit: Mapping[str, Any], body: Mapping[str, Any], scoring: ScoringParams) -> dict[str, Any]:
    """The hit without the fields that the caller's own body does not request."""
    added = _fields_to_add(body, scoring)
    fields = {name: values for name, values in hit.get("fields", {}).items() if name not in added}
    return {key: value for key, value in hit.items() if key != "fields"} | ({"fields": fields} if fields else {})


def text_identity(hit: Mapping[str, Any], scoring: ScoringParams) -> Identity | None:
    """Signals that a hit has values for, and the hash of their text; None for a hit without values of this model.

    Without a stored hash, a hit counts as having a text of its own.
    """
    signals = known_signals(hit, scoring)
    if not signals:
        return None
    hashes = hit.get("fields", {}).get(scoring.fields.text_hash)
    return signals, str(hashes[0]) if hashes else f"{hit.get('_index')}/{hit.get('_id')}"


def known_signals(hit: Mapping[str, Any], scoring: ScoringParams) -> Signals:
    """Signals that a hit has values of this model for; trigrams count as present where they were not requested."""
    fields = hit.get("fields", {})
    # The script reads the first of several ids, which are sorted.
    if min(map(str, fields.get(scoring.fields.model, [])), default=None) != scoring.model_id:
        return frozenset()
    signals = scoring.readable_signals(hit.get("_index"))
    has_trigrams = scoring.misfits is None or bool(smallest_trigrams(fields.get(scoring.fields.trigrams)))
    return signals if has_trigrams else signals - ATTENTION


def are_told_apart(hits: Sequence[Mapping[str, Any]], scoring: ScoringParams) -> bool:
    """Whether two hits have values of different texts, or one of them has a value that another one lacks."""
    return len({text_identity(hit, scoring) for hit in hits}) > 1


def build_window_hashes_body(
    body: Mapping[str, Any], scoring: ScoringParams, window: int, *, total: bool = False
) -> dict[str, Any]:
    """Body that finds the hits of another body's window, and returns only what `text_identity` reads.

    With `total`, all hits are counted.
    """
    kept = {key: body[key] for key in _WINDOW_KEYS if key in body}
    requested = {_field_list(scoring): _identity_fields(scoring)}
    return {**kept, "size": window, "_source": False, "track_total_hits": total, **requested}


def _field_list(scoring: ScoringParams) -> str:
    """Where fields are requested: as doc values, unless an index refuses that, or may not have any.

    Dynamic mapping makes text of them, for which a request for doc values fails.
    """
    return _DOC_VALUES if scoring.doc_values and not scoring.misfits else _SOURCE_VALUES


def _identity_fields(scoring: ScoringParams) -> list[str]:
    """Fields that `text_identity` reads; trigrams only if it is known from the mapping that they have doc values."""
    reads_trigrams = "attention" in scoring.signals and scoring.misfits is not None
    fields = scoring.fields
    return [fields.model, fields.text_hash, *([fields.trigrams] if reads_trigrams else [])]


def _fields_to_add(body: Mapping[str, Any], scoring: ScoringParams) -> list[str]:
    requested = list(_requested_fields(body))
    names = _identity_fields(scoring)
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in requested)]


def _requested_fields(body: Mapping[str, Any]) -> Iterator[str]:
    for key in _FIELD_LISTS:
        entries = body.get(key, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            yield str(entry.get("field") if isinstance(entry, dict) else entry)
