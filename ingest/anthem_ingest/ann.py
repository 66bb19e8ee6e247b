"""Copies an index into one with HNSW graphs for its vectors and moves the aliases there: the Python API of `--ann`.

Copied products keep the version of the original, so each pass writes only what has changed since the one before, and an
interrupted copy is resumed where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.console import count_of, name_some
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import MATCH_ALL, VALUE_OF_SIGNAL
from anthem_ingest import index_io
from anthem_ingest.actions import routing_of, shorten_id, value_clauses
from anthem_ingest.ingest import no_progress
from anthem_ingest.load_target import find_data_stream
from anthem_ingest.mapping import HNSW_METHOD, check_source, parse_single_index, vector_objects
from anthem_ingest.report import IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import ModelFields
    from anthem_ingest.actions import BulkAction, IndexHit
    from anthem_ingest.mapping import IndexDescription

COMPARED_PRODUCTS = 200  # at most, before the aliases move
MAX_COPY_PASSES = 10
_COPIED_KEYS = ("type", "dimension", "data_type")  # of a vector's mapping
# Settings that OpenSearch sets itself, or that describe how the index was created.
_SETTINGS_NOT_COPIED = (
    "creation_date", "uuid", "provided_name", "version", "blocks", "resize", "routing", "history", "knn",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnnCopy:
    """Result of a copy: the new index, the original, the number of products, and the aliases that were moved."""

    index: str
    original: str
    products: int
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        if self.aliases:
            moved = f"{', '.join(self.aliases)} moved from {self.original}, which is kept: delete it when you are ready"
        else:
            moved = f"{self.original} has no alias to move; search {self.index} by its own name"
        return f"{self.index}: {count_of(self.products)} with HNSW; {moved}."


def build_ann_index_body(index: IndexDescription) -> dict[str, Any]:
    """Body of the new index: settings and mapping of the original, with Lucene HNSW (`l2`) for the vectors."""
    settings = {key: value for key, value in index.settings.items() if key not in _SETTINGS_NOT_COPIED} | {"knn": True}
    properties = dict(index.mappings.get("properties", {}))
    for name in vector_objects(index.mappings):
        fields = properties[name]["properties"]
        vector = {key: fields["vector"][key] for key in _COPIED_KEYS if key in fields["vector"]}
        vector |= {"method": HNSW_METHOD}
        properties[name] = {**properties[name], "properties": {**fields, "vector": vector}}
    return {"settings": {"index": settings}, "mappings": {**index.mappings, "properties": properties}}


def check_has_no_graphs(name: str, index: IndexDescription) -> None:
    """Check that an index, found by this name, builds no graphs yet.

    Raises:
        ClusterError: It does.
    """
    if index.knn:
        found = f"'{index.name}'" if index.name == name else f"'{index.name}', to which '{name}' leads,"
        raise ClusterError(f"Index {found} already builds graphs (index.knn): leave out --ann.")


@cluster_errors()
def check_copyable(client: OpenSearch, index: str) -> None:
    """Check that an index can be copied with graphs, before anything is written to it; a new one always can.

    Raises:
        ClusterError: It already builds graphs, belongs to a data stream, or the cluster refuses.
    """
    response = index_io.describe_index(client, index)
    stream = find_data_stream(response or {})
    if stream:
        raise ClusterError(
            f"'{stream}' is a data stream, whose name cannot be moved to a copy. Set index.knn in its index template "
            "and roll it over: the vectors of the next backing index get graphs."
        )
    if response:
        check_has_no_graphs(index, parse_single_index(response, index))


@cluster_errors()
def create_ann_copy(
    client: OpenSearch, index: str, model_fields: ModelFields, advance: Callable[[int], object] = no_progress
) -> AnnCopy:
    """Copy an index into `<its name>-ann` with graphs, compare the two, and move all aliases to the copy.

    Raises:
        ClusterError: The index already has graphs, or no vectors; a product cannot be copied, or the copy differs.
    """
    original = parse_single_index(client.indices.get(index=index), index)
    check_source(original)
    check_has_no_graphs(index, original)
    if not vector_objects(original.mappings):
        raise ClusterError(
            f"Index '{original.name}' has no vectors to build graphs for. Add them first: anthem ingest {index}"
        )
    old, new = original.name, f"{original.name}-ann"
    _create_or_resume(client, original, new)
    _copy_until_unchanged(client, old, new, advance)
    products = _check_copy(client, old, new, model_fields)
    aliases = client.indices.get_alias(index=old)[old]["aliases"]
    if aliases:
        client.indices.update_aliases(body={"actions": _move_alias_actions(aliases, old, new)})
        _copy_changes(client, old, new)  # products written while the aliases moved
        index_io.refresh_index(client, new)
    return AnnCopy(new, old, products, tuple(sorted(aliases)))


def _create_or_resume(client: OpenSearch, original: IndexDescription, new: str) -> None:
    """Create the copy, or bring the `_meta` of an earlier one up to date."""
    if client.indices.exists(index=new):
        copy = parse_single_index(client.indices.get(index=new), new)
        index_io.replace_meta(client, copy, {**copy.meta, **original.meta})
    else:
        client.indices.create(index=new, body=build_ann_index_body(original))


def _move_alias_actions(aliases: Mapping[str, Mapping[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    removals = [{"remove": {"index": old, "alias": name}} for name in aliases]
    additions = [{"add": {"index": new, "alias": name, **options}} for name, options in aliases.items()]
    return [*removals, *additions]


def _copy_until_unchanged(client: OpenSearch, old: str, new: str, advance: Callable[[int], object]) -> None:
    """Run passes over both indices until one finds nothing to write."""
    for number in range(MAX_COPY_PASSES):
        index_io.refresh_index(client, old)
        changes = _copy_changes(client, old, new, advance if number == 0 else no_progress)
        changes += _delete_removed(client, old, new)
        index_io.refresh_index(client, new)
        if not changes:
            return
    raise ClusterError(
        f"'{old}' changed during each of {MAX_COPY_PASSES} passes, so the aliases were not moved. Pause the feed and "
        "run this again: it resumes the copy."
    )


def _copy_changes(client: OpenSearch, old: str, new: str, advance: Callable[[int], object] = no_progress) -> int:
    """Copy the products that the copy lacks or has in an older version; returns their number."""
    tally = IngestTally()
    index_io.write_actions(client, _copy_actions(client, old, new, advance), tally, frozenset({409}))
    if tally.failed:
        raise ClusterError(f"{count_of(tally.failed)} cannot be copied to '{new}': {tally.failures[0]}")
    return tally.written


def _copy_actions(client: OpenSearch, old: str, new: str, advance: Callable[[int], object]) -> Iterator[BulkAction]:
    for hits in index_io.read_pages(client, old, {"query": MATCH_ALL, "version": True}):
        for hit in hits:
            yield {
                "_op_type": "index",
                "_index": new,
                "_id": hit["_id"],
                "_source": hit["_source"],
                "version": hit["_version"],
                "version_type": "external",
                "pipeline": "_none",
                **routing_of(hit),
            }
        advance(len(hits))


def _delete_removed(client: OpenSearch, old: str, new: str) -> int:
    """Delete from the copy the products that are no longer in the original; returns their number."""
    tally = IngestTally()
    for hits in index_io.read_pages(client, new, {"query": MATCH_ALL, "_source": False}):
        originals = _get_same_products(client, old, hits, source=False)
        actions = [
            {"_op_type": "delete", "_index": new, "_id": hit["_id"], **routing_of(hit)}
            for hit, original in zip(hits, originals, strict=True)
            if not original["found"]
        ]
        index_io.write_actions(client, actions, tally, frozenset({404}))
    return tally.written


def _get_same_products(
    client: OpenSearch, index: str, hits: Sequence[IndexHit], *, source: bool = True
) -> list[IndexHit]:
    """The products of another index with the ids of these hits, in order."""
    if not hits:
        return []
    documents = [{"_id": hit["_id"], "_source": source, **routing_of(hit)} for hit in hits]
    products: list[IndexHit] = client.mget(index=index, body={"docs": documents})["docs"]
    return products


def _check_copy(client: OpenSearch, old: str, new: str, model_fields: ModelFields) -> int:
    """Check that both have the same number of products and values and an equal sample, and that a graph answers."""
    queries = (MATCH_ALL, *value_clauses(model_fields))
    old_counts, new_counts = (
        [index_io.count_products(client, name, query) for query in queries] for name in (old, new)
    )
    random_order = {"function_score": {"query": MATCH_ALL, "random_score": {}}}
    sample = client.search(index=old, body={"query": random_order, "size": COMPARED_PRODUCTS})["hits"]["hits"]
    copies = _get_same_products(client, new, sample)
    pairs = zip(sample, copies, strict=True)
    differing = [(hit, copy) for hit, copy in pairs if copy.get("_source") != hit["_source"]]
    values = [hit["_source"].get(model_fields.name) or {} for hit in sample]
    vectors = [stored["vector"] for stored in values if stored.get("vector")]
    knn_query = {"knn": {model_fields.vector: {"vector": vectors[0], "k": 1}}} if vectors else MATCH_ALL
    neighbours = client.search(index=new, body={"query": knn_query, "size": 1, "_source": False})["hits"]["hits"]
    faults = []
    if old_counts != new_counts:
        faults.append(f"it has {_describe_counts(new_counts)}, expected {_describe_counts(old_counts)}")
    if differing:
        faults.append(
            f"{len(differing)} of {len(sample)} compared products differ ({_describe_difference(*differing[0])})"
        )
    if sample and not neighbours:
        faults.append("a search of its graph finds nothing")
    if faults:
        raise ClusterError(
            f"'{new}' differs from '{old}': {'; '.join(faults)}. The aliases were not moved. "
            f"{_describe_remedy(new, has_other_content=any(copy['found'] for _, copy in differing))}"
        )
    return new_counts[0]


def _describe_difference(original: IndexHit, copy: IndexHit) -> str:
    """Where a copy differs from its original: it is missing, or some of its top-level fields have other values."""
    product = f"'{shorten_id(original['_id'])}'"
    if not copy["found"]:
        return f"{product} is missing"
    source, copied = original["_source"], copy.get("_source", {})
    fields = [name for name in {**source, **copied} if source.get(name) != copied.get(name)]
    return f"{product} in {name_some(fields)}"


def _describe_remedy(new: str, *, has_other_content: bool) -> str:
    if not has_other_content:
        return f"Run this again, or delete '{new}' first."
    return (
        f"If no other program writes to '{new}', an index template that matches its name changes the products, with a "
        "final pipeline or a filter of _source. List the templates (GET /_index_template), correct this one, delete "
        f"'{new}', and run this again."
    )


def _describe_counts(counts: Sequence[int]) -> str:
    products, *with_value = counts
    values = (f"{number} with {value}" for number, value in zip(with_value, VALUE_OF_SIGNAL.values(), strict=True))
    return f"{count_of(products)}, {', '.join(values)}"
