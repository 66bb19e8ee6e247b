"""Ingests one index with several processes, each reading some slices with its own encoder and connection."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_ingest import index_io
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.ingest import update_values
from anthem_ingest.report import EMPTY_REPORT, DeadLetters, IngestReport, IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anthem_core.opensearch.schema import ModelFields, ModelSignal

SLICES_PER_PROCESS = 4  # so that the progress bar moves and no process waits long for the last one


@dataclass(frozen=True, slots=True)
class SliceTask:
    """Everything a process needs to ingest slices; can be pickled.

    Attributes:
        index: Name of the index, which already has the fields of the values.
        bundle_name: Folder or name of the bundle.
        text_fields: Fields of the product text.
        model_fields: Where the index holds the values.
        signals: Signals whose values are written.
        dead_letters: File that failures are appended to.
        url: Address of the cluster, see `connect`.
        rate: Products written per second by each process, at most.
    """

    index: str
    bundle_name: str
    text_fields: tuple[str, ...]
    model_fields: ModelFields
    signals: tuple[ModelSignal, ...]
    dead_letters: Path
    url: str | None = None
    rate: float | None = None


def ingest_in_slices(task: SliceTask, processes: int, advance: Callable[[int], object]) -> IngestReport:
    """Add values to the products of an index, with several processes.

    `advance` is called with the number of products of each slice.

    Raises:
        ClusterError: The cluster refuses or does not answer.
    """
    slices = SLICES_PER_PROCESS * processes
    total = EMPTY_REPORT
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(ingest_slice, task, number, slices) for number in range(slices)]
        try:
            for future in as_completed(futures):
                report = future.result()
                advance(report.products)
                total += report
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return total


@cluster_errors()
def ingest_slice(task: SliceTask, number: int, slices: int) -> IngestReport:
    """Give the products of one of `slices` slices their values."""
    builder = ValueBuilder(_load_encoder(task.bundle_name), task.signals, task.text_fields, task.model_fields)
    with (
        closing(DeadLetters(task.dead_letters, append=True)) as dead_letters,
        connect(task.url, credentials=True) as client,
    ):
        tally = IngestTally(dead_letters=dead_letters)
        scope = index_io.ReadScope(slice=(number, slices))
        pages = index_io.read_product_pages(client, task.index, task.text_fields, task.model_fields, scope)
        update_values(client, task.index, builder, tally, rate=task.rate, pages=pages)
    return tally.report()


@lru_cache(maxsize=1)  # a process loads the encoder once, for all its slices
def _load_encoder(bundle_name: str) -> Encoder:
    return Encoder(load_bundle(bundle_name))
