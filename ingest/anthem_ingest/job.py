"""What `anthem ingest` does, step by step: says the cost, writes, switches, prunes, copies, follows."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import progress
from anthem_core.errors import PartialError
from anthem_ingest.actions import PRODUCTS_PER_PAGE, check_fields_have_text
from anthem_ingest.ann import create_ann_copy
from anthem_ingest.follow import ShardCheckpoints, catch_up, follow_index, read_checkpoints
from anthem_ingest.ingest import bytes_per_vector, ingest_index, load_documents, prepare_index, survey_index
from anthem_ingest.multi_model import list_stale_objects, switch_aliases
from anthem_ingest.product_files import STDIN_PATH, read_product_file
from anthem_ingest.remove import remove_vectors
from anthem_ingest.report import EMPTY_REPORT, IndexSurvey, IngestReport
from anthem_ingest.slices import SliceTask, ingest_in_slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opensearchpy import OpenSearch

    from anthem_core.beir import SkippedLine
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.errors import ClusterError
    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.product_files import ProductFile
    from anthem_ingest.report import DeadLetters

MAX_LISTED_LINES = 10


@dataclass(frozen=True)
class IngestJob:
    """What an ingest works on, and how."""

    client: OpenSearch
    index: str
    encoder: Encoder
    fields: tuple[str, ...]
    options: IngestOptions


@dataclass(frozen=True)
class IngestSteps:
    """What was asked for: a file instead of the index, processes, and what comes when all is written."""

    file: ProductFile | None = None
    slices: int = 1
    beside: bool = False
    prune: bool = False
    ann: bool = False
    interval: float | None = None  # seconds between two looks, None where nothing is to be followed


def run_job(work: IngestJob, steps: IngestSteps, bundle: str, url: str | None) -> tuple[IngestReport, int]:
    """Do the steps; what came of them, and the number of lines that could not be read."""
    dead = work.options.dead
    bad = BadLines(dead)
    follows = steps.interval is not None and work.client.indices.exists(index=work.index)
    seen = read_checkpoints(work.client, work.index) if follows else ShardCheckpoints("", {})
    if steps.file:
        report = _load_file(work, steps.file, bad)
    elif steps.slices > 1:
        report = _ingest_in_slices(work, bundle, url, steps.slices)
    else:
        report = _ingest_index(work)
    _run_final_steps(work, steps, whole=not report.failed + report.conflicts + bad.count)
    if steps.interval is not None:
        report += _follow_until_interrupted(work, seen, steps.interval)
    return report, bad.count


class BadLines:
    """Lines of a file that could not be used: the first are shown, all are counted and go to the dead letters."""

    def __init__(self, dead: DeadLetters | None) -> None:
        self.dead = dead
        self.count = 0

    def __call__(self, problem: SkippedLine) -> None:
        """Take note of one."""
        self.count += 1
        if self.dead:
            self.dead.add({"file": problem.file, "line": problem.line, "reason": problem.reason})
        if self.count <= MAX_LISTED_LINES:
            click.echo(f"skipped {problem}", err=True)


def check_complete(report: IngestReport, bad: int, path: Path) -> None:
    """End in exit code 8 where something is missing.

    Raises:
        PartialError: Products could not be written, or lines could not be read.
    """
    if not (report.failed or bad):
        return
    listed = "".join(f"\n  {failure}" for failure in report.failures)
    first = f" The first that failed:{listed}" if listed else ""
    raise PartialError(
        f"{report.failed} products could not be written, {bad} lines could not be read; all others were. "
        f"{path} names each with the reason.{first}"
    )


def _announce_cost(work: IngestJob) -> int:
    """Say what an ingest will cost, and how many products there are."""
    found = survey_index(work.client, work.index, work.encoder.bundle, work.fields, work.options.names)
    click.echo(found, err=True)
    return found.products


def _ingest_index(work: IngestJob) -> IngestReport:
    with progress("Encoding", _announce_cost(work)) as advance:
        return ingest_index(
            work.client, work.index, work.encoder, fields=work.fields, advance=advance, options=work.options
        )


def _ingest_in_slices(work: IngestJob, bundle: str, url: str | None, processes: int) -> IngestReport:
    options, total = work.options, _announce_cost(work)
    prepare_index(work.client, work.index, work.encoder.bundle, work.fields, options.names)
    dead = options.dead.path if options.dead else Path(os.devnull)
    dead.unlink(missing_ok=True)  # each process appends
    rate = options.rate / processes if options.rate else None
    share = SliceTask(work.index, bundle, work.fields, options.names, dead, url, rate)
    with progress("Encoding", total) as advance:
        return ingest_in_slices(share, processes, advance)


def _load_file(work: IngestJob, file: ProductFile, bad: BadLines) -> IngestReport:
    total, products = _check_products(file, work.fields, bad)
    if total is not None:
        click.echo(IndexSurvey(work.index, total, 0, total, bytes_per_vector(work.encoder.bundle)), err=True)
    with progress("Loading", total) as advance:
        return load_documents(
            work.client, work.index, products, work.encoder, fields=work.fields, advance=advance, options=work.options
        )


def _run_final_steps(work: IngestJob, steps: IngestSteps, *, whole: bool) -> None:
    """Switch to this model, remove the others, make a copy with graphs: what was asked for of these, in this order."""
    beside, prune, ann = steps.beside, steps.prune, steps.ann
    if not whole:
        if beside or prune or ann:
            click.echo("Not all products were written: nothing is switched, pruned or copied. Run again.", err=True)
        return
    client, index, names = work.client, work.index, work.options.names
    if beside:
        switch_aliases(client, index, names)
        click.echo(f"{index}: the current vectors are those in {names.name}", err=True)
    if prune:
        old = list_stale_objects(client, index, names)
        with progress("Pruning") as advance:
            tally = remove_vectors(client, index, old, advance, work.options)
        click.echo(f"{index}: {tally.written} products written anew without {', '.join(old) or 'any'}", err=True)
        if tally.failed or tally.again:
            raise PartialError(f"{tally.failed + len(tally.again)} products keep their old vectors: run this again.")
    if ann:
        with progress("Copying") as advance:
            copy = create_ann_copy(client, index, names, advance)
        click.echo(copy, err=True)


def _follow_until_interrupted(work: IngestJob, seen: ShardCheckpoints, interval: float) -> IngestReport:
    """Follow until interrupted; what came of it all."""
    total = [EMPTY_REPORT]

    def tell(news: IngestReport | ClusterError) -> None:
        if not isinstance(news, IngestReport):
            click.echo(f"{news} Trying again.", err=True)
        elif news.written + news.failed:
            total[0] += news
            click.echo(f"{work.index}: {news}", err=True)

    def look(since: ShardCheckpoints) -> tuple[IngestReport, ShardCheckpoints]:
        return catch_up(work.client, work.index, work.encoder, work.fields, work.options, since)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        follow_index(look, seen, interval, tell)
    except KeyboardInterrupt:
        return total[0]


def _check_products(
    file: ProductFile, fields: tuple[str, ...], bad: BadLines
) -> tuple[int | None, Iterator[ProductDocument]]:
    """Number of products, where it can be known, and the products.

    A file is read twice: a bad one is known before anything is written, and the bar has an end. Of standard input,
    which passes but once, the first page is looked at.
    """
    if file.path != STDIN_PATH:
        return check_fields_have_text(fields, read_product_file(file, bad), file.name), read_product_file(
            file, lambda _: None
        )
    products = read_product_file(file, bad)
    page = list(islice(products, PRODUCTS_PER_PAGE))
    check_fields_have_text(fields, page, file.name)
    return None, chain(page, products)
