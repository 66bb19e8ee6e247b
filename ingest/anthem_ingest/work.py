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
from anthem_ingest.actions import PAGE, check_found
from anthem_ingest.ann import make_ann
from anthem_ingest.files import STDIN, documents
from anthem_ingest.follow import Seen, catch_up, checkpoints, follow
from anthem_ingest.ingest import bytes_each, ingest_index, load_documents, prepare, survey
from anthem_ingest.models import switch, to_prune
from anthem_ingest.remove import remove_vectors
from anthem_ingest.report import NOTHING, IngestReport, Survey
from anthem_ingest.slices import Share, ingest_slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opensearchpy import OpenSearch

    from anthem_core.beir import Problem
    from anthem_core.encoder import Encoder
    from anthem_core.errors import ClusterError
    from anthem_ingest.actions import Document
    from anthem_ingest.files import ProductFile
    from anthem_ingest.ingest import Options
    from anthem_ingest.report import DeadLetters

LISTED = 10


@dataclass(frozen=True)
class Work:
    """What an ingest works on, and how."""

    client: OpenSearch
    index: str
    encoder: Encoder
    fields: tuple[str, ...]
    options: Options


@dataclass(frozen=True)
class Steps:
    """What was asked for: a file instead of the index, processes, and what comes when all is written."""

    file: ProductFile | None = None
    slices: int = 1
    beside: bool = False
    prune: bool = False
    ann: bool = False
    interval: float | None = None  # seconds between two looks, None where nothing is to be followed


def run(work: Work, steps: Steps, bundle: str, url: str | None) -> tuple[IngestReport, int]:
    """Do the steps; what came of them, and the number of lines that could not be read."""
    dead = work.options.dead
    bad = BadLines(dead)
    follows = steps.interval is not None and work.client.indices.exists(index=work.index)
    seen = checkpoints(work.client, work.index) if follows else Seen("", {})
    if steps.file:
        report = _from_file(work, steps.file, bad)
    elif steps.slices > 1:
        report = _in_slices(work, bundle, url, steps.slices)
    else:
        report = _from_index(work)
    _afterwards(work, steps, whole=not report.failed + report.conflicts + bad.count)
    if steps.interval is not None:
        report += _follow(work, seen, steps.interval)
    return report, bad.count


class BadLines:
    """Lines of a file that could not be used: the first are shown, all are counted and go to the dead letters."""

    def __init__(self, dead: DeadLetters | None) -> None:
        self.dead = dead
        self.count = 0

    def __call__(self, problem: Problem) -> None:
        """Take note of one."""
        self.count += 1
        if self.dead:
            self.dead.add({"file": problem.file, "line": problem.line, "reason": problem.reason})
        if self.count <= LISTED:
            click.echo(f"skipped {problem}", err=True)


def check_whole(report: IngestReport, bad: int, path: Path) -> None:
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


def _announced(work: Work) -> int:
    """Say what an ingest will cost, and how many products there are."""
    found = survey(work.client, work.index, work.encoder.bundle, work.fields, work.options.names)
    click.echo(found, err=True)
    return found.products


def _from_index(work: Work) -> IngestReport:
    with progress("Encoding", _announced(work)) as advance:
        return ingest_index(
            work.client, work.index, work.encoder, fields=work.fields, advance=advance, options=work.options
        )


def _in_slices(work: Work, bundle: str, url: str | None, processes: int) -> IngestReport:
    options, total = work.options, _announced(work)
    prepare(work.client, work.index, work.encoder.bundle, work.fields, options.names)
    dead = options.dead.path if options.dead else Path(os.devnull)
    dead.unlink(missing_ok=True)  # each process appends
    rate = options.rate / processes if options.rate else None
    share = Share(work.index, bundle, work.fields, options.names, dead, url, rate)
    with progress("Encoding", total) as advance:
        return ingest_slices(share, processes, advance)


def _from_file(work: Work, file: ProductFile, bad: BadLines) -> IngestReport:
    total, products = _looked_at(file, work.fields, bad)
    if total is not None:
        click.echo(Survey(work.index, total, 0, total, bytes_each(work.encoder.bundle)), err=True)
    with progress("Loading", total) as advance:
        return load_documents(
            work.client, work.index, products, work.encoder, fields=work.fields, advance=advance, options=work.options
        )


def _afterwards(work: Work, steps: Steps, *, whole: bool) -> None:
    """Switch to this model, remove the others, make a copy with graphs: what was asked for of these, in this order."""
    beside, prune, ann = steps.beside, steps.prune, steps.ann
    if not whole:
        if beside or prune or ann:
            click.echo("Not all products were written: nothing is switched, pruned or copied. Run again.", err=True)
        return
    client, index, names = work.client, work.index, work.options.names
    if beside:
        switch(client, index, names)
        click.echo(f"{index}: the current vectors are those in {names.name}", err=True)
    if prune:
        old = to_prune(client, index, names)
        with progress("Pruning") as advance:
            tally = remove_vectors(client, index, old, advance, work.options)
        click.echo(f"{index}: {tally.written} products written anew without {', '.join(old) or 'any'}", err=True)
        if tally.failed or tally.again:
            raise PartialError(f"{tally.failed + len(tally.again)} products keep their old vectors: run this again.")
    if ann:
        with progress("Copying") as advance:
            copy = make_ann(client, index, names, advance)
        click.echo(copy, err=True)


def _follow(work: Work, seen: Seen, interval: float) -> IngestReport:
    """Follow until interrupted; what came of it all."""
    total = [NOTHING]

    def tell(news: IngestReport | ClusterError) -> None:
        if not isinstance(news, IngestReport):
            click.echo(f"{news} Trying again.", err=True)
        elif news.written + news.failed:
            total[0] += news
            click.echo(f"{work.index}: {news}", err=True)

    def look(since: Seen) -> tuple[IngestReport, Seen]:
        return catch_up(work.client, work.index, work.encoder, work.fields, work.options, since)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        follow(look, seen, interval, tell)
    except KeyboardInterrupt:
        return total[0]


def _looked_at(file: ProductFile, fields: tuple[str, ...], bad: BadLines) -> tuple[int | None, Iterator[Document]]:
    """Number of products, where it can be known, and the products.

    A file is read twice: a bad one is known before anything is written, and the bar has an end. Of standard input,
    which passes but once, the first page is looked at.
    """
    if file.path != STDIN:
        return check_found(fields, documents(file, bad), file.name), documents(file, lambda _: None)
    products = documents(file, bad)
    page = list(islice(products, PAGE))
    check_found(fields, page, file.name)
    return None, chain(page, products)
