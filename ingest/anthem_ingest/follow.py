"""Keeps an index current: each pass reads the products written since the last one, and adds the values they need.

OpenSearch numbers the writes to each shard, and a shard never loses a write up to its global checkpoint. A pass reads
the products whose sequence number lies between two checkpoints, whatever the size of the index. This finds new
products, changed titles, and whole documents from a feed that erased the values.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.ingest import make_builder, prepare_index, update_values
from anthem_ingest.mapping import choose_write_index, parse_single_index
from anthem_ingest.report import IngestTally, keep_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_ingest.actions import IndexHit
    from anthem_ingest.encode import ValueBuilder
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.report import IngestReport

_NO_CHECKPOINT = -1  # below the first sequence number


@dataclass(frozen=True, slots=True)
class ShardCheckpoints:
    """How far an index has been read: its UUID, and the last sequence number that was read of each shard."""

    uuid: str = ""
    shards: dict[str, int] = field(default_factory=dict)


@cluster_errors()
def read_checkpoints(client: OpenSearch, index: str) -> ShardCheckpoints:
    """Global checkpoint of each shard of an index, as its primary knows it.

    Raises:
        ClusterError: A shard has no primary, no shard answers, or the cluster refuses.
    """
    found = client.indices.stats(index=index, metric="docs", level="shards")["indices"]
    if len(found) != 1:  # the statistics leave out shards that are not assigned, and an index that has no others
        raise ClusterError(f"No shard of index '{index}' answers; see GET _cat/shards/{index}")
    (stats,) = found.values()
    primaries = {
        shard: copy["seq_no"]["global_checkpoint"]
        for shard, copies in stats["shards"].items()
        for copy in copies
        if copy["routing"]["primary"] and "seq_no" in copy  # a shard that starts has none yet
    }
    if len(primaries) < len(stats["shards"]):
        raise ClusterError(f"Index '{index}' has a shard without a primary; see GET _cat/shards/{index}")
    return ShardCheckpoints(stats["uuid"], primaries)


@cluster_errors()
def find_followed_index(client: OpenSearch, name: str) -> str:
    """The index that new products of a name are written to: an alias leads to another one after each rollover.

    An alias that filters or routes is followed by its own name.

    Raises:
        ClusterError: The name has several indices and none of them is the write index, or the cluster refuses.
    """
    response = index_io.describe_index(client, name) or {}
    index = choose_write_index(response, name)
    if index != name or not response:
        return index
    only = parse_single_index(response, name)
    return name if only.aliases.get(name, {}).keys() & {"filter", "index_routing", "search_routing"} else only.name


@cluster_errors()
def catch_up(
    client: OpenSearch,
    index: str,
    encoder: Encoder,
    text_fields: Sequence[str],
    options: IngestOptions,
    last: ShardCheckpoints,
) -> tuple[IngestReport, ShardCheckpoints]:
    """Add values to the products written since the last pass; returns the report and how far it read.

    All products are read if the index has been created again since.

    Raises:
        ClusterError: The cluster refuses or does not answer, or a shard that was read before does not answer.
    """
    builder = make_builder(encoder, text_fields, options)
    tally = IngestTally(dead_letters=options.dead_letters)
    current = read_checkpoints(client, index)
    if last.uuid != current.uuid:
        prepare_index(client, index, encoder.bundle, text_fields=text_fields, options=options)
        last = ShardCheckpoints(current.uuid)
    if silent := sorted(last.shards.keys() - current.shards.keys()):
        # The statistics leave out a shard that fails now. Without its checkpoint, all of it would be read again.
        raise ClusterError(f"Shard {', '.join(silent)} of index '{index}' does not answer; the next pass reads on.")
    read_until = {shard: last.shards.get(shard, _NO_CHECKPOINT) for shard in current.shards}
    changed = {shard: number for shard, number in read_until.items() if current.shards[shard] > number}
    if changed:
        index_io.refresh_index(client, index)
        pages = _read_changes(client, index, builder, changed)
        with keep_counts(tally):
            update_values(client, index, builder, tally, rate=options.rate, pages=pages)
    return tally.report(), current


def _read_changes(
    client: OpenSearch, index: str, builder: ValueBuilder, read_until: dict[str, int]
) -> Iterator[list[IndexHit]]:
    for shard, number in read_until.items():
        scope = index_io.ReadScope({"range": {"_seq_no": {"gt": number}}}, preference=f"_shards:{shard}|_primary")
        yield from index_io.read_product_pages(client, index, builder.text_fields, builder.model_fields, scope)


def follow_index(
    run_pass: Callable[[ShardCheckpoints], tuple[IngestReport, ShardCheckpoints]],
    last: ShardCheckpoints,
    interval_seconds: float,
    notify: Callable[[IngestReport | ClusterError], object],
) -> NoReturn:
    """Run a pass after every interval until interrupted; `notify` gets each report, or the error if a pass fails."""
    while True:
        time.sleep(interval_seconds)
        try:
            report, last = run_pass(last)
        except ClusterError as error:
            notify(error)
        else:
            notify(report)
