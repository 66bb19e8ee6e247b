"""One index, read in slices by several processes: each has an encoder and a connection of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_ingest import index_io
from anthem_ingest.encode import VectorBuilder
from anthem_ingest.ingest import update_vectors
from anthem_ingest.report import EMPTY_REPORT, DeadLetters, IngestReport, IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anthem_core.opensearch.schema import VectorFields

SLICES_PER_PROCESS = 4  # slices a process, so that the bar moves and no process waits long for the last


@dataclass(frozen=True, slots=True)
class SliceTask:
    """What a process has to know, as it can be sent to one."""

    index: str
    bundle: str
    fields: tuple[str, ...]
    names: VectorFields
    dead: Path
    url: str | None = None
    rate: float | None = None


def ingest_in_slices(share: SliceTask, processes: int, advance: Callable[[int], object]) -> IngestReport:
    """Give an index, which has the mapping, its vectors by several processes; `advance` is told of each slice.

    Raises:
        ClusterError: The cluster refuses or does not answer.
    """
    number = SLICES_PER_PROCESS * processes
    report = EMPTY_REPORT
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(ingest_slice, share, part, number) for part in range(number)]
        try:
            for future in as_completed(futures):
                done = future.result()
                advance(done.written + done.skipped + done.empty + done.failed + done.conflicts)
                report += done
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return report


@cluster_errors()
def ingest_slice(share: SliceTask, part: int, number: int) -> IngestReport:
    """Give one of `number` slices of an index its vectors."""
    recipe = VectorBuilder(_load_encoder(share.bundle), share.fields, share.names)
    tally = IngestTally(dead=DeadLetters(share.dead, append=True))
    with connect(share.url, credentials=True) as client:
        pages = index_io.read_product_pages(
            client, share.index, share.fields, share.names, index_io.ReadScope(slice=(part, number))
        )
        update_vectors(client, share.index, recipe, tally, rate=share.rate, pages=pages)
    return tally.report()


@lru_cache(maxsize=1)
def _load_encoder(bundle: str) -> Encoder:
    return Encoder(load_bundle(bundle))
