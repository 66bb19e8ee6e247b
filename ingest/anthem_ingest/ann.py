"""A copy of an index with HNSW graphs for its vectors, and the alias moved to it: the Python side of `--ann`.

Copies carry the version of the original, so a pass over both writes only what has changed since the one before, and a
copy that was interrupted goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.actions import MATCH_ALL, PRODUCTS_PER_PAGE
from anthem_ingest.ingest import no_progress
from anthem_ingest.mapping import HNSW_METHOD, check_source, parse_single_index, vector_objects
from anthem_ingest.report import IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import VectorFields
    from anthem_ingest.actions import BulkAction
    from anthem_ingest.mapping import IndexDescription

MAX_COMPARED_PRODUCTS = 200  # products compared before the alias moves
MAX_COPY_PASSES = 10
# What an index has by itself, or because of how it came to be.
_SETTINGS_NOT_COPIED = (
    "creation_date",
    "uuid",
    "provided_name",
    "version",
    "blocks",
    "resize",
    "routing",
    "history",
    "knn",
)


@dataclass(frozen=True, slots=True)
class AnnCopy:
    """What came of it: the new index, its number of products, aliases that were moved to it, and the old index."""

    index: str
    old: str
    products: int
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        if self.aliases:
            moved = f"{', '.join(self.aliases)} moved from {self.old}, which is kept: delete it when you are content"
        else:
            moved = f"{self.old} has no alias to move; searches find {self.index} under its own name"
        return f"{self.index}: {self.products} products with HNSW; {moved}."


def build_ann_index_body(index: IndexDescription) -> dict[str, Any]:
    """Body of the new index: settings and mapping of the old, with `l2` HNSW of the Lucene engine for our vectors."""
    settings = {key: value for key, value in index.settings.items() if key not in _SETTINGS_NOT_COPIED} | {"knn": True}
    properties = dict(index.mappings.get("properties", {}))
    for name in vector_objects(index.mappings):
        fields = properties[name]["properties"]
        vector = {"type": "knn_vector", "dimension": fields["vector"]["dimension"], "method": HNSW_METHOD}
        properties[name] = {**properties[name], "properties": {**fields, "vector": vector}}
    return {"settings": {"index": settings}, "mappings": {**index.mappings, "properties": properties}}


@cluster_errors()
def create_ann_copy(
    client: OpenSearch, index: str, names: VectorFields, advance: Callable[[int], object] = no_progress
) -> AnnCopy:
    """Copy an index into `<its name>-ann` with graphs, check count and sample, and move all its aliases there.

    Raises:
        ClusterError: The index has graphs already, a product cannot be copied, or the copy is not the same.
    """
    old = parse_single_index(client.indices.get(index=index), index)
    check_source(old)
    if old.knn:
        raise ClusterError(f"Index '{old.name}' is made for vectors already (index.knn); nothing was done.")
    new = f"{old.name}-ann"
    if not client.indices.exists(index=new):
        client.indices.create(index=new, body=build_ann_index_body(old))
    _copy_until_unchanged(client, old.name, new, advance)
    number = _check_copy(client, old.name, new, names)
    aliases = client.indices.get_alias(index=old.name)[old.name]["aliases"]
    if aliases:
        client.indices.update_aliases(body={"actions": _move_alias_actions(aliases, old.name, new)})
        _copy_changes(client, old.name, new)  # what was written while the alias moved
        index_io.refresh_index(client, new)
    return AnnCopy(new, old.name, number, tuple(sorted(aliases)))


def _move_alias_actions(aliases: Mapping[str, Mapping[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    gone = [{"remove": {"index": old, "alias": name}} for name in aliases]
    return gone + [{"add": {"index": new, "alias": name, **how}} for name, how in aliases.items()]


def _copy_until_unchanged(client: OpenSearch, old: str, new: str, advance: Callable[[int], object]) -> None:
    """Pass over both until nothing has changed in between."""
    for number in range(MAX_COPY_PASSES):
        index_io.refresh_index(client, old)
        changed = _copy_changes(client, old, new, advance if number == 0 else no_progress) + _delete_removed(
            client, old, new
        )
        index_io.refresh_index(client, new)
        if not changed:
            return
    raise ClusterError(
        f"'{old}' changed during each of {MAX_COPY_PASSES} passes; the alias stays. Pause the feed and run this again: "
        "the copy goes on where it is."
    )


def _copy_changes(client: OpenSearch, old: str, new: str, advance: Callable[[int], object] = no_progress) -> int:
    """Copy products that the copy has not, or not in this version; how many there were."""
    tally = IngestTally()
    index_io.write_actions(client, _copy_actions(client, old, new, advance), tally, frozenset({409}))
    if tally.failed:
        raise ClusterError(f"{tally.failed} products cannot be copied to '{new}': {tally.failures[0]}")
    return tally.written


def _copy_actions(client: OpenSearch, old: str, new: str, advance: Callable[[int], object]) -> Iterator[BulkAction]:
    for hits in index_io.read_pages(client, old, {"query": MATCH_ALL, "version": True}):
        for hit in hits:
            yield {
                "_op_type": "index", "_index": new, "_id": hit["_id"], "_source": hit["_source"],
                "version": hit["_version"], "version_type": "external", "pipeline": "_none", **_routing(hit),
            }  # fmt: skip
        advance(len(hits))


def _delete_removed(client: OpenSearch, old: str, new: str) -> int:
    """Delete from the copy what is no longer in the original."""
    tally = IngestTally()
    for hits in index_io.read_pages(client, new, {"query": MATCH_ALL, "_source": False}):
        asked = [{"_id": hit["_id"], "_source": False, **_routing(hit)} for hit in hits]
        found = client.mget(index=old, body={"docs": asked})["docs"]
        gone = [hit for hit, answer in zip(hits, found, strict=True) if not answer["found"]]
        actions = [{"_op_type": "delete", "_index": new, "_id": hit["_id"], **_routing(hit)} for hit in gone]
        index_io.write_actions(client, actions, tally, frozenset({404}))
    return tally.written


def _routing(hit: Mapping[str, Any]) -> dict[str, str]:
    return {"routing": hit["_routing"]} if "_routing" in hit else {}


def _check_copy(client: OpenSearch, old: str, new: str, names: VectorFields) -> int:
    """Check that both have as many products and vectors, that a sample is the same, and that a graph answers."""
    pointed = {"exists": {"field": names.vector}}
    counts = [[index_io.count_products(client, name, query) for query in (MATCH_ALL, pointed)] for name in (old, new)]
    random = {"function_score": {"query": MATCH_ALL, "random_score": {}}}
    sample = client.search(index=old, body={"query": random, "size": min(MAX_COMPARED_PRODUCTS, PRODUCTS_PER_PAGE)})[
        "hits"
    ]["hits"]
    asked = [{"_id": hit["_id"], **_routing(hit)} for hit in sample]
    copies = client.mget(index=new, body={"docs": asked})["docs"] if asked else []
    other = [hit["_id"] for hit, copy in zip(sample, copies, strict=True) if copy.get("_source") != hit["_source"]]
    vectors = [hit["_source"][names.name]["vector"] for hit in sample if hit["_source"].get(names.name)]
    knn = {"knn": {names.vector: {"vector": vectors[0], "k": 1}}} if vectors else MATCH_ALL
    answers = client.search(index=new, body={"query": knn, "size": 1, "_source": False})["hits"]["hits"]
    if counts[0] != counts[1] or other or (sample and not answers):
        raise ClusterError(
            f"'{new}' is not the same as '{old}': products and vectors {counts[1]}, wanted {counts[0]}; {len(other)} "
            f"of {len(sample)} compared differ; the alias stays. Run this again, or delete '{new}' first."
        )
    return counts[1][0]
