"""Keeps an index current: what was written since the last look is read, and gets its vector where that is due.

OpenSearch numbers the writes to each shard. All up to the shard's global checkpoint are there and stay, so a look reads
the products whose number lies between two checkpoints: a feed that indexes whole documents and so erases vectors, a
partial update of a title and a new product are found alike, whatever the size of the index.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.encode import VectorBuilder
from anthem_ingest.ingest import update_vectors
from anthem_ingest.report import IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_ingest.actions import IndexHit
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.report import IngestReport


@dataclass(frozen=True, slots=True)
class ShardCheckpoints:
    """How far an index has been read: the number of the last write to each shard, and which index it was."""

    uuid: str
    shards: dict[str, int]


@cluster_errors()
def read_checkpoints(client: OpenSearch, index: str) -> ShardCheckpoints:
    """Global checkpoint of each shard, as its primary knows it.

    Raises:
        ClusterError: A shard has no primary, or the cluster refuses.
    """
    ((_, found),) = client.indices.stats(index=index, metric="docs", level="shards")["indices"].items()
    primaries = {
        shard: copy["seq_no"]["global_checkpoint"]
        for shard, copies in found["shards"].items()
        for copy in copies
        if copy["routing"]["primary"]
    }
    if len(primaries) < len(found["shards"]):
        raise ClusterError(f"Index '{index}' has a shard without a primary; look at GET _cat/shards/{index}")
    return ShardCheckpoints(found["uuid"], primaries)


@cluster_errors()
def catch_up(
    client: OpenSearch,
    index: str,
    encoder: Encoder,
    fields: Sequence[str],
    options: IngestOptions,
    seen: ShardCheckpoints,
) -> tuple[IngestReport, ShardCheckpoints]:
    """Give vectors to the products written since an index was seen, all where it is another now; how far that was.

    Raises:
        ClusterError: The cluster refuses or does not answer.
    """
    now = read_checkpoints(client, index)
    before = seen.shards if seen.uuid == now.uuid else {}
    recipe, tally = VectorBuilder(encoder, tuple(fields), options.names), IngestTally(dead=options.dead)
    due = {shard: before.get(shard, -1) for shard, last in now.shards.items() if last > before.get(shard, -1)}
    if due:
        index_io.refresh_index(client, index)
        update_vectors(client, index, recipe, tally, rate=options.rate, pages=_read_changes(client, index, recipe, due))
    return tally.report(), now


def _read_changes(
    client: OpenSearch, index: str, recipe: VectorBuilder, since: dict[str, int]
) -> Iterator[list[IndexHit]]:
    for shard, number in since.items():
        part = index_io.ReadScope({"range": {"_seq_no": {"gt": number}}}, preference=f"_shards:{shard}|_primary")
        yield from index_io.read_product_pages(client, index, recipe.fields, recipe.names, part)


def follow_index(
    look: Callable[[ShardCheckpoints], tuple[IngestReport, ShardCheckpoints]],
    seen: ShardCheckpoints,
    interval: float,
    tell: Callable[[IngestReport | ClusterError], object],
) -> NoReturn:
    """Look again and again, `interval` seconds apart, until interrupted; a cluster that is away is waited for."""
    while True:
        time.sleep(interval)
        try:
            report, seen = look(seen)
        except ClusterError as error:
            tell(error)
        else:
            tell(report)
