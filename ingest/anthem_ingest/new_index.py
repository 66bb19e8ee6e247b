"""A new index: what its templates make of it, and the body that adds only what they do not say; pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import MODEL_SIGNALS
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES
from anthem_ingest.mapping import IndexDescription, build_missing_mapping, build_new_fields, format_created

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anthem_core.opensearch.schema import ModelFields, ModelSignal
    from anthem_core.opensearch.versions import Release

TEXT_FIELDS = ("title", "text")  # of a BEIR corpus; a new index maps them as English text
_REPLICA_SETTINGS = {"number_of_replicas", "auto_expand_replicas"}
# One node is green without a replica, and several nodes keep a copy.
_DEFAULT_REPLICAS = {"auto_expand_replicas": "0-1"}


@dataclass(frozen=True)
class PlannedIndex(IndexDescription):
    """An index as its templates will make it; without `is_known`, the cluster does not tell what they say."""

    is_known: bool = True


def plan_index(
    name: str, template: Mapping[str, Any] | None, release: Release, signals: Collection[ModelSignal]
) -> PlannedIndex:
    """The index that a template gives; None means that it is not known, and an empty one that nothing matches.

    Before OpenSearch 2.19.3 an index for vectors gets `index.knn`, unless its template has this setting.
    """
    settings = dict((template or {}).get("settings", {}).get("index", {}))
    says_knn = "knn" in settings and not isinstance(settings["knn"], dict)  # the dict holds index.knn.… settings
    if "containment" in signals and not (says_knn or release.has(SAFE_MAPPING_CHANGES)):
        settings["knn"] = "true"
    settings["version"] = {"created": format_created(release)}
    mappings = (template or {}).get("mappings", {})
    return PlannedIndex(name, mappings, settings, is_known=template is not None)


def merge_legacy_templates(name: str, templates: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the legacy templates of `GET /_template` that match a name say together: the highest order wins."""
    matching = [body for body in templates.values() if any(fnmatchcase(name, p) for p in body["index_patterns"])]
    matching.sort(key=lambda body: -int(body.get("order", 0)))
    merged: dict[str, Any] = reduce(_merge, matching, {})
    return {key: merged[key] for key in ("settings", "mappings") if key in merged}


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two objects joined at every depth, of which the first takes precedence; dynamic templates are appended."""
    merged = dict(first)
    for key, value in second.items():
        mine = first.get(key, value)
        if isinstance(mine, dict) and isinstance(value, dict):
            merged[key] = _merge(mine, value)
        elif key == "dynamic_templates" and key in first:
            merged[key] = _append_templates(mine, value)
        else:
            merged[key] = mine
    return merged


def _append_templates(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Dynamic templates, of which OpenSearch uses the first that matches; a name is not defined twice."""
    names = {name for entry in first for name in entry}
    return [*first, *(entry for entry in second if not entry.keys() & names)]


def build_new_index_body(
    planned: PlannedIndex,
    model_fields: ModelFields,
    dimension: int,
    signals: Collection[ModelSignal] = MODEL_SIGNALS,
    *,
    meta: Mapping[str, Any] | None = None,
    text_fields: Collection[str] = TEXT_FIELDS,
) -> dict[str, Any]:
    """Body of a new index for products of a file: the model's fields, and what its templates leave open.

    If it is not known what they say, the body has the model's fields alone.
    """
    settings: dict[str, Any] = {"index.knn": True} if planned.knn and "containment" in signals else {}
    if planned.is_known and not _REPLICA_SETTINGS & planned.settings.keys():
        settings |= _DEFAULT_REPLICAS
    mappings = build_defaults(planned, text_fields) if planned.is_known else {}
    properties = mappings.get("properties", {}) | _model_object(planned, model_fields, dimension, signals)
    mappings |= {"properties": properties, **({"_meta": dict(meta)} if meta else {})}
    return {"settings": settings, "mappings": mappings}


def _model_object(
    planned: PlannedIndex, model_fields: ModelFields, dimension: int, signals: Collection[ModelSignal]
) -> dict[str, Any]:
    """The model's object, whole, because the properties of a request replace those of a template."""
    needed = build_new_fields(model_fields, dimension, signals, knn=planned.knn)
    present = planned.mappings.get("properties", {}).get(model_fields.name)
    if not present:
        return needed
    missing = build_missing_mapping(planned, model_fields, dimension, signals) or {}
    added = missing.get("properties", {}).get(model_fields.name, {}).get("properties", {})
    return {model_fields.name: {**present, "properties": {**added, **present.get("properties", {})}}}


def build_defaults(index: IndexDescription, text_fields: Collection[str] = TEXT_FIELDS) -> dict[str, Any]:
    """Mapping of an index without products for the rows of a file, without what the index already has.

    A value that is not a number where one is expected is not indexed, but its product is. A mapping that is closed to
    new fields gets nothing.
    """
    if str(index.mappings.get("dynamic", "true")).lower() != "true":
        return {}
    text = {"type": "text"} if _has_own_analysis(index.settings) else {"type": "text", "analyzer": "english"}
    present = index.mappings.get("properties", {})
    missing = {name: text for name in TEXT_FIELDS if name in text_fields and name not in present}
    own = index.mappings.get("dynamic_templates", [])
    by_name = _by_path(missing) if own else []  # a dynamic template of the index may match these names
    defaults = {
        "dynamic_templates": _append_templates(own, [*by_name, *_value_templates()]),
        "properties": {} if own else missing,
    }
    return defaults if "date_detection" in index.mappings else {"date_detection": False, **defaults}


def _has_own_analysis(settings: Mapping[str, Any]) -> bool:
    """Whether an index has a default analyzer of its own, which its texts should get."""
    return "default" in settings.get("analysis", {}).get("analyzer", {})


def _by_path(fields: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {f"{name}_text": {"path_match": name, "match_mapping_type": "string", "mapping": field}}
        for name, field in fields.items()
    ]


def _value_templates() -> list[dict[str, Any]]:
    number = {"type": "double", "ignore_malformed": True}
    kinds = {"string": {"type": "keyword", "ignore_above": 1024}, "long": number, "double": number}
    paths = {"string": {"path_match": "metadata.*"}}
    return [
        {f"{kind}_values": {"match_mapping_type": kind, "mapping": mapping, **paths.get(kind, {})}}
        for kind, mapping in kinds.items()
    ]
