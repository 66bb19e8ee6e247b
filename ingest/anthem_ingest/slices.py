"""One index, read in slices by several processes: each has an encoder and a connection of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

from anthem_core.bundle import load
from anthem_core.cluster import connect, explained
from anthem_core.encoder import Encoder
from anthem_ingest import send
from anthem_ingest.encode import Recipe
from anthem_ingest.ingest import update
from anthem_ingest.report import NOTHING, DeadLetters, IngestReport, Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anthem_core.fields import Fields

EACH = 4  # slices a process, so that the bar moves and no process waits long for the last


@dataclass(frozen=True, slots=True)
class Share:
    """What a process has to know, as it can be sent to one."""

    index: str
    bundle: str
    fields: tuple[str, ...]
    names: Fields
    dead: Path
    url: str | None = None
    rate: float | None = None


def ingest_slices(share: Share, processes: int, advance: Callable[[int], object]) -> IngestReport:
    """Give an index, which has the mapping, its vectors by several processes; `advance` is told of each slice.

    Raises:
        ClusterError: The cluster refuses or does not answer.
    """
    number = EACH * processes
    report = NOTHING
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


@explained()
def ingest_slice(share: Share, part: int, number: int) -> IngestReport:
    """Give one of `number` slices of an index its vectors."""
    recipe = Recipe(_encoder(share.bundle), share.fields, share.names)
    tally = Tally(dead=DeadLetters(share.dead, append=True))
    with connect(share.url, credentials=True) as client:
        pages = send.pages(client, share.index, share.fields, share.names, send.Part(slice=(part, number)))
        update(client, share.index, recipe, tally, rate=share.rate, pages=pages)
    return tally.report()


@lru_cache(maxsize=1)
def _encoder(bundle: str) -> Encoder:
    return Encoder(load(bundle))
