"""Why a search has no values of the model to rank by, and which index to ingest: `ingest` takes the name of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.console import name_some
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, recorded_objects
from anthem_plugin.search.request import NO_VALUES, advise_ingest, index_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from anthem_plugin.search.request import IndexProfile
    from anthem_plugin.search.response import Hit

(_DEFAULT_FIELD,) = DEFAULT_TEXT_FIELDS
_TEXT_TYPES = ("text", "match_only_text", "search_as_you_type")


def missing_values_reason(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str] = ()) -> str:
    """Reason for a search without values of the model to rank by.

    `found` has the indices of the hits if they are known: some of them may be left out for a reason of their own.
    """
    if profile.note and (not profile.signals or (found and profile.unranked_indices.issuperset(found))):
        return profile.note
    if profile.unranked_indices.intersection(found):
        return f"{profile.note}; the other hits have no values of this model; {ingest_advice(index, profile, found)}"
    return f"{NO_VALUES}; {ingest_advice(index, profile, found)}"


def unread_values_reason(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str]) -> str:
    """Reason for a search in client mode whose hits, of the indices `found`, have no values that the client reads."""
    if found and profile.client_faults.keys() >= set(found):
        return "; ".join(dict.fromkeys(profile.client_faults[name] for name in found))
    return missing_values_reason(index, profile, found)


def untold_values_reason(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str]) -> str:
    """Reason for a search without doc values whose hits, of the indices `found`, have no values in `_source` either."""
    if found and profile.client_faults.keys() >= set(found):
        return (
            f"{name_some(sorted(found))} refuses to return doc values (index.max_docvalue_fields_search), and its "
            "_source leaves out the values of the model, so what tells hits apart cannot be read; raise the setting to "
            "3 or more"
        )
    return missing_values_reason(index, profile, found)


def no_vectors_reason(mode: str, index: str | Sequence[str] | None, profile: IndexProfile) -> str:
    """Reason for a search in a mode that ranks by vectors alone, of an index that has none."""
    advice = ingest_advice(index, profile)
    return profile.note or f"{mode} mode needs vectors, and {index_name(index)} has none; {advice}"


def no_trigrams_note(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str]) -> str:
    """Note on a search that the script ranked by attention too, although no hit of the page has trigrams."""
    return f"no product on this page has trigrams of this model; {ingest_advice(index, profile, found)}"


def ingest_advice(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str] = ()) -> str:
    """What to run for the indices of the hits, or for those that are searched, except those that are left out.

    Where `ingest` would not find the product text by itself, the advice includes the option that names its field.
    """
    names = _ranked_indices(profile, found)
    advice, untitled = advise_ingest(index, names), [name for name in names if name in profile.untitled]
    if not untitled:
        return advice
    if len(names) > 1:
        return f"{advice}, with --field FIELD for {name_some(untitled)}, where no product has a {_DEFAULT_FIELD}"
    texts = profile.untitled[untitled[0]]
    such = f" (its text fields are {name_some(texts)})" if texts else ""
    return (
        f"{advice} --field FIELD, where FIELD holds the product text{such}, because no product has a {_DEFAULT_FIELD}"
    )


def find_untitled(mappings: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """For each index where `ingest` needs the name of a text field, because it finds none by itself: its text fields.

    An index that was ingested has a record of its fields.
    """
    return {
        name: tuple(_text_fields(mapping))
        for name, mapping in mappings.items()
        if not recorded_objects(mapping) and not _may_have_title(mapping)
    }


def _may_have_title(mapping: Mapping[str, Any]) -> bool:
    """Whether products may have text in the field that `ingest` reads if none is named; an alias or object has none."""
    field = mapping.get("properties", {}).get(_DEFAULT_FIELD)
    if field is None:
        return str(mapping.get("dynamic")).lower() == "false"
    return field.get("type") != "alias" and "properties" not in field


def _text_fields(mapping: Mapping[str, Any]) -> Iterator[str]:
    """Fields for full text, at the top level and in its objects."""
    for name, field in mapping.get("properties", {}).items():
        if field.get("type") in _TEXT_TYPES:
            yield name
        parts = field.get("properties", {}) if field.get("type") != "nested" else {}
        yield from (f"{name}.{part}" for part in parts if parts[part].get("type") in _TEXT_TYPES)


def indices_of(hits: Iterable[Hit]) -> list[str]:
    """Names of the indices of hits, each once."""
    return sorted({str(hit["_index"]) for hit in hits if "_index" in hit})


def _ranked_indices(profile: IndexProfile, found: Collection[str]) -> list[str]:
    unranked = profile.unranked_indices
    return [name for name in found or profile.indices if name not in unranked]
