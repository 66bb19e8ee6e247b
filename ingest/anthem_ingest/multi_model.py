"""Values of several models in one index: one object per model, and field aliases for the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    DEFAULT_TEXT_FIELDS,
    MODEL_SIGNALS,
    VALUE_OF_SIGNAL,
    ModelFields,
    fields_of_model,
    ingested_fields,
    resolve_current_fields,
)
from anthem_ingest import index_io
from anthem_ingest.actions import has_all_values, has_any_value
from anthem_ingest.mapping import has_float_vectors, model_objects, parse_single_index

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import ModelSignal

_FIRST_MODEL_FIELDS = ModelFields()


@cluster_errors()
def choose_model_fields(client: OpenSearch, index: str, model_id: str, *, beside: bool = False) -> ModelFields:
    """Where an index holds, or will hold, the values of a model.

    The model's own object if the index has it, otherwise `anthem`. With `beside`, a model also gets its own object if
    `anthem` holds values of another model, which are then kept, or has a field for vectors of an earlier version.
    """
    own_fields, mappings = fields_of_model(model_id), _read_mappings(client, index)
    present = model_objects(mappings)
    if own_fields.name in present:
        return own_fields
    if not beside or _FIRST_MODEL_FIELDS.name not in present:
        return _FIRST_MODEL_FIELDS
    if has_float_vectors(mappings, _FIRST_MODEL_FIELDS):
        return own_fields
    is_of_other_model = {
        "bool": {
            "filter": has_any_value(_FIRST_MODEL_FIELDS),
            "must_not": {"term": {_FIRST_MODEL_FIELDS.model: model_id}},
        }
    }
    return own_fields if index_io.count_products(client, index, is_of_other_model) else _FIRST_MODEL_FIELDS


@cluster_errors()
def choose_text_fields(client: OpenSearch, index: str, model_fields: ModelFields) -> tuple[str, ...]:
    """Text fields to ingest if none is named: those recorded for these values, for the current ones, or `title`."""
    mappings = _read_mappings(client, index)
    recorded = (ingested_fields(mappings, fields.name) for fields in (model_fields, resolve_current_fields(mappings)))
    return next(filter(None, recorded), DEFAULT_TEXT_FIELDS)


@cluster_errors()
def check_switch(client: OpenSearch, index: str, model_fields: ModelFields, signals: Collection[ModelSignal]) -> None:
    """Check that the field aliases can be moved to fields with the values of these signals.

    Raises:
        ClusterError: An alias would stay at the other model, because OpenSearch cannot remove it.
    """
    aliases = _read_mappings(client, index).get("properties", {}).get(CURRENT_FIELDS.name, {}).get("properties", {})
    paths = {signal: aliases[value].get("path") for signal, value in VALUE_OF_SIGNAL.items() if value in aliases}
    left = [signal for signal, path in paths.items() if signal not in signals and path != model_fields.value(signal)]
    if left:
        names = ", ".join(CURRENT_FIELDS.value(signal) for signal in left)
        raise ClusterError(
            f"The alias {names} of index '{index}' points at another model. OpenSearch cannot remove it, so it would "
            f"keep pointing there. Write its values for this model too: --signals {','.join(MODEL_SIGNALS)}"
        )


@cluster_errors()
def switch_aliases(client: OpenSearch, index: str, model_fields: ModelFields, signals: Collection[ModelSignal]) -> None:
    """Point the field aliases at these fields, once every product with values of another model has all of them there.

    Raises:
        ClusterError: Products have values of another model and lack some of this one, or the cluster refuses.
    """
    index_io.refresh_index(client, index)
    check_switch(client, index, model_fields, signals)
    others = [name for name in _read_model_objects(client, index) if name != model_fields.name]
    lacks_new_values = {
        "bool": {
            "should": [has_any_value(ModelFields(name)) for name in others],
            "minimum_should_match": 1,
            "must_not": has_all_values(model_fields, signals),
        }
    }
    lacking = index_io.count_products(client, index, lacks_new_values) if others else 0
    if lacking:
        raise ClusterError(
            f"{lacking} products have values of another model but lack some in {model_fields.name}, so the aliases "
            "were not moved. Run ingest again."
        )
    index_io.put_mapping(client, index, build_alias_mapping(model_fields, signals))


def build_alias_mapping(model_fields: ModelFields, signals: Collection[ModelSignal] = MODEL_SIGNALS) -> dict[str, Any]:
    """Mapping of the field aliases that make these fields, with the values of these signals, the current ones."""
    paths = {VALUE_OF_SIGNAL[signal]: model_fields.value(signal) for signal in signals} | {"model": model_fields.model}
    properties = {name: {"type": "alias", "path": path} for name, path in paths.items()}
    return {"properties": {CURRENT_FIELDS.name: {"properties": properties}}}


@cluster_errors()
def list_stale_objects(client: OpenSearch, index: str, model_fields: ModelFields) -> tuple[str, ...]:
    """Names of the objects that hold values of models other than the current one.

    Raises:
        ClusterError: The current values are not in `model_fields`.
    """
    mappings = _read_mappings(client, index)
    current = resolve_current_fields(mappings)
    if current != model_fields:
        raise ClusterError(
            f"The current values of '{index}' are in {current.name}, those of this bundle in {model_fields.name}: "
            "pruning would remove values that searches use. Name the bundle of the current model, or switch to this "
            "one first: anthem ingest --beside"
        )
    return tuple(name for name in model_objects(mappings) if name != current.name)


def _read_model_objects(client: OpenSearch, index: str) -> tuple[str, ...]:
    return model_objects(_read_mappings(client, index))


def _read_mappings(client: OpenSearch, index: str) -> Mapping[str, Any]:
    response = index_io.describe_index(client, index)
    return parse_single_index(response, index).mappings if response else {}
