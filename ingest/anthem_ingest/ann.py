"""A copy of an index with HNSW graphs for its vectors, and the alias moved to it: the Python side of `--ann`.

Copies carry the version of the original, so a pass over both writes only what has changed since the one before, and a
copy that was interrupted goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.cluster import explained
from anthem_core.errors import ClusterError
from anthem_ingest import send
from anthem_ingest.actions import ALL, PAGE
from anthem_ingest.ingest import unwatched
from anthem_ingest.mapping import METHOD, check_source, objects, only_index
from anthem_ingest.report import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.fields import Fields
    from anthem_ingest.actions import Action
    from anthem_ingest.mapping import Index

SAMPLE = 200  # products compared before the alias moves
PASSES = 10
# What an index has by itself, or because of how it came to be.
_OWN = ("creation_date", "uuid", "provided_name", "version", "blocks", "resize", "routing", "history", "knn")


@dataclass(frozen=True, slots=True)
class Copy:
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


def ann_body(index: Index) -> dict[str, Any]:
    """Body of the new index: settings and mapping of the old, with `l2` HNSW of the Lucene engine for our vectors."""
    settings = {key: value for key, value in index.settings.items() if key not in _OWN} | {"knn": True}
    properties = dict(index.mappings.get("properties", {}))
    for name in objects(index.mappings):
        fields = properties[name]["properties"]
        vector = {"type": "knn_vector", "dimension": fields["vector"]["dimension"], "method": METHOD}
        properties[name] = {**properties[name], "properties": {**fields, "vector": vector}}
    return {"settings": {"index": settings}, "mappings": {**index.mappings, "properties": properties}}


@explained()
def make_ann(client: OpenSearch, index: str, names: Fields, advance: Callable[[int], object] = unwatched) -> Copy:
    """Copy an index into `<its name>-ann` with graphs, check count and sample, and move all its aliases there.

    Raises:
        ClusterError: The index has graphs already, a product cannot be copied, or the copy is not the same.
    """
    old = only_index(client.indices.get(index=index), index)
    check_source(old)
    if old.knn:
        raise ClusterError(f"Index '{old.name}' is made for vectors already (index.knn); nothing was done.")
    new = f"{old.name}-ann"
    if not client.indices.exists(index=new):
        client.indices.create(index=new, body=ann_body(old))
    _copy_all(client, old.name, new, advance)
    number = _check_same(client, old.name, new, names)
    aliases = client.indices.get_alias(index=old.name)[old.name]["aliases"]
    if aliases:
        client.indices.update_aliases(body={"actions": _moved(aliases, old.name, new)})
        _copy(client, old.name, new)  # what was written while the alias moved
        send.refresh(client, new)
    return Copy(new, old.name, number, tuple(sorted(aliases)))


def _moved(aliases: Mapping[str, Mapping[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    gone = [{"remove": {"index": old, "alias": name}} for name in aliases]
    return gone + [{"add": {"index": new, "alias": name, **how}} for name, how in aliases.items()]


def _copy_all(client: OpenSearch, old: str, new: str, advance: Callable[[int], object]) -> None:
    """Pass over both until nothing has changed in between."""
    for number in range(PASSES):
        send.refresh(client, old)
        changed = _copy(client, old, new, advance if number == 0 else unwatched) + _delete_gone(client, old, new)
        send.refresh(client, new)
        if not changed:
            return
    raise ClusterError(
        f"'{old}' changed during each of {PASSES} passes; the alias stays. Pause the feed and run this again: "
        "the copy goes on where it is."
    )


def _copy(client: OpenSearch, old: str, new: str, advance: Callable[[int], object] = unwatched) -> int:
    """Copy products that the copy has not, or not in this version; how many there were."""
    tally = Tally()
    send.write(client, _copies(client, old, new, advance), tally, frozenset({409}))
    if tally.failed:
        raise ClusterError(f"{tally.failed} products cannot be copied to '{new}': {tally.failures[0]}")
    return tally.written


def _copies(client: OpenSearch, old: str, new: str, advance: Callable[[int], object]) -> Iterator[Action]:
    for hits in send.read(client, old, {"query": ALL, "version": True}):
        for hit in hits:
            yield {
                "_op_type": "index", "_index": new, "_id": hit["_id"], "_source": hit["_source"],
                "version": hit["_version"], "version_type": "external", "pipeline": "_none", **_routing(hit),
            }  # fmt: skip
        advance(len(hits))


def _delete_gone(client: OpenSearch, old: str, new: str) -> int:
    """Delete from the copy what is no longer in the original."""
    tally = Tally()
    for hits in send.read(client, new, {"query": ALL, "_source": False}):
        asked = [{"_id": hit["_id"], "_source": False, **_routing(hit)} for hit in hits]
        found = client.mget(index=old, body={"docs": asked})["docs"]
        gone = [hit for hit, answer in zip(hits, found, strict=True) if not answer["found"]]
        actions = [{"_op_type": "delete", "_index": new, "_id": hit["_id"], **_routing(hit)} for hit in gone]
        send.write(client, actions, tally, frozenset({404}))
    return tally.written


def _routing(hit: Mapping[str, Any]) -> dict[str, str]:
    return {"routing": hit["_routing"]} if "_routing" in hit else {}


def _check_same(client: OpenSearch, old: str, new: str, names: Fields) -> int:
    """Check that both have as many products and vectors, that a sample is the same, and that a graph answers."""
    pointed = {"exists": {"field": names.vector}}
    counts = [[send.count(client, name, query) for query in (ALL, pointed)] for name in (old, new)]
    random = {"function_score": {"query": ALL, "random_score": {}}}
    sample = client.search(index=old, body={"query": random, "size": min(SAMPLE, PAGE)})["hits"]["hits"]
    asked = [{"_id": hit["_id"], **_routing(hit)} for hit in sample]
    copies = client.mget(index=new, body={"docs": asked})["docs"] if asked else []
    other = [hit["_id"] for hit, copy in zip(sample, copies, strict=True) if copy.get("_source") != hit["_source"]]
    vectors = [hit["_source"][names.name]["vector"] for hit in sample if hit["_source"].get(names.name)]
    knn = {"knn": {names.vector: {"vector": vectors[0], "k": 1}}} if vectors else ALL
    answers = client.search(index=new, body={"query": knn, "size": 1, "_source": False})["hits"]["hits"]
    if counts[0] != counts[1] or other or (sample and not answers):
        raise ClusterError(
            f"'{new}' is not the same as '{old}': products and vectors {counts[1]}, wanted {counts[0]}; {len(other)} "
            f"of {len(sample)} compared differ; the alias stays. Run this again, or delete '{new}' first."
        )
    return counts[1][0]
