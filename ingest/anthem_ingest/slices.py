"""Ingests one index with several processes, each reading some slices with its own encoder and connection."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from anthem_core.cores import usable_cores
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.files import remove_if_empty
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_ingest import index_io
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.ingest import update_values
from anthem_ingest.report import EMPTY_REPORT, DeadLetters, IngestReport, IngestTally
from anthem_ingest.worker_processes import run_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anthem_core.opensearch.schema import ModelFields, ModelSignal

SLICES_PER_PROCESS = 4  # so that the progress bar moves and no process waits long for the last one
MAX_PROCESSES_PER_CORE = 4  # more gain nothing: encoding keeps a core busy
MAX_PROCESSES = 256  # with four slices each, as many slices as OpenSearch divides a search into


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
    """Add values to the products of an index, with several processes, which never outlive this one.

    `advance` is called with the number of products of each slice.

    Raises:
        AnthemError: The error of a process, such as a ClusterError; or a process was killed.
    """
    slices = SLICES_PER_PROCESS * processes
    total, started = EMPTY_REPORT, time.perf_counter()
    try:
        with closing(run_in_processes(partial(ingest_slice, task, slices), range(slices), processes)) as reports:
            for report in reports:
                advance(report.products)
                total += report
    finally:
        remove_if_empty(task.dead_letters)  # on a full disk, a process could not write its first line
    return replace(total, seconds=time.perf_counter() - started)  # slices run at the same time


def check_processes(processes: int) -> None:
    """Check that a number of processes suits this machine.

    Raises:
        ValueError: It is more than `MAX_PROCESSES_PER_CORE` for each core.
    """
    cores = usable_cores()
    limit = min(MAX_PROCESSES, MAX_PROCESSES_PER_CORE * cores)
    if processes > limit:
        raise ValueError(
            f"found {processes}, expected at most {limit}: each process needs a core and about 200 MB, and this "
            f"machine offers {cores} {'core' if cores == 1 else 'cores'}. A sensible number is {cores}."
        )


@cluster_errors()
def ingest_slice(task: SliceTask, slices: int, number: int) -> IngestReport:
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
