"""Checks of one index, apart from the values in it: state, mapping, `_source`, shards."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from anthem_core.console import count_of
from anthem_core.opensearch.blocks import unblock_index_requests
from anthem_core.opensearch.schema import CURRENT_FIELDS, VALUE_OF_SIGNAL, mapped_signals, resolve_current_fields
from anthem_core.opensearch.versions import VECTORS_WITHOUT_KNN_SETTING
from anthem_doctor.facts import is_closed
from anthem_doctor.findings import DoctorTarget, Finding, console_request, judge_fact
from anthem_ingest.conflicts import MappingConflictError, UsersFieldError, choose_free_name, is_own_object
from anthem_ingest.encode import choose_signals
from anthem_ingest.ingest import bytes_per_value
from anthem_ingest.mapping import (
    HNSW_METHOD,
    IndexDescription,
    build_hnsw_properties,
    build_missing_mapping,
    list_model_objects,
)
from anthem_ingest.text_fields import (
    SEARCH_GAP_REMEDY,
    describe_search_gap,
    find_nested_parent,
    find_unknown_fields,
    list_text_fields,
)
from anthem_plugin.modes import DEFAULT_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_core.opensearch.schema import ModelFields, ModelSignal
    from anthem_doctor.facts import IndexFacts

MAX_DELETED_FRACTION = 0.1  # of the documents; above it, lexical scores are noticeably off, and a note warns
EXAMPLE_PAGE_SIZE = 24  # hits on the page for which the growth of a response is estimated


def check_index(target: DoctorTarget, facts: IndexFacts, fields: ModelFields) -> list[Finding]:
    """All findings about one index, apart from the values in it; for a closed index, only that it is closed."""
    index = facts.index
    if is_closed(index):
        open_request = console_request("POST", f"{index.name}/_open")
        return [Finding("index", "fault", f"{index.name} is closed", "an open index", open_request)]
    return [
        *judge_fact("health", facts.health, lambda health: check_health(index, health)),
        *check_created_version(target, index),
        *check_blocks(index),
        *check_source_kept(target, index, fields),
        *check_fields_mapped(target, index, is_empty=facts.is_empty),
        *check_mapping(target, index, fields, is_empty=facts.is_empty),
        *check_signals(target, index, fields),
        *check_engine(target, index, fields),
        *check_aliases(target, index, fields),
        *describe_shards(index),
        *judge_fact("deleted", facts.document_counts, lambda counts: check_deleted(index, counts)),
    ]


def check_health(index: IndexDescription, health: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether all primary shards are available; products on a missing shard are in no search."""
    if health["status"] == "red":
        command = console_request("GET", "_cluster/allocation/explain")
        found = f"{index.name} is red: products are missing from searches"
        yield Finding("health", "fault", found, "every primary shard started", command)
    else:
        yield Finding("health", "ok", f"{index.name} is {health['status']}")


def check_created_version(target: DoctorTarget, index: IndexDescription) -> Iterator[Finding]:
    """Whether the release that created the index lets vectors be added to it, if products should have them."""
    if index.takes_vectors:
        yield Finding("index", "ok", f"{index.name} accepts vectors")
    elif "containment" not in target.expected_signals:
        yield Finding("index", "ok", f"{index.name} accepts trigrams")
    else:
        expected = f"an index created by OpenSearch {VECTORS_WITHOUT_KNN_SETTING.since} or newer, which accepts vectors"
        command = _reindex_requests(target, index, {}, {})
        yield Finding("index", "fault", f"{index.name} was created by an older release", expected, command)


def check_blocks(index: IndexDescription) -> Iterator[Finding]:
    """Whether the index can be read and written, as far as that depends on it and not on the cluster."""
    blocks, is_snapshot = index.blocks, index.settings.get("store", {}).get("type") == "remote_snapshot"
    if is_snapshot:
        found = f"{index.name} is a searchable snapshot, which is always read-only"
        yield Finding("blocks", "warning", found, "a regular index, restored from it; otherwise products get no values")
    if not blocks and not is_snapshot:
        yield Finding("blocks", "ok", f"{index.name} has no blocks")
    if not blocks:
        return
    severe = {"read", "read_only_allow_delete"} & set(blocks)
    cause = " (set when a disk is full)" if "read_only_allow_delete" in severe else ""
    found = f"{index.name} has the block {', '.join(blocks)}{cause}"
    expected = "an index that can be read and written; otherwise new products get no values"
    unblock = "\n".join(unblock_index_requests(index.name, [f"index.blocks.{name}" for name in blocks]))
    yield Finding("blocks", "fault" if severe else "warning", found, expected, unblock)


def check_source_kept(target: DoctorTarget, index: IndexDescription, fields: ModelFields) -> Iterator[Finding]:
    """Whether `_source` keeps everything that a partial update needs, values included, and what these add to it."""
    if not index.keeps_source:
        found = f"{index.name} keeps no _source: products cannot be updated, and searches are not reranked"
        command = target.command("ingest", "--corpus", "FILE", index=f"{index.name}-new")
        yield Finding("source", "fault", found, "an index that keeps _source, loaded from a file", command)
        return
    if index.derives_source:
        found = f"{index.name} derives its _source, which OpenSearch cannot do for a model's fields"
        expected = "an index without index.derived_source.enabled"
        yield Finding("source", "fault", found, expected, _reindex_requests(target, index, {}, {}))
        return
    if not index.keeps_whole_source:
        source = index.mappings["_source"]
        values = [VALUE_OF_SIGNAL[signal] for signal in target.expected_signals if _omits(source, fields.value(signal))]
        lost = " and ".join(f"the {value}" for value in values) or "the fields that are left out"
        found = f"{index.name} does not keep the whole _source ({json.dumps(source)}): a partial update loses {lost}"
        command = target.command("ingest", "--corpus", "FILE", index=f"{index.name}-new")
        yield Finding("source", "fault" if values else "warning", found, "the whole _source", command)
        return
    sizes = bytes_per_value(target.bundle)
    kilobytes = EXAMPLE_PAGE_SIZE * sum(sizes[signal] for signal in target.expected_signals) / 1000
    added = f"the model's values add about {kilobytes:.0f} kB to {EXAMPLE_PAGE_SIZE} hits"
    found = f"{index.name} keeps the whole _source; {added}"
    yield Finding("source", "ok", f"{found} unless a search excludes 'anthem', as ANTHEM's searches do")


def _omits(source: Mapping[str, Any], path: str) -> bool:
    """Whether the `_source` settings of a mapping leave a field out."""

    def matches(pattern: str) -> bool:
        return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")

    included = not source.get("includes") or any(map(matches, source["includes"]))
    return source.get("enabled") is False or not included or any(map(matches, source.get("excludes", ())))


def check_fields_mapped(target: DoctorTarget, index: IndexDescription, *, is_empty: bool = False) -> Iterator[Finding]:
    """Whether products can have the text fields that the values are computed from; the first product may add them."""
    unknown = find_unknown_fields(index, target.text_fields)
    if unknown and is_empty:
        yield Finding("fields", "ok", f"{index.name} has no products yet, and does not map {', '.join(unknown)}")
        return
    if unknown:
        known = ", ".join(list_text_fields(index.mappings)) or "none"
        found = f"{index.name} has no text in {', '.join(unknown)}; its text fields are: {known}"
        yield Finding("fields", "fault", found, "the fields that the values are computed from; name them with --field")
        return
    parent = find_nested_parent(index.mappings, target.text_fields[0])
    if parent:
        found = (
            f"{target.text_fields[0]} of {index.name} lies in the nested object {parent}: only nested queries find it"
        )
        known = ", ".join(list_text_fields(index.mappings)) or "none"
        expected = f"first a field outside nested objects; name it with --field. Those of the index are: {known}"
        yield Finding("fields", "fault", found, expected)
    elif gap := describe_search_gap(index.mappings, target.text_fields[0]):
        found = f"{target.text_fields[0]} of {index.name} is {gap}"
        yield Finding("fields", "fault", found, f"a text field first: {SEARCH_GAP_REMEDY}; or name one with --field")
    else:
        yield Finding("fields", "ok", f"{index.name} has {', '.join(target.text_fields)}")


def check_mapping(
    target: DoctorTarget, index: IndexDescription, fields: ModelFields, *, is_empty: bool = False
) -> Iterator[Finding]:
    """Whether the fields of the model are mapped with the right types and dimension; an empty index may lack them."""
    dimension, signals = target.bundle.dimension, target.expected_signals
    try:
        missing = build_missing_mapping(index, fields, dimension, signals)
    except MappingConflictError as error:
        yield _conflict_finding(target, index, fields, error)
        return
    dynamic = f"; dynamic: {index.mappings['dynamic']}" if "dynamic" in index.mappings else ""
    if missing:
        names = missing["properties"][fields.name]["properties"]
        found = f"{index.name} does not map {fields.name}.{{{', '.join(names)}}}{dynamic}"
        found += "; it has no products yet" if is_empty else ""
        # With one of two values a search still ranks by that one.
        is_usable = is_empty or names.keys() < {VALUE_OF_SIGNAL[signal] for signal in signals}
        expected = f"fields for {', '.join(VALUE_OF_SIGNAL[signal] for signal in signals)}, model id and text hash"
        command = target.command("ingest", index=index.name)
        yield Finding("mapping", "warning" if is_usable else "fault", found, expected, command)
    else:
        sizes = f", dimension {dimension}" if "containment" in signals else ""
        yield Finding("mapping", "ok", f"{index.name} maps {fields.name}{sizes}{dynamic}")


def check_signals(target: DoctorTarget, index: IndexDescription, fields: ModelFields) -> Iterator[Finding]:
    """Which signals searches can rank the index by, according to its mapping."""
    mapped = [signal for signal in mapped_signals(index.mappings, fields) if signal in choose_signals(target.bundle)]
    ranked = [signal for signal in mapped if _is_usable(target, index, fields, signal)]
    if not ranked:
        return
    others = ", ".join(["the lexical score", *ranked[:-1]])
    found = f"searches rank {index.name} by {others} and {ranked[-1]}"
    left_out = [signal for signal in choose_signals(target.bundle) if signal not in ranked]
    if left_out:
        values = " and ".join(VALUE_OF_SIGNAL[signal] for signal in left_out)
        reason = "left out with --signals" if set(target.expected_signals) <= set(ranked) else "run ingest to add them"
        found += f", not by {' and '.join(left_out)}: it has no field for {values} ({reason})"
    yield Finding("signals", "ok", found)


def _is_usable(target: DoctorTarget, index: IndexDescription, fields: ModelFields, signal: ModelSignal) -> bool:
    """Whether the field of a signal's values is mapped as this bundle needs it."""
    try:
        build_missing_mapping(index, fields, target.bundle.dimension, [signal])
    except MappingConflictError:
        return False
    return True


def _conflict_finding(
    target: DoctorTarget, index: IndexDescription, fields: ModelFields, error: MappingConflictError
) -> Finding:
    """A field that is mapped differently: vectors of another size or type can stay, other types need a new index."""
    actual, required = (
        ", ".join(f"{key} {value}" for key, value in side.items()) for side in (error.actual, error.required)
    )
    if isinstance(error, UsersFieldError):
        found = f"{index.name} has a field {error.path} of its own ({error.found})"
        name = choose_free_name(index.mappings.get("properties", {}))
        command = target.command("ingest", "--as", name, index=index.name)
        return Finding("mapping", "fault", found, "an object of another name for the model's values", command)
    if error.is_of_other_vectors:
        command = target.command("ingest", "--beside", index=index.name)
    else:
        properties = fields.mapping(target.bundle.dimension, target.expected_signals)["properties"]
        command = _reindex_requests(target, index, {}, properties)
    found = f"{index.name} maps {error.path} with {actual}"
    return Finding("mapping", "fault", found, f"{error.path} with {required}", command)


def check_engine(target: DoctorTarget, index: IndexDescription, fields: ModelFields) -> Iterator[Finding]:
    """Whether an index with HNSW graphs keeps vectors unchanged; cosine normalises them.

    Faiss, the default engine, needs native libraries on every node.
    """
    vector = index.mappings.get("properties", {}).get(fields.name, {}).get("properties", {}).get("vector", {})
    if not vector or not index.knn or "containment" not in target.expected_signals:
        return
    method = vector.get("method", {})
    engine = method.get("engine", vector.get("engine", "faiss"))
    space = method.get("space_type", vector.get("space_type", "l2"))
    expected = f"method {json.dumps(HNSW_METHOD)}"
    properties = build_hnsw_properties(fields, target.bundle.dimension, target.expected_signals)
    command = _reindex_requests(target, index, {"index.knn": True}, properties)
    if space == "cosinesimil":
        found = f"{fields.vector} of {index.name} is kept with {space}, which changes the vectors"
        yield Finding("engine", "fault", found, expected, command)
    elif engine != "lucene":
        found = f"{fields.vector} of {index.name} uses {engine}, which needs native libraries on every node"
        yield Finding("engine", "warning", found, expected, command)
    else:
        yield Finding("engine", "ok", f"{fields.vector} uses Lucene, {space}")


def check_aliases(target: DoctorTarget, index: IndexDescription, fields: ModelFields) -> Iterator[Finding]:
    """Whether the field aliases `anthem_current.*`, if the index has them, point at this bundle's values."""
    if CURRENT_FIELDS.name not in index.mappings.get("properties", {}):
        return
    alias, current = CURRENT_FIELDS.name, resolve_current_fields(index.mappings)
    if current == fields:
        yield Finding("aliases", "ok", f"{alias} of {index.name} points at {fields.name}, this bundle's values")
    else:
        found = f"{alias} of {index.name} points at {current.name}; this bundle's values are in {fields.name}"
        expected = "the bundle that applications use, or the aliases switched to this one"
        yield Finding("aliases", "warning", found, expected, target.command("ingest", "--beside", index=index.name))


def describe_shards(index: IndexDescription) -> Iterator[Finding]:
    """What the numbers of shards and replicas mean for ranking and paging."""
    shards, replicas = (int(index.settings.get(f"number_of_{name}", 1)) for name in ("shards", "replicas"))
    notes = [f"{index.name} has {count_of(shards, 'shard')}, each with {count_of(replicas, 'replica')}"]
    if shards > 1:
        windows = f"cluster mode reranks {DEFAULT_WINDOW} × {shards} products, client mode {DEFAULT_WINDOW}"
        notes.append(f"{windows}, so their orders may differ a little")
    if replicas:
        notes.append("another replica may order ties differently; set `preference` for stable pages")
    yield Finding("shards", "ok", "; ".join(notes))


def check_deleted(index: IndexDescription, counts: Mapping[str, Any]) -> Iterator[Finding]:
    """How many deleted or replaced documents still count in lexical scores.

    An ingest replaces each product once, so until segments are merged as many as there are products are expected.
    """
    deleted, live = int(counts.get("deleted", 0)), int(counts.get("count", 0))
    fraction = deleted / max(deleted + live, 1)
    found = f"{deleted} of {deleted + live} documents of {index.name} ({fraction:.0%}) are deleted or replaced"
    merge = console_request("POST", f"{index.name}/_forcemerge?only_expunge_deletes=true")
    effect = "they count in lexical scores until segments are merged, which OpenSearch does over time and this request "
    effect += "does now (not while products are written)"
    if deleted > live:
        yield Finding("deleted", "warning", found, f"fewer: {effect}", merge)
    elif fraction > MAX_DELETED_FRACTION:
        yield Finding("deleted", "ok", f"{found}, as expected after an ingest: {effect}", command=merge)
    else:
        yield Finding("deleted", "ok", found)


def _reindex_requests(
    target: DoctorTarget, index: IndexDescription, settings: Mapping[str, Any], properties: Mapping[str, Any]
) -> str:
    """Requests that copy an index to a new one, for what cannot be changed in an existing index."""
    new = f"{index.name}-new"
    body = {"settings": dict(settings), "mappings": {"properties": dict(properties)}}
    # Only objects of models: a field of the user's may have a similar name.
    named_objects = (name for name in list_model_objects(index.mappings) if is_own_object(index.mappings, name))
    objects = sorted({*named_objects, *properties})
    copy = {"source": {"index": index.name, "_source": {"excludes": objects}}, "dest": {"index": new}}
    named = [word for name in properties if name != "anthem" for word in ("--as", name)]
    requests = (
        f"{console_request('PUT', new, body)}   # add the other settings and fields that GET /{index.name} shows",
        console_request("POST", "_reindex?wait_for_completion=false", copy),
        target.command("ingest", *named, index=new),
    )
    return "\n".join(requests)
