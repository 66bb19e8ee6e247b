"""Values of several models in one index: one object per model, and field aliases for the current one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from anthem_core.console import count_of
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    DEFAULT_TEXT_FIELDS,
    MODEL_SIGNALS,
    VALUE_OF_SIGNAL,
    ModelFields,
    can_record,
    fields_of_model,
    find_model_fields,
    ingested_fields,
    product_text,
    recorded_objects,
    resolve_current_fields,
)
from anthem_ingest import index_io
from anthem_ingest.actions import has_all_values, has_any_value
from anthem_ingest.encode import choose_signals
from anthem_ingest.mapping import (
    IndexDescription,
    check_index_name,
    has_float_vectors,
    model_objects,
    parse_single_index,
)
from anthem_ingest.pending import is_pending, without_pending_mark

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.arguments import IngestArguments
    from anthem_ingest.encode import ValueBuilder


@dataclass(frozen=True)
class IngestTarget:
    """What is ingested, with which model, into which fields, from which text fields, for which signals."""

    client: OpenSearch
    index: str
    encoder: Encoder
    model_fields: ModelFields
    text_fields: tuple[str, ...]
    signals: tuple[ModelSignal, ...]

    @property
    def model_id(self) -> str:
        """Id of the model."""
        return self.encoder.bundle.model_id


def open_target(client: OpenSearch, encoder: Encoder, arguments: IngestArguments) -> IngestTarget:
    """The target that arguments name; what they leave open is as the last ingest recorded it.

    Raises:
        BundleError: The bundle lacks one of the signals.
        ClusterError: The values are elsewhere than the arguments say, or the cluster refuses.
    """
    signals = choose_signals(encoder.bundle, arguments.signals and arguments.signals.split(","))
    check_index_name(arguments.index)
    index = index_io.resolve_write_index(client, arguments.index)
    fields = choose_model_fields(
        client,
        index,
        encoder.bundle.model_id,
        beside=arguments.beside,
        name=arguments.object_name,
        text_fields=arguments.text_fields,
    )
    text_fields = arguments.text_fields or choose_text_fields(client, index, fields)
    return IngestTarget(client, index, encoder, fields, text_fields, signals)


@cluster_errors()
def choose_model_fields(
    client: OpenSearch,
    index: str,
    model_id: str,
    *,
    beside: bool = False,
    name: str | None = None,
    text_fields: Sequence[str] = (),
) -> ModelFields:
    """Where an index holds, or will hold, the values of a model.

    The object that has them, otherwise `name`, otherwise that of the first model. With `beside`, a model also gets its
    own object if the first one holds values that are then kept: of another model, of other text fields than those
    named, or vectors of an earlier version. If it was begun and not switched to, it is used again.

    Raises:
        ClusterError: The values are in another object than `name`, or the index cannot record the name.
    """
    own_fields, description = fields_of_model(model_id), _read_index(client, index)
    index, mappings = description.name, description.mappings
    present, found = model_objects(mappings), find_model_fields([mappings], model_id)
    if name is not None:
        return _named_fields(client, index, mappings, name, found, model_id)
    if found.name not in present or found == own_fields or not beside:
        return found
    recorded = ingested_fields(mappings, found.name)
    if has_float_vectors(mappings, found) or (text_fields and recorded and tuple(text_fields) != recorded):
        return own_fields
    if not text_fields and is_pending(mappings, own_fields.name):
        return own_fields
    return own_fields if _count_values(client, index, found, "must_not", model_id) else found


def _named_fields(
    client: OpenSearch, index: str, mappings: Mapping[str, Any], name: str, found: ModelFields, model_id: str
) -> ModelFields:
    """The object of this name, which may be new, if the model's values are nowhere else."""
    if found.name != name and found.name in model_objects(mappings):
        is_recorded = recorded_objects(mappings).get(found.name, {}).get("model") == model_id
        if is_recorded or _count_values(client, index, found, "filter", model_id):
            raise ClusterError(
                f"Index '{index}' has the values of this model in {found.name}, not in {name}. Leave out --as, or "
                f"remove them first: anthem remove {index}"
            )
    if not can_record(mappings):
        raise ClusterError(
            f"The _meta of index '{index}' has an entry 'anthem' of its own, so {name} cannot be recorded there, and "
            f"searches would not find it. Rename that entry: PUT /{index}/_mapping"
        )
    return ModelFields(name)


def _count_values(
    client: OpenSearch, index: str, fields: ModelFields, occurrence: Literal["filter", "must_not"], model_id: str
) -> int:
    """Number of products with values in these fields that are, or are not, of a model."""
    conditions: dict[str, Any] = {"must": has_any_value(fields), occurrence: {"term": {fields.model: model_id}}}
    return index_io.count_products(client, index, {"bool": conditions})


@cluster_errors()
def choose_text_fields(client: OpenSearch, index: str, model_fields: ModelFields) -> tuple[str, ...]:
    """Text fields to ingest if none is named: those recorded for these values, for the current ones, or `title`."""
    mappings = _read_mappings(client, index)
    recorded = (ingested_fields(mappings, fields.name) for fields in (model_fields, resolve_current_fields(mappings)))
    return next(filter(None, recorded), DEFAULT_TEXT_FIELDS)


@cluster_errors()
def describe_field_change(target: IngestTarget, file_products: int | None = None) -> str | None:
    """What an ingest from its text fields would do to values of others; None if they are the recorded ones.

    `file_products` is the number of products of the file that is loaded, if one is.
    """
    client, index, model_fields, text_fields = target.client, target.index, target.model_fields, target.text_fields
    description = _read_index(client, index)
    recorded = ingested_fields(description.mappings, model_fields.name)
    if recorded is None or recorded == tuple(text_fields):
        return None
    total = index_io.count_products(client, description.name, has_any_value(model_fields))
    if not total:
        return None
    number = index_io.count_products(client, index, has_any_value(model_fields))
    new, options = ", ".join(text_fields), " ".join(f"--field {field}" for field in recorded)
    change = f"Values of {new} would replace those of {count_of(number)}."
    if number < total:
        change += f" The next ingest of '{description.name}' would replace those of the other {total - number:,} too."
    if file_products is not None:
        change = (
            f"The file's {count_of(file_products)} would get values of {new}; the next `anthem ingest {index}` would "
            f"compute those of the index ({count_of(number)} with values now) from {new} as well."
        )
    is_own = model_fields == fields_of_model(target.model_id)
    beside = "" if is_own or file_products is not None else ", or --beside to keep them until all are written"
    return (
        f"Index '{index}' was ingested from {', '.join(recorded)}. {change} Add --yes to replace them{beside}; leave "
        f"out --field, or use {options}, to keep the recorded fields."
    )


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
def switch_aliases(client: OpenSearch, index: str, builder: ValueBuilder) -> None:
    """Make the builder's values the current ones, once they are complete for the products with values in other objects.

    The field aliases are pointed at them, and searches with the same model read them. Products without text in the
    builder's fields can have no values.

    Raises:
        ClusterError: Products with text have values in another object and lack some here, or the cluster refuses.
    """
    index_io.refresh_index(client, index)
    model_fields, signals = builder.model_fields, builder.signals
    check_switch(client, index, model_fields, signals)
    description = _read_index(client, index)
    others = [name for name in model_objects(description.mappings) if name != model_fields.name]
    lacking = _count_lacking(client, description.name, others, builder) if others else 0
    if lacking:
        lack = "lacks" if lacking == 1 else "lack"
        raise ClusterError(
            f"{count_of(lacking)} with values in {', '.join(others)} and with text in "
            f"{', '.join(builder.text_fields)} still {lack} values in {model_fields.name}, so searches keep using the "
            f"former ones. Run this on the whole index, with the same --bundle: anthem ingest {description.name} "
            "--beside"
        )
    if others and not index_io.count_products(client, description.name, has_all_values(model_fields, signals)):
        raise ClusterError(
            f"No product of '{description.name}' has values in {model_fields.name}, because none has text in "
            f"{', '.join(builder.text_fields)}, so searches keep using the former ones. Name a field that has text "
            f"with --field, or discard this attempt: anthem ingest {description.name} --prune"
        )
    body = build_alias_mapping(model_fields, signals)
    if is_pending(description.mappings, model_fields.name):
        body |= {"_meta": without_pending_mark(description.meta, model_fields.name)}
    index_io.put_mapping(client, index, body)


def _count_lacking(client: OpenSearch, index: str, others: Sequence[str], builder: ValueBuilder) -> int:
    """Number of products with text that have values in other objects and lack some in the builder's."""
    lacks_new_values = {
        "bool": {
            "should": [has_any_value(ModelFields(name)) for name in others],
            "minimum_should_match": 1,
            "must_not": has_all_values(builder.model_fields, builder.signals),
        }
    }
    if not index_io.count_products(client, index, lacks_new_values):
        return 0
    scope = index_io.ReadScope(lacks_new_values)
    pages = index_io.read_product_pages(client, index, builder.text_fields, builder.model_fields, scope)
    texts = (product_text(hit["_source"], builder.text_fields) for hits in pages for hit in hits)
    return sum(bool(builder.split_words(text)) for text in texts)


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
            f"one first, with the same --bundle: anthem ingest {index} --beside"
        )
    return tuple(name for name in model_objects(mappings) if name != current.name)


def _read_mappings(client: OpenSearch, index: str) -> Mapping[str, Any]:
    return _read_index(client, index).mappings


def _read_index(client: OpenSearch, name: str) -> IndexDescription:
    """The index of this name or alias, without any fields if it does not exist yet."""
    response = index_io.describe_index(client, name)
    return parse_single_index(response, name) if response else IndexDescription(name, {}, {})
