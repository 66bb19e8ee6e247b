"""Which of several indices a search cannot rank, and why: the sentences for its reason, decided by the mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import (
    MODEL_OBJECT_KEYS,
    MODEL_OBJECT_PATTERN,
    find_model_fields,
    is_users_field,
    mapped_signals,
    recorded_objects,
)
from anthem_plugin.rewriter.source_filtering import SearchedFields
from anthem_plugin.search.index_signals import describe_misfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_plugin.scoring.params import ScoringParams

MAX_NAMED_INDICES = 3


def list_indices_without_source(mappings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the indices that keep no `_source`."""
    return sorted(name for name in mappings if mappings[name].get("_source", {}).get("enabled") is False)


def no_source_reason(indices: Sequence[str]) -> str:
    """Why a search of these indices is not reranked."""
    return (
        f"{name_some(indices)} keeps no _source (_source.enabled: false), which reranking reads; "
        "load the products into a new index that keeps it"
    )


def list_hidden(name: str, mappings: Mapping[str, Mapping[str, Any]]) -> SearchedFields:
    """The model's object of this name, with all objects of models in the indices, which a search hides.

    Where a name is a field of the user's in another index, only what that field lacks of an object is hidden.
    """
    objects = {index: _find_objects(mapping, name) for index, mapping in mappings.items()}
    hidden: list[str] = []
    for found in sorted(frozenset().union(*objects.values())):
        owners = [index for index, names in objects.items() if found not in names]
        users = [field for index in owners if (field := mappings[index].get("properties", {}).get(found)) is not None]
        taken = {key for field in users for key in field.get("properties", {})}
        hidden += [f"{found}.{key}" for key in sorted(MODEL_OBJECT_KEYS - taken)] if users else [found]
    return SearchedFields(name, tuple(hidden), objects)


def _find_objects(mapping: Mapping[str, Any], used: str) -> frozenset[str]:
    """The objects of models in an index: those recorded, and those of a model's contents by a known name."""
    known, properties = {*recorded_objects(mapping), used}, mapping.get("properties", {})
    named = (name for name in properties if name in known or MODEL_OBJECT_PATTERN.fullmatch(name))
    return frozenset(name for name in named if not is_users_field(mapping, name) and properties[name].get("properties"))


def describe_left_out(mappings: Mapping[str, Mapping[str, Any]], scoring: ScoringParams) -> tuple[str, ...]:
    """For the indices whose products a search of several cannot rank: their names, the reason, and what to do.

    Empty if all can be ranked, or none. `scoring` has the signals that at least one of the indices has.
    """
    if not scoring.signals:
        return ()
    reasons: dict[str, list[str]] = {}
    for name in sorted(mappings):
        if reason := _reason_left_out(name, mappings[name], scoring):
            reasons.setdefault(reason, []).append(name)
    return tuple(
        f"{name_some(names)} {'is' if len(names) == 1 else 'are'} not ranked: {reason}"
        for reason, names in reasons.items()
    )


def _reason_left_out(name: str, mapping: Mapping[str, Any], scoring: ScoringParams) -> str | None:
    fields = scoring.fields
    usable = set(mapped_signals(mapping, fields)) & set(scoring.readable_signals(name))
    if usable or _is_aliased(mapping, scoring):
        return None
    if misfit := describe_misfit(mapping, scoring):
        return f"{misfit}; `anthem doctor` says how to fix it"
    other = find_model_fields([mapping], scoring.model_id)
    if other != fields and mapped_signals(mapping, other):
        return (
            f"the values of this model are in `{other.name}`, and in `{fields.name}` of the others; search it by "
            f"itself, or run anthem remove INDEX and anthem ingest INDEX --as {fields.name}"
        )
    return "no values of this model; run: anthem ingest INDEX"


def _is_aliased(mapping: Mapping[str, Any], scoring: ScoringParams) -> bool:
    """Whether the fields are aliases, whose targets `read_index_signals` has checked."""
    field = mapping.get("properties", {}).get(scoring.fields.name, {}).get("properties", {})
    return any(definition.get("type") == "alias" for definition in field.values())


def name_some(names: Sequence[str]) -> str:
    """The first of some names, and how many there are more."""
    more = f" and {len(names) - MAX_NAMED_INDICES} more" if len(names) > MAX_NAMED_INDICES else ""
    return f"{', '.join(names[:MAX_NAMED_INDICES])}{more}"
