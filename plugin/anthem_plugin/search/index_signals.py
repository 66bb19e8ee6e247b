"""Which of the model's signals an index has, and what is wrong with its fields: decided by the mapping alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import MODEL_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anthem_plugin.scoring.params import ScoringParams, Signals

_BESIDE = "run: anthem ingest {index} --beside"
_NEW_INDEX = "a mapping cannot be changed, so copy the products without `{object}` into a new index, and ingest that"


def read_index_signals(
    index: str, mappings: Collection[Mapping[str, Any]], scoring: ScoringParams
) -> tuple[Signals, tuple[str, ...]]:
    """Signals of the model whose fields have the right type in at least one index, and the faults of all others.

    A field that no index has is no fault: it was not ingested.
    """
    fields, signals, faults = scoring.fields, set(), []
    expected = fields.mapping(scoring.dimension)
    for signal in (signal for signal in MODEL_SIGNALS if signal in scoring.signals):
        path = fields.value(signal)
        required = _describe(_find_field(expected, path))
        found = [_describe(mapped) for mapping in mappings if (mapped := _find_field(mapping, path))]
        if required in found:
            signals.add(signal)
        elif found:
            remedy = _BESIDE if found[0].partition(" ")[0] == "knn_vector" else _NEW_INDEX
            remedy = remedy.format(index=index, object=fields.name)
            faults.append(f"`{path}` is mapped as {found[0]}, not as {required}; {remedy}")
    return frozenset(signals), tuple(faults)


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
