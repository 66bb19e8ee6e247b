"""Which of the model's signals an index has, and what is wrong with its fields: decided by the mapping alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anthem_core.console import name_some
from anthem_core.opensearch.schema import MODEL_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_plugin.scoring.params import ModelSignal, ScoringParams

_BESIDE = "run: anthem ingest {index} --beside"
_NEW_INDEX = "a mapping cannot be changed, so copy the products without `{object}` into a new index, and ingest that"


def read_index_signals(
    mappings: Mapping[str, Mapping[str, Any]], scoring: ScoringParams
) -> tuple[ScoringParams, tuple[str, ...]]:
    """The parameters with the signals that at least one index maps with the right type, and the faults of all others.

    `mappings` has those of the indices by name; if there are several, a fault names those that have it. A field that no
    index has is no fault: it was not ingested.
    """
    fields, signals = scoring.fields, set()
    faults: list[str] = []
    expected = fields.mapping(scoring.dimension)
    misfits: dict[ModelSignal, frozenset[str]] = {}
    for signal in (signal for signal in MODEL_SIGNALS if signal in scoring.signals):
        path = fields.value(signal)
        required = _describe(_find_field(expected, path))
        mapped = {name: definition for name in mappings if (definition := _find_field(mappings[name], path))}
        found = {name: _describe(definition) for name, definition in mapped.items()}
        if wrong := frozenset(name for name in found if found[name] != required):
            misfits[signal] = wrong
        if len(wrong) < len(found):
            signals.add(signal)
        elif found:
            faults += _faults(path, found, required, of_several=len(mappings) > 1)
    return replace(scoring, signals=frozenset(signals), misfits=misfits), tuple(faults)


def describe_misfit(mapping: Mapping[str, Any], scoring: ScoringParams) -> str | None:
    """What is wrong with the fields of a model in one index; None if it maps none of them, or one of them rightly."""
    expected, found = scoring.fields.mapping(scoring.dimension), []
    for signal in MODEL_SIGNALS:
        path = scoring.fields.value(signal)
        definition, required = _find_field(mapping, path), _describe(_find_field(expected, path))
        if definition and _describe(definition) != required:
            found.append(f"`{path}` is mapped as {_describe(definition)}, not as {required}")
    parent = mapping.get("properties", {}).get(scoring.fields.name, {})
    if not found and parent.get("type", "object") != "object":
        found.append(f"`{scoring.fields.name}` is mapped as {parent['type']}, not as object")
    return found[0] if found else None


def _faults(path: str, found: Mapping[str, str], required: str, *, of_several: bool) -> Iterator[str]:
    """What is wrong with a field, and what to do; for each type that it has, with the indices that map it so."""
    for kind in dict.fromkeys(found.values()):
        names = sorted(name for name in found if found[name] == kind)
        remedy = _BESIDE if kind.partition(" ")[0] == "knn_vector" else _NEW_INDEX
        remedy = remedy.format(index=names[0] if len(names) == 1 else "INDEX", object=path.partition(".")[0])
        place = f"in {name_some(names)} " if of_several else ""
        yield f"{place}`{path}` is mapped as {kind}, not as {required}; {remedy}"


def _find_field(mapping: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Definition of a field, that of its target if it is an alias; empty if the mapping does not have it."""
    node = mapping
    for name in path.split("."):
        node = node.get("properties", {}).get(name, {})
    return _find_field(mapping, str(node.get("path"))) if node.get("type") == "alias" else node


def _describe(definition: Mapping[str, Any]) -> str:
    """A field's type in words, with what the script depends on: dimension, element type and doc values."""
    kind = definition.get("type", "object")
    if kind == "knn_vector":
        elements = str(definition.get("data_type", "float")).lower()
        numbers = "" if elements == "float" else f" of type {elements}"
        stored = "" if definition.get("doc_values", True) else " without doc values"
        return f"{kind} with dimension {definition.get('dimension')}{numbers}{stored}"
    if kind == "binary":
        return f"{kind} {'with' if definition.get('doc_values') else 'without'} doc values"
    return str(kind)
