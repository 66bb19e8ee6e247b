"""Checks of the coverage: how many products have values of the model, and how fast values are lost."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from anthem_core.console import count_of
from anthem_core.opensearch.schema import product_text
from anthem_doctor.findings import DoctorTarget, Finding
from anthem_doctor.history import loss_per_day
from anthem_ingest.report import NOUN_OF_VALUE
from anthem_ingest.text_fields import find_empty_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anthem_doctor.facts import ValueCounts
    from anthem_doctor.findings import Level
    from anthem_doctor.history import CoverageRun
    from anthem_ingest.actions import IndexHit


def check_coverage(
    target: DoctorTarget, index: str, counts: ValueCounts, sample_without_values: Sequence[IndexHit]
) -> Iterator[Finding]:
    """How many products have values of the model; a product without letters or digits in its text needs none.

    The sample of products without any value serves to estimate how many of them need some.
    """
    without, of_other_model = counts.products - counts.with_values, counts.with_values - counts.of_model
    needed = _estimate_needed(target, without, sample_without_values)
    share = counts.of_model / max(counts.products, 1)
    found = f"{index}: {counts.of_model} of {count_of(counts.products)} ({share:.1%}) with values of this model"
    lacking = {signal: number for signal, number in counts.lacking.items() if number}
    found += "".join(f", {number} of these without {NOUN_OF_VALUE[signal]}" for signal, number in lacking.items())
    if of_other_model:
        found += f", {of_other_model} with some of another model"
    if without:
        sample_size = len(sample_without_values)
        found += (
            f", {without} without any; about {needed} of these with words (estimated from a sample of {sample_size})"
        )
    beside = ["--beside"] if of_other_model and not counts.of_model else []
    command = target.command("ingest", *beside, index=index)
    if counts.products and not counts.of_model and (needed or of_other_model):
        yield Finding("coverage", "fault", found, "values of this model", command)
    elif needed or of_other_model or lacking:
        expected = "all values for each product with words; searches rank a missing one as the median"
        yield Finding("coverage", "warning", found, expected, command)
    elif (blank := _estimate_blank(target, without, sample_without_values)) > counts.products / 2:
        names = " or ".join(target.text_fields)
        expected = (
            f"text in most products. Name the field that has it with --field; or, if a file was loaded whose rows "
            f"are not whole products (variants, images), load it again with --on-duplicate merge. About {blank} "
            f"of {count_of(counts.products)} have no text in {names}, so no signal of the model ranks them"
        )
        yield Finding("coverage", "warning", found, expected, target.command("ingest", "--corpus", "FILE", index=index))
    else:
        yield Finding("coverage", "ok", found)


def _estimate_blank(target: DoctorTarget, without: int, sample: Sequence[IndexHit]) -> int:
    """Estimated number of the products without values that have no text at all in the text fields."""
    blank = sum(not product_text(hit.get("_source", {}), target.text_fields) for hit in sample)
    return round(without * blank / max(len(sample), 1))


def check_fields_filled(target: DoctorTarget, index: str, sample: Sequence[IndexHit]) -> Iterator[Finding]:
    """Whether the products have text in the text fields; a field that `copy_to` fills, for example, never has any."""
    if not sample:
        return
    empty = find_empty_fields(target.text_fields, (hit.get("_source", {}) for hit in sample))
    if empty:
        found = f"{index}: none of {count_of(len(sample), 'sampled product')} has text in {', '.join(empty)}"
        expected = "text in the _source of products; name the fields that have it with --field"
        level: Level = "fault" if len(empty) == len(target.text_fields) else "warning"
        yield Finding("fields", level, found, expected)


def _estimate_needed(target: DoctorTarget, without: int, sample: Sequence[IndexHit]) -> int:
    """Estimated number of the products without values whose text has letters or digits."""
    if not sample:
        return without
    texts = (product_text(hit.get("_source", {}), target.text_fields) for hit in sample)
    with_words = sum(target.bundle.vocabulary.has_words(text) for text in texts)
    return round(without * with_words / len(sample))


def check_coverage_loss(target: DoctorTarget, runs: Sequence[CoverageRun], file: Path) -> Iterator[Finding]:
    """How fast values are lost, from the runs in the history, of which this run is the last."""
    lost = loss_per_day(runs)
    last = runs[-1]
    if lost is None:
        without = count_of(last.products - last.with_values)
        span = f"{count_of(len(runs), 'run')} in {file} within an hour" if runs[1:] else f"first run in {file}"
        found = f"{span}: the loss per day is not known yet; {without} without values now"
        yield Finding("loss", "ok", found, command=f"{target.command('doctor')}   # once a day")
        return
    days = (last.time - runs[0].time) / timedelta(days=1)
    source = f"{count_of(len(runs), 'run')} in {days:.1f} days, {file}"
    found = f"{lost:.2%} of the products lose their values per day ({source}); "
    found += f"coverage was {runs[-2].coverage:.1%} at the previous run and is {last.coverage:.1%} now"
    if lost > 0:
        expected = (
            "no loss: a feed that writes whole documents erases them; run ingest with --follow, or let the "
            "feed update documents in place"
        )
        yield Finding("loss", "warning", found, expected, target.command("ingest", "--follow"))
    else:
        yield Finding("loss", "ok", found)
