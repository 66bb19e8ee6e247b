"""What an index must be like to take points, and the mappings that make it so: pure checks and builders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES, VECTORS_WITHOUT_KNN_SETTING, Release
from anthem_ingest.actions import VECTOR_OBJECT_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.opensearch.schema import VectorFields

BYTES_PER_COORDINATE = 13  # of a point in an index, doc values and _source together; measured

_OPENSEARCH_VERSION_MASK = 0x08000000  # sets ids of OpenSearch versions apart from those of its ancestor
# With index.knn a method is built in any case, and the default engine's native libraries may be absent.
HNSW_METHOD = {"name": "hnsw", "engine": "lucene", "space_type": "l2"}


@dataclass(frozen=True)
class IndexDescription:
    """One index as the cluster describes it: concrete name, mappings, and its settings below `index`."""

    name: str
    mappings: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def knn(self) -> bool:
        """Whether the index builds graphs for its vectors."""
        return str(self.settings.get("knn")).lower() == "true"

    @property
    def blocks(self) -> list[str]:
        """Names of the blocks that are set on the index."""
        return [name for name, value in self.settings.get("blocks", {}).items() if str(value).lower() == "true"]

    @property
    def takes_vectors(self) -> bool:
        """Whether a field for vectors can be added to the index."""
        return self.knn or self.created.has(VECTORS_WITHOUT_KNN_SETTING)

    @property
    def created(self) -> Release:
        """OpenSearch release that created the index, 0.0 for an ancestor of OpenSearch."""
        number = int(self.settings["version"]["created"])
        release = number ^ _OPENSEARCH_VERSION_MASK
        numbers = release // 1_000_000, release // 10_000 % 100, release // 100 % 100
        return Release(*numbers) if number & _OPENSEARCH_VERSION_MASK else Release(0, 0)


def check_index_name(index: str) -> None:
    """Refuse a pattern, a list or a remote index: ingest writes to one index.

    Raises:
        ClusterError: The name can stand for several indices.
    """
    if index in {"", "_all"} or re.search(r"[*?,:]", index):
        raise ClusterError(
            f"'{index}' is no name of one index. Ingest writes to one, or to an alias of one: run it once for each."
        )


def parse_single_index(answer: Mapping[str, Any], asked: str) -> IndexDescription:
    """Return the one index that `GET /<asked>` described.

    Raises:
        ClusterError: `asked` is an alias of several indices.
    """
    if len(answer) != 1:
        raise ClusterError(
            f"'{asked}' stands for {len(answer)} indices ({', '.join(sorted(answer))}); one was wanted. "
            "Run ingest once for each of them."
        )
    ((name, body),) = answer.items()
    return IndexDescription(name, body.get("mappings", {}), body.get("settings", {}).get("index", {}))


def check_index_writable(index: IndexDescription) -> None:
    """Check that the index takes writes, and vectors.

    Raises:
        ClusterError: The index is blocked, or was created before OpenSearch 2.17.
    """
    if index.blocks:
        raise ClusterError(
            f"Index '{index.name}' is blocked ({', '.join(index.blocks)}); one that can be written was wanted. "
            f'Lift the block: PUT {index.name}/_settings {{"index.blocks.{index.blocks[0]}": null}}'
        )
    if not index.takes_vectors:
        raise ClusterError(
            f"Index '{index.name}' was created before OpenSearch 2.17 and takes no vectors. "
            "Reindex it into a new index (POST _reindex) and run ingest on that."
        )


def check_mapping_changes(index: IndexDescription, release: Release) -> None:
    """Check that an index that gets its first vectors will not lose its shards whenever its mapping changes.

    Raises:
        ClusterError: It would, and products with new fields change its mapping.
    """
    closed = str(index.mappings.get("dynamic")).lower() in {"false", "strict"}
    if index.knn or closed or release.has(SAFE_MAPPING_CHANGES) or vector_objects(index.mappings):
        return
    raise ClusterError(
        f"Index '{index.name}' has no index.knn, on OpenSearch {release}: once it has vectors, each product with a new "
        f"field would take all its shards out for a moment. Wanted: {SAFE_MAPPING_CHANGES.since} or newer, where that is "
        "mended (k-NN issue 2540). Upgrade, or load the products into an index with index.knn, or keep new fields out "
        f'of the mapping (PUT {index.name}/_mapping {{"dynamic": "false"}}), or accept it: ANTHEM_ACCEPT_OUTAGES=1'
    )


def check_source(index: IndexDescription) -> None:
    """Check that an update in place loses nothing: OpenSearch rebuilds the whole product from its `_source`.

    Raises:
        ClusterError: The index does not keep the whole `_source`.
    """
    source = index.mappings.get("_source", {})
    if source.get("enabled") is False or source.get("includes") or source.get("excludes"):
        raise ClusterError(
            f"Index '{index.name}' does not keep the whole _source ({source}); an update in place would lose what it "
            "leaves out. Load the products from a file with --corpus, or reindex with the whole _source."
        )


def check_text_fields(index: IndexDescription, fields: Sequence[str]) -> None:
    """Check that documents can have the fields the text comes from.

    Raises:
        ClusterError: A field is unknown to the mapping, and so in no document.
    """
    unknown = [field for field in fields if not _can_hold_value(index.mappings, field.split("."))]
    if unknown:
        known = ", ".join(sorted(index.mappings.get("properties", {}))) or "none"
        raise ClusterError(
            f"Index '{index.name}' has no field {', '.join(unknown)} with a value of its own; its fields are: {known}. "
            "Name the field of the title with --field."
        )


def _can_hold_value(node: Mapping[str, Any], path: Sequence[str]) -> bool:
    if not path:
        return node.get("type") != "alias"
    if path[0] in node.get("properties", {}):
        return _can_hold_value(node["properties"][path[0]], path[1:])
    return str(node.get("dynamic")) == "false" or node.get("enabled") is False or node.get("type") == "flat_object"


def build_missing_mapping(index: IndexDescription, names: VectorFields, dimension: int) -> dict[str, Any] | None:
    """Mapping to add so that the index takes points of this dimension, or None where nothing is missing.

    Raises:
        ClusterError: A field of this name is there already, with another type or dimension.
    """
    wanted = names.mapping(dimension)["properties"][names.name]["properties"]
    if index.knn:
        wanted["vector"]["method"] = HNSW_METHOD
    parent = index.mappings.get("properties", {}).get(names.name, {})
    _check_compatible(names.name, {"type": parent.get("type", "object")}, {"type": "object"}, index.name)
    found = parent.get("properties", {})
    for name, field in wanted.items():
        _check_compatible(f"{names.name}.{name}", found.get(name, field), field, index.name)
    missing = {name: field for name, field in wanted.items() if name not in found}
    return {"properties": {names.name: {"properties": missing}}} if missing else None


def _check_compatible(path: str, found: Mapping[str, Any], wanted: Mapping[str, Any], index: str) -> None:
    keys = [key for key in ("type", "dimension") if found.get(key) != wanted.get(key)]
    if keys:
        have, want = (", ".join(f"{key} {side.get(key)}" for key in keys) for side in (found, wanted))
        raise ClusterError(
            f"Index '{index}' has a field {path} of {have}, the bundle wants {want}. OpenSearch cannot change a field: "
            "use the bundle that made it, or reindex without it (POST _reindex) and run ingest on the new index."
        )


def vector_objects(mappings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the objects that hold a model's fields, `anthem` and `anthem_<first 8 of the model's id>`."""
    found = mappings.get("properties", {}).items()
    return tuple(
        name
        for name, body in found
        if VECTOR_OBJECT_PATTERN.fullmatch(name)
        and body.get("properties", {}).get("vector", {}).get("type") == "knn_vector"
    )


def build_hnsw_properties(names: VectorFields, dimension: int) -> dict[str, Any]:
    """Properties of a model's object whose vectors get an HNSW graph, in an index with `index.knn`."""
    properties: dict[str, Any] = names.mapping(dimension)["properties"]
    properties[names.name]["properties"]["vector"]["method"] = HNSW_METHOD
    return properties


def build_new_index_body(names: VectorFields, dimension: int, *, knn: bool = False) -> dict[str, Any]:
    """Body of a new index for products of a file: one shard, no replica, English text; with `knn`, HNSW graphs.

    Numbers that are none are left out of the index rather than the product with them.
    """
    english = {"type": "text", "analyzer": "english"}
    number = {"type": "double", "ignore_malformed": True}
    kinds = {"string": {"type": "keyword", "ignore_above": 1024}, "long": number, "double": number}
    paths = {"string": {"path_match": "metadata.*"}}
    templates = [
        {f"{kind}_values": {"match_mapping_type": kind, "mapping": mapping, **paths.get(kind, {})}}
        for kind, mapping in kinds.items()
    ]
    own = build_hnsw_properties(names, dimension) if knn else names.mapping(dimension)["properties"]
    properties = {"title": english, "text": english, "metadata": {"type": "object"}}
    return {
        "settings": {"number_of_shards": 1, "number_of_replicas": 0} | ({"index.knn": True} if knn else {}),
        "mappings": {
            "date_detection": False,
            "dynamic_templates": templates,
            "properties": properties | own,
        },
    }
