"""The steps of `anthem ingest`, in order: announce the cost, write, switch aliases, prune, copy, follow."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import count_of, progress
from anthem_core.errors import PartialError
from anthem_core.files import is_standard_output
from anthem_core.opensearch.schema import ingested_fields
from anthem_ingest.actions import FieldsWithoutTextError
from anthem_ingest.alias_scope import find_hidden_products
from anthem_ingest.ann import check_copyable, create_ann_copy
from anthem_ingest.conflicts import without_model_object
from anthem_ingest.duplicates import check_product_file
from anthem_ingest.encode import ValueBuilder, choose_signals
from anthem_ingest.follow import ShardCheckpoints, catch_up, find_followed_index, follow_index, read_checkpoints
from anthem_ingest.ingest import bytes_per_value, ingest_index, load_documents, prepare_index, survey_index
from anthem_ingest.load_target import explain_missing_fields, read_load_target
from anthem_ingest.multi_model import check_switch, list_stale_objects, switch_aliases
from anthem_ingest.preparation import keep_record
from anthem_ingest.product_files import make_rereadable
from anthem_ingest.remove import remove_objects
from anthem_ingest.report import EMPTY_REPORT, IndexSurvey, IngestReport, interrupted_report
from anthem_ingest.routing import check_file_routing
from anthem_ingest.slices import SliceTask, ingest_in_slices
from anthem_ingest.stored_objects import check_stored_objects
from anthem_ingest.text_fields import check_first_field, check_products_have_text, check_text_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from opensearchpy import OpenSearch

    from anthem_core.beir import SkippedLine
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.errors import ClusterError
    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.duplicates import CheckedProducts
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.product_files import ProductFile
    from anthem_ingest.report import DeadLetters

MAX_LISTED_LINES = 10  # bad lines that are printed; further ones only go to the dead letters


@dataclass(frozen=True)
class IngestJob:
    """Index and model of an ingest; `bundle_name` and `url` as given, for processes with their own connection.

    `alias` is the name as given, of which `index` may be the write index.
    """

    client: OpenSearch
    index: str
    encoder: Encoder
    text_fields: tuple[str, ...]
    options: IngestOptions
    bundle_name: str
    url: str | None
    alias: str

    @property
    def signals(self) -> tuple[ModelSignal, ...]:
        """Signals whose values are written."""
        return choose_signals(self.encoder.bundle, self.options.signals)


def _no_confirmation(_: IndexSurvey) -> None:
    """Go on without a question."""


@dataclass(frozen=True)
class IngestSteps:
    """Which steps to take.

    Attributes:
        file: Load products from this file instead of updating the index.
        slices: Number of processes that share the index.
        beside: Switch the field aliases to this model when all products are written.
        prune: Then remove the values of all other models.
        ann: Then copy the index to one with HNSW graphs.
        follow_seconds: Then follow the index, with a pass after each interval of this length; None: do not follow.
        on_duplicate: What becomes of several rows of one id: `merge` or `last`; None: the file is refused.
        confirm: Called with what will be written, once everything is checked and before anything is written.
    """

    file: ProductFile | None = None
    slices: int = 1
    beside: bool = False
    prune: bool = False
    ann: bool = False
    follow_seconds: float | None = None
    on_duplicate: str | None = None
    confirm: Callable[[IndexSurvey], object] = _no_confirmation


def run_job(job: IngestJob, steps: IngestSteps) -> tuple[IngestReport, int]:
    """Take the steps; returns the report and the number of lines that could not be read.

    If the index is to be followed, SIGINT and SIGTERM end the job, whatever it is doing, and its report is returned.
    """
    if steps.beside:
        check_switch(job.client, job.index, job.options.model_fields, job.signals)
    if steps.ann:
        check_copyable(job.client, job.index)
    bad_lines = BadLines(job.options.dead_letters)
    if steps.follow_seconds is None:
        return _run_first_pass(job, steps, bad_lines), bad_lines.count
    with _sigterm_as_interrupt():
        return _run_and_follow(job, steps, steps.follow_seconds, bad_lines), bad_lines.count


def _run_and_follow(job: IngestJob, steps: IngestSteps, interval_seconds: float, bad_lines: BadLines) -> IngestReport:
    # Read before writing starts, so that following misses nothing.
    is_present = job.client.indices.exists(index=job.index)
    checkpoints = read_checkpoints(job.client, job.index) if is_present else ShardCheckpoints()
    try:
        report = _run_first_pass(job, steps, bad_lines)
    except KeyboardInterrupt as interrupt:
        click.echo(f"{job.index}: stopped during the first pass; run the command again for the rest", err=True)
        return interrupted_report(interrupt)
    return report + _follow_until_interrupted(job, checkpoints, interval_seconds)


def _run_first_pass(job: IngestJob, steps: IngestSteps, bad_lines: BadLines) -> IngestReport:
    """Write the values of all products, then take the final steps."""
    if steps.file:
        with make_rereadable(steps.file) as file:
            report = _load_file(job, steps, file, bad_lines)
    elif steps.slices > 1:
        report = _ingest_in_slices(job, steps)
    else:
        report = _ingest_index(job, steps)
    _run_final_steps(job, steps, is_complete=not (report.failed or report.conflicts or bad_lines.count))
    return report


class BadLines:
    """Lines of a file that could not be used: all are counted and go to the dead letters, the first are printed."""

    def __init__(self, dead_letters: DeadLetters | None) -> None:
        self.dead_letters = dead_letters
        self.count = 0

    def __call__(self, skipped: SkippedLine) -> None:
        """Record one line."""
        self.count += 1
        if self.dead_letters:
            self.dead_letters.add({"file": skipped.file, "line": skipped.line, "reason": skipped.reason})
        if self.count <= MAX_LISTED_LINES:
            click.echo(f"skipped {skipped}", err=True)


def check_complete(report: IngestReport, bad_lines: int, dead_letter_path: Path) -> None:
    """Check that all products were read and written.

    Raises:
        PartialError: Products could not be written, or lines could not be read.
    """
    if not (report.failed or bad_lines):
        return
    listed = "".join(f"\n  {failure}" for failure in report.failures)
    first = f" The first failures:{listed}" if listed else ""
    place = "Standard output" if is_standard_output(dead_letter_path) else str(dead_letter_path)
    lost = [f"{count_of(report.failed)} could not be written"] if report.failed else []
    lost += [f"{count_of(bad_lines, 'line')} could not be read"] if bad_lines else []
    rest = "all others were written" if report.products > report.failed else "nothing was written"
    raise PartialError(f"{' and '.join(lost)}; {rest}. {place} lists each with the reason.{first}")


def _announce_cost(job: IngestJob, steps: IngestSteps) -> int:
    """Print what the ingest will cost, and ask if it has to be confirmed; returns the number of products."""
    survey = survey_index(job.client, job.index, job.encoder.bundle, text_fields=job.text_fields, options=job.options)
    if hidden := find_hidden_products(job.client, job.index):
        click.echo(hidden.describe("which are not ingested", "anthem ingest"), err=True)
    click.echo(survey, err=True)
    steps.confirm(survey)
    return survey.products


def _ingest_index(job: IngestJob, steps: IngestSteps) -> IngestReport:
    with progress("Encoding", _announce_cost(job, steps)) as advance:
        return ingest_index(
            job.client, job.index, job.encoder, text_fields=job.text_fields, advance=advance, options=job.options
        )


def _ingest_in_slices(job: IngestJob, steps: IngestSteps) -> IngestReport:
    options, processes = job.options, steps.slices
    products = _announce_cost(job, steps)
    prepare_index(job.client, job.index, job.encoder.bundle, text_fields=job.text_fields, options=options)
    dead_letters = options.dead_letters.path if options.dead_letters else Path(os.devnull)
    # Each process appends; a device such as /dev/null is never removed.
    if dead_letters.is_file() and not is_standard_output(dead_letters):
        dead_letters.unlink()
    rate = options.rate / processes if options.rate else None
    fields, signals = options.model_fields, job.signals
    task = SliceTask(job.index, job.bundle_name, job.text_fields, fields, signals, dead_letters, job.url, rate)
    with progress("Encoding", products) as advance:
        report = ingest_in_slices(task, processes, advance)
    keep_record(job.client, job.index, job.encoder.bundle, job.text_fields, options)
    return report


def _load_file(job: IngestJob, steps: IngestSteps, file: ProductFile, bad_lines: BadLines) -> IngestReport:
    index = read_load_target(job.client, job.index)
    if index:
        check_first_field(index, job.text_fields)
        check_stored_objects(job.client, index, job.options.model_fields)
    check = partial(_check_documents, job, index.mappings.get("properties", {}) if index else ())
    is_partial = job.options.partial and index is not None
    recorded = (index and ingested_fields(index.mappings, job.options.model_fields.name)) or ()
    try:
        checked = check_product_file(
            file, job.text_fields, bad_lines, steps.on_duplicate, check, partial=is_partial, recorded=recorded
        )
    except FieldsWithoutTextError as error:
        raise explain_missing_fields(error, job.index, recorded) from error
    if index and is_partial and checked.missing_fields:
        check_text_fields(index, checked.missing_fields)
        check_products_have_text(
            job.client, job.index, index.mappings, checked.missing_fields, job.options.model_fields
        )
    _announce_load(job, file, checked, is_new=index is None, confirm=steps.confirm)
    with progress("Loading", checked.total) as advance:
        return load_documents(
            job.client,
            job.index,
            checked.documents,
            job.encoder,
            text_fields=job.text_fields,
            advance=advance,
            options=job.options,
        )


def _announce_load(
    job: IngestJob,
    file: ProductFile,
    checked: CheckedProducts,
    *,
    is_new: bool,
    confirm: Callable[[IndexSurvey], object],
) -> None:
    """Print what is odd about a file and what loading it will cost, and ask if it has to be confirmed."""
    for oddity in checked.describe_oddities():
        click.echo(f"{file.name}: {oddity}", err=True)
    missing = dict.fromkeys(job.signals, checked.total)
    sizes = bytes_per_value(job.encoder.bundle)
    survey = IndexSurvey(job.index, checked.total, 0, missing, sizes, is_new=is_new, file=file.name)
    click.echo(survey, err=True)
    confirm(survey)


def _check_documents(
    job: IngestJob, taken: Collection[str], documents: Iterable[ProductDocument]
) -> Iterator[ProductDocument]:
    """The documents of a file, checked before anything is written: none hides a field, and each routing is known."""
    kept = without_model_object(documents, job.options.model_fields.name, job.index, taken)
    return check_file_routing(job.client, job.index, kept)


def _run_final_steps(job: IngestJob, steps: IngestSteps, *, is_complete: bool) -> None:
    """Switch to this model, remove the others, copy the index with graphs: those that were requested, in this order."""
    if not is_complete:
        if steps.beside or steps.prune or steps.ann:
            click.echo("Not all products were written: nothing is switched, pruned or copied. Run it again.", err=True)
        return
    model_fields = job.options.model_fields
    if steps.beside:
        switch_aliases(job.client, job.index, ValueBuilder(job.encoder, job.signals, job.text_fields, model_fields))
        click.echo(f"{job.index}: the current values are those in {model_fields.name}", err=True)
    if steps.prune:
        _prune(job)
    if steps.ann:
        with progress("Copying") as advance:
            copy = create_ann_copy(job.client, job.index, model_fields, advance)
        click.echo(copy, err=True)


def _prune(job: IngestJob) -> None:
    stale = list_stale_objects(job.client, job.index, job.options.model_fields)
    with progress("Pruning") as advance:
        tally = remove_objects(job.client, job.index, stale, advance, job.options)
    if stale and (hidden := find_hidden_products(job.client, job.index)):
        click.echo(hidden.describe("which keep their old values", "anthem ingest --prune"), err=True)
    names = ", ".join(stale) or "any other values"
    click.echo(f"{job.index}: {count_of(tally.written)} rewritten without {names}", err=True)
    if tally.failed or tally.retry_ids:
        kept = count_of(tally.failed + len(tally.retry_ids))
        raise PartialError(f"{kept} not rewritten, because of failures or changes. Run this again.")


def _follow_until_interrupted(job: IngestJob, checkpoints: ShardCheckpoints, interval_seconds: float) -> IngestReport:
    """Follow the index until SIGINT or SIGTERM; returns the total of all passes."""
    total = EMPTY_REPORT

    def notify(outcome: IngestReport | ClusterError) -> None:
        nonlocal total
        if not isinstance(outcome, IngestReport):
            click.echo(f"{outcome} Trying again.", err=True)
        elif outcome.written + outcome.written_without_values + outcome.failed:
            total += outcome
            click.echo(f"{job.index}: {outcome}", err=True)

    followed = find_followed_index(job.client, job.alias)

    def run_pass(last: ShardCheckpoints) -> tuple[IngestReport, ShardCheckpoints]:
        nonlocal followed
        report, index = EMPTY_REPORT, find_followed_index(job.client, job.alias)
        if index != followed and job.client.indices.exists(index=followed):
            # Rolled over: the last products of the former index come before all of the new one.
            report, last = catch_up(job.client, followed, job.encoder, job.text_fields, job.options, last)
        followed = index
        more, last = catch_up(job.client, followed, job.encoder, job.text_fields, job.options, last)
        return report + more, last

    try:
        follow_index(run_pass, checkpoints, interval_seconds, notify)
    except KeyboardInterrupt as interrupt:
        return total + interrupted_report(interrupt)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as SIGINT does; the previous handler is restored at the end."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
