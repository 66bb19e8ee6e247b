"""What `anthem doctor` looks at in one index, vectors aside: state, mapping, source, copies. Pure functions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import CURRENT_FIELDS, resolve_current_fields
from anthem_doctor.findings import DoctorTarget, Fact, Finding, console_request, count_of, judge_fact
from anthem_ingest.ingest import bytes_per_vector
from anthem_ingest.mapping import (
    HNSW_METHOD,
    IndexDescription,
    build_hnsw_properties,
    build_missing_mapping,
    check_text_fields,
)
from anthem_plugin.modes import DEFAULT_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_core.opensearch.schema import VectorFields

MAX_DELETED_FRACTION = 0.1  # share of deleted documents from which scores are said to be off
EXAMPLE_PAGE_SIZE = 24  # hits on the page for which the growth of a response is told


@dataclass(frozen=True)
class IndexFacts:
    """An index as the cluster describes it, its health, and its counts of documents (`_stats/docs`)."""

    index: IndexDescription
    health: Fact
    docs: Fact


def check_index(asked: DoctorTarget, found: IndexFacts, names: VectorFields) -> list[Finding]:
    """All that is found in one index but for its vectors; of a closed one only that."""
    if is_closed(found.index):
        mends = console_request("POST", f"{found.index.name}/_open")
        return [Finding("index", "fault", f"{found.index.name} is closed", "an open index", mends)]
    return [
        *judge_fact("health", found.health, lambda health: check_health(found.index, health)),
        *check_created_version(asked, found.index),
        *check_blocks(found.index),
        *check_source_kept(asked, found.index, names),
        *check_fields(asked, found.index),
        *check_mapping(asked, found.index, names),
        *check_engine(asked, found.index, names),
        *check_aliases(asked, found.index, names),
        *describe_shards(found.index),
        *judge_fact("deleted", found.docs, lambda docs: check_deleted(found.index, docs)),
    ]


def is_closed(index: IndexDescription) -> bool:
    """Whether an index is closed: no search finds anything in it."""
    return str(index.settings.get("verified_before_close")).lower() == "true"


def check_health(index: IndexDescription, health: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether all shards answer; products of one that does not are in no search."""
    if health["status"] == "red":
        wanted, mends = "every primary shard started", console_request("GET", "_cluster/allocation/explain")
        yield Finding("health", "fault", f"{index.name} is red: products are missing from searches", wanted, mends)
    else:
        yield Finding("health", "ok", f"{index.name} is {health['status']}")


def check_created_version(asked: DoctorTarget, index: IndexDescription) -> Iterator[Finding]:
    """Whether the index was made by a version that takes vectors into an index that exists."""
    if not index.takes_vectors:
        wanted = "an index made by OpenSearch 2.17 or newer, which takes vectors"
        mends = _reindex_requests(asked, index, {}, {})
        yield Finding("index", "fault", f"{index.name} was made by an older version", wanted, mends)
    else:
        yield Finding("index", "ok", f"{index.name} takes vectors")


def check_blocks(index: IndexDescription) -> Iterator[Finding]:
    """Whether the index may be read and written."""
    found = index.blocks
    if not found:
        yield Finding("blocks", "ok", f"{index.name} can be written")
        return
    hard = {"read", "read_only_allow_delete"} & set(found)
    why = " (a full disk does this)" if "read_only_allow_delete" in hard else ""
    mends = console_request("PUT", f"{index.name}/_settings", {f"index.blocks.{name}": None for name in found})
    wanted = "an index that can be read and written; new products get no vectors else"
    listed = f"{', '.join(found)}{why} on {index.name}"
    yield Finding("blocks", "fault" if hard else "warning", listed, wanted, mends)


def check_source_kept(asked: DoctorTarget, index: IndexDescription, names: VectorFields) -> Iterator[Finding]:
    """Whether `_source` keeps what a partial update needs, vectors included, and what they add to a response."""
    kept = index.mappings.get("_source", {})
    if kept.get("enabled") is False or kept.get("includes") or kept.get("excludes"):
        lost = _omits(kept, names.vector)
        what = "the next partial update loses the vector" if lost else "an update in place loses what it leaves out"
        found = f"{index.name} does not keep the whole _source ({json.dumps(kept)}): {what}"
        mends = asked.command("ingest", "--corpus", "FILE", index=f"{index.name}-anew")
        yield Finding("source", "fault" if lost else "warning", found, "the whole _source", mends)
        return
    grows = EXAMPLE_PAGE_SIZE * bytes_per_vector(asked.bundle) / 1000
    found = f"{index.name} keeps it whole; {EXAMPLE_PAGE_SIZE} hits grow by about {grows:.0f} kB where a search does not exclude"
    yield Finding("source", "ok", f"{found} 'anthem', as searches of ours do")


def _omits(kept: Mapping[str, Any], path: str) -> bool:
    def covers(pattern: str) -> bool:
        return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")

    included = not kept.get("includes") or any(map(covers, kept["includes"]))
    return kept.get("enabled") is False or not included or any(map(covers, kept.get("excludes", ())))


def check_fields(asked: DoctorTarget, index: IndexDescription) -> Iterator[Finding]:
    """Whether products can have the fields that their text is to come from."""
    try:
        check_text_fields(index, asked.fields)
    except ClusterError as error:
        found, _, _ = str(error).partition(". Name the field")
        yield Finding("fields", "fault", found, "the fields that the vectors are made from: --field")
    else:
        yield Finding("fields", "ok", f"{index.name} has {', '.join(asked.fields)}")


def check_mapping(asked: DoctorTarget, index: IndexDescription, names: VectorFields) -> Iterator[Finding]:
    """Whether the object of the model is mapped with the right types and dimension."""
    try:
        missing = build_missing_mapping(index, names, asked.bundle.dimension)
    except ClusterError as error:
        found, _, rest = str(error).partition(", the bundle wants ")
        needed = f"{names.name} as {rest.partition('. ')[0]}"
        beside = asked.command("ingest", "--beside", index=index.name)
        mapped = names.mapping(asked.bundle.dimension)["properties"]
        mends = beside if re.search(r" of dimension \d+$", found) else _reindex_requests(asked, index, {}, mapped)
        yield Finding("mapping", "fault", found, needed, mends)
        return
    dynamic = f"; dynamic: {index.mappings['dynamic']}" if "dynamic" in index.mappings else ""
    if missing:
        lacking = ", ".join(missing["properties"][names.name]["properties"])
        found = f"{index.name} does not map {names.name}.{{{lacking}}}{dynamic}"
        mends = asked.command("ingest", index=index.name)
        yield Finding("mapping", "fault", found, "fields for vector, model and hash of the text", mends)
    else:
        yield Finding(
            "mapping", "ok", f"{index.name} maps {names.name}, dimension {asked.bundle.dimension + 1}{dynamic}"
        )


def check_engine(asked: DoctorTarget, index: IndexDescription, names: VectorFields) -> Iterator[Finding]:
    """Whether the engine keeps vectors as they are: Faiss needs native libraries, and its cosine loses their length."""
    vector = index.mappings.get("properties", {}).get(names.name, {}).get("properties", {}).get("vector", {})
    method = vector.get("method", {})
    engine = method.get("engine", vector.get("engine", "faiss" if index.knn else ""))
    space = method.get("space_type", vector.get("space_type", "l2"))
    wanted = f"method {json.dumps(HNSW_METHOD)}"
    if not vector or not index.knn:
        return
    mends = _reindex_requests(asked, index, {"index.knn": True}, build_hnsw_properties(names, asked.bundle.dimension))
    if space == "cosinesimil" or vector.get("data_type", "float") != "float":
        found = (
            f"{names.vector} is kept as {vector.get('data_type', 'float')}, {space}: points are not what was written"
        )
        yield Finding("engine", "fault", found, wanted, mends)
    elif engine != "lucene":
        found = f"{names.vector} of {index.name} uses {engine}, which needs native libraries on every node"
        yield Finding("engine", "warning", found, wanted, mends)
    else:
        yield Finding("engine", "ok", f"{names.vector} uses Lucene, {space}")


def check_aliases(asked: DoctorTarget, index: IndexDescription, names: VectorFields) -> Iterator[Finding]:
    """Whether the aliases `anthem_current.*` name this bundle's vectors, where there are such aliases."""
    if CURRENT_FIELDS.name not in index.mappings.get("properties", {}):
        return
    now = resolve_current_fields(index.mappings)
    if now == names:
        yield Finding(
            "aliases", "ok", f"{CURRENT_FIELDS.name} of {index.name} names {names.name}, this bundle's vectors"
        )
    else:
        found = f"{CURRENT_FIELDS.name} of {index.name} names {now.name}; this bundle's vectors are in {names.name}"
        mends = asked.command("ingest", "--beside", index=index.name)
        yield Finding("aliases", "warning", found, "the bundle that applications use, or a switch to this one", mends)


def describe_shards(index: IndexDescription) -> Iterator[Finding]:
    """What the number of shards and of their copies means for ranking and for pages."""
    shards, replicas = (int(index.settings.get(f"number_of_{name}", 1)) for name in ("shards", "replicas"))
    notes = [f"{index.name} has {count_of(shards, 'shard')}, each with {count_of(replicas, 'replica')}"]
    if shards > 1:
        notes.append(
            f"cluster mode reranks {DEFAULT_WINDOW} × {shards} products, client mode {DEFAULT_WINDOW}: orders differ a little"
        )
    if replicas:
        notes.append("ties may fall otherwise on another copy: give `preference` for stable pages")
    yield Finding("shards", "ok", "; ".join(notes))


def check_deleted(index: IndexDescription, docs: Mapping[str, Any]) -> Iterator[Finding]:
    """How many deleted or replaced documents still count in lexical scores."""
    gone, there = int(docs.get("deleted", 0)), int(docs.get("count", 0))
    share = gone / max(gone + there, 1)
    counted = f"{gone} of {gone + there} documents of {index.name} ({share:.0%}) are deleted or replaced"
    if share > MAX_DELETED_FRACTION:
        mends = console_request("POST", f"{index.name}/_forcemerge?only_expunge_deletes=true")
        wanted = (
            "few: they count in lexical scores until segments merge, by themselves or by this (not while it is fed)"
        )
        yield Finding("deleted", "warning", counted, wanted, mends)
    else:
        yield Finding("deleted", "ok", counted)


def _reindex_requests(
    asked: DoctorTarget, index: IndexDescription, settings: Mapping[str, Any], properties: Mapping[str, Any]
) -> str:
    """Requests that make an index anew under another name, for what cannot be changed in one that exists."""
    new = f"{index.name}-anew"
    body = {"settings": dict(settings), "mappings": {"properties": dict(properties)}}
    copy = {"source": {"index": index.name, "_source": {"excludes": ["anthem*"]}}, "dest": {"index": new}}
    steps = (
        f"{console_request('PUT', new, body)}   # and what else GET /{index.name} shows",
        console_request("POST", "_reindex?wait_for_completion=false", copy),
        asked.command("ingest", index=new),
    )
    return "\n".join(steps)
