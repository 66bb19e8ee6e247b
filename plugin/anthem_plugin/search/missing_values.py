"""Why a search has no values of the model to rank by, and which index to ingest: `ingest` takes the name of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_plugin.search.request import advise_ingest, index_name, no_values_reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from anthem_plugin.search.request import IndexProfile
    from anthem_plugin.search.response import Hit


def missing_values_reason(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str] = ()) -> str:
    """Reason for a search without values of the model to rank by.

    `found` has the indices of the hits if they are known: some of them may be left out for a reason of their own.
    """
    if profile.note and (not profile.signals or (found and profile.unranked_indices.issuperset(found))):
        return profile.note
    if profile.unranked_indices.intersection(found):
        return f"{profile.note}; the other hits have no values of this model; {ingest_advice(index, profile, found)}"
    return no_values_reason(index, _ranked_indices(profile, found))


def unread_values_reason(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str]) -> str:
    """Reason for a search in client mode whose hits, of the indices `found`, have no values that the client reads."""
    if found and profile.client_faults.keys() >= set(found):
        return "; ".join(dict.fromkeys(profile.client_faults[name] for name in found))
    return missing_values_reason(index, profile, found)


def no_vectors_reason(mode: str, index: str | Sequence[str] | None, profile: IndexProfile) -> str:
    """Reason for a search in a mode that ranks by vectors alone, of an index that has none."""
    advice = ingest_advice(index, profile)
    return profile.note or f"{mode} mode needs vectors, and {index_name(index)} has none; {advice}"


def no_trigrams_note(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str]) -> str:
    """Note on a search that the script ranked by attention too, although no hit of the page has trigrams."""
    return f"no product on this page has trigrams of this model; {ingest_advice(index, profile, found)}"


def ingest_advice(index: str | Sequence[str] | None, profile: IndexProfile, found: Collection[str] = ()) -> str:
    """What to run for the indices of the hits, or for those that are searched, except those that are left out."""
    return advise_ingest(index, _ranked_indices(profile, found))


def indices_of(hits: Iterable[Hit]) -> list[str]:
    """Names of the indices of hits, each once."""
    return sorted({str(hit["_index"]) for hit in hits if "_index" in hit})


def _ranked_indices(profile: IndexProfile, found: Collection[str]) -> list[str]:
    unranked = profile.unranked_indices
    return [name for name in found or profile.indices if name not in unranked]
