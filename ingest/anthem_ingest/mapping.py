"""Checks whether an index can take a model's values, and builds the mappings that it needs; pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.blocks import index_block_advice
from anthem_core.opensearch.schema import (
    MODEL_OBJECT_PATTERN,
    MODEL_SIGNALS,
    ModelFields,
    is_users_field,
    mapped_signals,
    recorded_objects,
)
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES, VECTORS_WITHOUT_KNN_SETTING, Release
from anthem_ingest.conflicts import MappingConflictError, UsersFieldError, is_own_object

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anthem_core.opensearch.schema import ModelSignal

# Of a stored value, doc values and `_source` together; measured with titles of 110 characters on average (ESCI).
BYTES_PER_COORDINATE = 4
BYTES_OF_TRIGRAMS = 350

_OPENSEARCH_VERSION_MASK = 0x08000000  # set in version ids of OpenSearch, not in those of Elasticsearch
# An index with index.knn always builds a graph, and the native libraries of the default engine may be missing.
HNSW_METHOD = {"name": "hnsw", "engine": "lucene", "space_type": "l2"}


@dataclass(frozen=True)
class IndexDescription:
    """One index as the cluster describes it: concrete name, mappings, the settings under `index`, and aliases."""

    name: str
    mappings: Mapping[str, Any]
    settings: Mapping[str, Any]
    aliases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_response(cls, name: str, body: Mapping[str, Any]) -> IndexDescription:
        """The index that an entry of the response to `GET /<index>` describes."""
        return cls(name, body.get("mappings", {}), body.get("settings", {}).get("index", {}), body.get("aliases", {}))

    @property
    def meta(self) -> Mapping[str, Any]:
        """The mapping's `_meta`; empty if it has none."""
        meta: Mapping[str, Any] = self.mappings.get("_meta") or {}
        return meta

    @property
    def knn(self) -> bool:
        """Whether the index builds graphs for its vectors."""
        return str(self.settings.get("knn")).lower() == "true"

    @property
    def blocks(self) -> list[str]:
        """Names of the blocks that are set on the index."""
        return [name for name, value in self.settings.get("blocks", {}).items() if str(value).lower() == "true"]

    @property
    def keeps_whole_source(self) -> bool:
        """Whether `_source` keeps every field of a product."""
        source = self.mappings.get("_source", {})
        return self.keeps_source and not source.get("includes") and not source.get("excludes")

    @property
    def is_closed(self) -> bool:
        """Whether the index is closed, so that it can be neither read nor written."""
        return str(self.settings.get("verified_before_close")).lower() == "true"

    @property
    def keeps_source(self) -> bool:
        """Whether the index keeps a `_source` at all."""
        return self.mappings.get("_source", {}).get("enabled") is not False

    @property
    def derives_source(self) -> bool:
        """Whether the index computes `_source` from other data, which OpenSearch cannot do for a model's fields."""
        return str(self.settings.get("derived_source", {}).get("enabled")).lower() == "true"

    @property
    def takes_vectors(self) -> bool:
        """Whether a vector field can be added to the index."""
        return self.knn or self.created.has(VECTORS_WITHOUT_KNN_SETTING)

    @property
    def created(self) -> Release:
        """OpenSearch release that created the index; 0.0 if Elasticsearch created it."""
        number = int(self.settings["version"]["created"])
        release = number ^ _OPENSEARCH_VERSION_MASK
        numbers = release // 1_000_000, release // 10_000 % 100, release // 100 % 100
        return Release(*numbers) if number & _OPENSEARCH_VERSION_MASK else Release(0, 0)


def format_created(release: Release) -> str:
    """The version id of an index that a release creates, as its settings have it."""
    number = release.major * 1_000_000 + release.minor * 10_000 + release.patch * 100 + 99
    return str(number ^ _OPENSEARCH_VERSION_MASK)


def check_index_name(index: str) -> None:
    """Check that a name is not a pattern, a list or a remote index: ingest writes to a single index.

    Raises:
        ClusterError: The name can stand for several indices.
    """
    if index in {"", "_all"} or re.search(r"[*?,:]", index):
        raise ClusterError(
            f"'{index}' is not the name of one index of this cluster. Expected the name of an index, or an alias of "
            "one index: run the command once for each index."
        )


def choose_write_index(response: Mapping[str, Any], name: str) -> str:
    """The index that writes to a name go to, if it is an alias of several with a write index, or a data stream.

    `response` is that to `GET /<name>`; in all other cases the name itself is returned.
    """
    if len(response) > 1 and all(body.get("data_stream") == name for body in response.values()):
        return max(response)  # its backing indices are numbered, with leading zeros
    writers = [index for index, body in response.items() if body.get("aliases", {}).get(name, {}).get("is_write_index")]
    return writers[0] if len(writers) == 1 < len(response) else name


def parse_single_index(response: Mapping[str, Any], index: str) -> IndexDescription:
    """The one index that `GET /<index>` described.

    Raises:
        ClusterError: `index` is an alias of several indices.
    """
    if len(response) != 1:
        raise ClusterError(
            f"'{index}' is an alias of {len(response)} indices ({', '.join(sorted(response))}). Expected one index: "
            "run the command once for each of them, or make one of them the write index of the alias (is_write_index)."
        )
    ((name, body),) = response.items()
    return IndexDescription.from_response(name, body)


def check_index_writable(index: IndexDescription) -> None:
    """Check that the index is open and accepts writes.

    Raises:
        ClusterError: The index is closed or blocked.
    """
    if index.is_closed:
        raise ClusterError(f"Index '{index.name}' is closed. Open it: POST /{index.name}/_open")
    if index.blocks:
        raise ClusterError(index_block_advice(index.name, [f"index.blocks.{block}" for block in index.blocks]))


def check_takes_vectors(index: IndexDescription) -> None:
    """Check that the index accepts vectors.

    Raises:
        ClusterError: An OpenSearch too old for vectors created it.
    """
    if not index.takes_vectors:
        raise ClusterError(
            f"Index '{index.name}' was created before OpenSearch {VECTORS_WITHOUT_KNN_SETTING.since} and cannot "
            "hold vectors. Reindex it into a new index (POST _reindex) and run ingest on the new index, or write "
            "only trigrams: --signals attention"
        )


def check_mapping_changes(index: IndexDescription, release: Release) -> None:
    """Check that an index that gets its first vectors will not lose its shards whenever its mapping changes.

    Raises:
        ClusterError: It would, because products with new fields change its mapping.
    """
    is_closed = str(index.mappings.get("dynamic")).lower() in {"false", "strict"}
    if index.knn or is_closed or release.has(SAFE_MAPPING_CHANGES) or vector_objects(index.mappings):
        return
    raise ClusterError(
        f"Index '{index.name}' has no index.knn, on OpenSearch {release}: once it has vectors, each product with a new "
        f"field would make all its shards fail for a moment. Expected: OpenSearch {SAFE_MAPPING_CHANGES.since} or "
        "newer, which fixes this (k-NN issue 2540). Do one of these: upgrade; write only trigrams, which do not cause "
        "it (--signals attention); load the products into an index with index.knn; keep new fields out of the mapping "
        f'(PUT /{index.name}/_mapping {{"dynamic": "false"}}); accept the failures (ANTHEM_ACCEPT_OUTAGES=1).'
    )


def check_source_enabled(index: IndexDescription) -> None:
    """Check that the index keeps a `_source`, which updates, comparisons with a file and searches read.

    Raises:
        ClusterError: It keeps none, or derives it.
    """
    if index.derives_source:
        raise ClusterError(
            f"Index '{index.name}' derives its _source (index.derived_source.enabled: true), which OpenSearch cannot "
            "do for vectors and trigrams. Expected an index without this setting: create one, copy the products "
            "(POST _reindex), and run ingest on it."
        )
    if not index.keeps_source:
        raise ClusterError(
            f"Index '{index.name}' keeps no _source (_source.enabled: false). Without it OpenSearch can neither update "
            "nor reindex a product, a second load cannot tell what has changed, and searches return no fields. "
            "Expected an index that keeps _source: load the products from your own data into a new index (anthem "
            f"ingest {index.name}-new --corpus FILE), and point your searches at it."
        )


def check_source(index: IndexDescription) -> None:
    """Check that an update loses nothing: OpenSearch rebuilds the whole product from its `_source`.

    Raises:
        ClusterError: The index does not keep the whole `_source`.
    """
    check_source_enabled(index)
    if not index.keeps_whole_source:
        raise ClusterError(
            f"Index '{index.name}' does not keep the whole _source ({index.mappings['_source']}), so an update or "
            "a removal would lose the other fields. To give products values, load them whole from your own data with "
            "--corpus; to remove the values, load the products into a new index."
        )


def build_missing_mapping(
    index: IndexDescription,
    model_fields: ModelFields,
    dimension: int,
    signals: Collection[ModelSignal] = MODEL_SIGNALS,
) -> dict[str, Any] | None:
    """Mapping to add so that the index takes the values of these signals; None if nothing is missing.

    Raises:
        MappingConflictError: A field of this name has another type or dimension, or lacks doc values.
    """
    name = model_fields.name
    required = model_fields.mapping(dimension, signals)["properties"][name]["properties"]
    if index.knn and "vector" in required:
        required["vector"]["method"] = HNSW_METHOD
    parent = index.mappings.get("properties", {}).get(name, {})
    if is_users_field(index.mappings, name):
        raise UsersFieldError(index.name, name, parent, index.mappings.get("properties", {}))
    present = parent.get("properties", {})
    for key, needed in required.items():
        try:
            _check_compatible(f"{name}.{key}", present.get(key, needed), needed, index.name)
        except MappingConflictError as error:
            if is_own_object(index.mappings, name):
                raise
            raise UsersFieldError(index.name, name, parent, index.mappings.get("properties", {})) from error
    missing = {key: needed for key, needed in required.items() if key not in present}
    return {"properties": {name: {"properties": missing}}} if missing else None


def _check_compatible(path: str, actual: Mapping[str, Any], required: Mapping[str, Any], index: str) -> None:
    if actual.get("type") == "knn_vector":
        actual = {**actual, "data_type": _element_type(actual)}
    names = ("type", "dimension", "data_type", "doc_values")
    keys = [key for key in names if key in required and actual.get(key) != required[key]]
    if keys:
        raise MappingConflictError(
            index, path, {key: actual.get(key) for key in keys}, {key: required[key] for key in keys}
        )


def list_model_objects(mappings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the objects of models, whatever their fields are mapped as; the user's own fields are not among them.

    They are `anthem`, `anthem_<first 8 characters of a model id>`, and those that are recorded in `_meta`.
    """
    recorded = recorded_objects(mappings)
    names = (
        name for name in mappings.get("properties", {}) if name in recorded or MODEL_OBJECT_PATTERN.fullmatch(name)
    )
    return tuple(name for name in names if not is_users_field(mappings, name))


def model_objects(mappings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the objects that can hold a model's values, because a value is mapped as it has to be."""
    return tuple(name for name in list_model_objects(mappings) if mapped_signals(mappings, ModelFields(name)))


def vector_objects(mappings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the objects of models whose values include vectors."""
    names = model_objects(mappings)
    return tuple(name for name in names if "containment" in mapped_signals(mappings, ModelFields(name)))


def has_float_vectors(mappings: Mapping[str, Any], model_fields: ModelFields) -> bool:
    """Whether the vectors of a model's object are floats, as earlier versions wrote them."""
    fields = mappings.get("properties", {}).get(model_fields.name, {}).get("properties", {})
    return fields.get("vector", {}).get("type") == "knn_vector" and _element_type(fields["vector"]) == "float"


def _element_type(vector: Mapping[str, Any]) -> str:
    """Type of a vector's elements, floats by default; OpenSearch returns it in capitals."""
    return str(vector.get("data_type", "float")).lower()


def build_hnsw_properties(
    model_fields: ModelFields, dimension: int, signals: Collection[ModelSignal] = MODEL_SIGNALS
) -> dict[str, Any]:
    """Properties of a model's object whose vectors get an HNSW graph, for an index with `index.knn`."""
    properties: dict[str, Any] = model_fields.mapping(dimension, signals)["properties"]
    properties[model_fields.name]["properties"]["vector"]["method"] = HNSW_METHOD
    return properties


def build_new_fields(
    model_fields: ModelFields, dimension: int, signals: Collection[ModelSignal] | None = None, *, knn: bool
) -> dict[str, Any]:
    """Properties of a new index for the values of these signals, all by default; with `knn`, vectors get a graph."""
    signals = MODEL_SIGNALS if signals is None else signals
    if knn and "containment" in signals:
        return build_hnsw_properties(model_fields, dimension, signals)
    properties: dict[str, Any] = model_fields.mapping(dimension, signals)["properties"]
    return properties
