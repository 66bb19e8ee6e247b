"""Which of several indices a search cannot rank, and why: the sentences for its reason, decided by the mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.console import name_some
from anthem_core.opensearch.schema import (
    MODEL_OBJECT_KEYS,
    MODEL_OBJECT_PATTERN,
    PENDING_KEY,
    find_model_fields,
    is_users_field,
    mapped_signals,
    recorded_objects,
)
from anthem_plugin.rewriter.source_filtering import SearchedFields, SourceFilter
from anthem_plugin.search.index_signals import describe_misfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.opensearch.schema import ModelFields
    from anthem_plugin.scoring.params import ScoringParams


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


def find_left_out(mappings: Mapping[str, Mapping[str, Any]], scoring: ScoringParams) -> dict[str, list[str]]:
    """The indices whose products a search of several cannot rank, by the reason, which says what to do.

    Empty if all can be ranked, or none. `scoring` has the signals that at least one of the indices has.
    """
    if not scoring.signals:
        return {}
    reasons: dict[str, list[str]] = {}
    for name in sorted(mappings):
        if reason := _reason_left_out(name, mappings[name], scoring):
            reasons.setdefault(reason, []).append(name)
    return reasons


def describe_pending(mappings: Mapping[str, Mapping[str, Any]], fields: ModelFields) -> tuple[str, ...]:
    """A sentence on indices whose values are not complete yet, if a search of several reads them all the same."""
    records = {name: recorded_objects(mapping).get(fields.name, {}) for name, mapping in mappings.items()}
    names = sorted(name for name, record in records.items() if record.get(PENDING_KEY))
    if not names:
        return ()
    found = f"the values of {name_some(names)} in `{fields.name}`, which the other indices use, are not complete yet"
    return (f"{found}; run: anthem ingest INDEX --beside",)


def describe_left_out(left_out: Mapping[str, Sequence[str]], outcome: str) -> tuple[str, ...]:
    """A sentence for each reason why indices are left out; `outcome` is what becomes of their products."""
    return tuple(
        f"{name_some(names)} {'is' if len(names) == 1 else 'are'} {outcome}: {reason}"
        for reason, names in left_out.items()
    )


def describe_unsourced(mappings: Mapping[str, Mapping[str, Any]], scoring: ScoringParams) -> dict[str, str]:
    """For each index whose `_source` leaves out fields that client mode reads: the fields, with all such indices."""
    unsourced: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(mappings):
        if missing := _unsourced_fields(mappings[name], scoring.fields):
            unsourced.setdefault(missing, []).append(name)
    return {
        name: f"the _source of {name_some(names)} leaves out {', '.join(missing)}, which client mode and explanations "
        "read; cluster mode reads doc values instead"
        for missing, names in unsourced.items()
        for name in names
    }


def _unsourced_fields(mapping: Mapping[str, Any], fields: ModelFields) -> tuple[str, ...]:
    """Fields of the model that an index maps but does not keep in `_source`."""
    setting = mapping.get("_source", {})
    source = SourceFilter(True, tuple(setting.get("includes", ())), tuple(setting.get("excludes", ())))
    values = [fields.value(signal) for signal in mapped_signals(mapping, fields)]
    return tuple(f"`{path}`" for path in (*values, fields.model) if values and not source.returns(path))


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
