"""The commands `anthem ingest` and `anthem remove`."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import bundle_option, handle_errors, json_option, print_result, progress
from anthem_core.errors import PartialError

if TYPE_CHECKING:
    from anthem_ingest.report import IngestReport

MODEL_SIGNAL_CHOICES = ("containment,attention", "containment", "attention")

_dead_letter_option = click.option(
    "--dead-letter",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File for the ids of products that could not be written, and the reasons; defaults to "
    "INDEX.dead-letter.jsonl.",
)
_rate_option = click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Maximum number of products written per second."
)


@dataclass(frozen=True)
class IngestArguments:
    """Arguments and options of `anthem ingest`."""

    index: str
    bundle_name: str
    corpus: Path | None
    file_format: str | None
    id_field: str | None
    text_fields: tuple[str, ...]
    signals: str | None
    rate: float | None
    follow: bool
    interval: float
    slices: int
    beside: bool
    prune: bool
    ann: bool
    dead_letter: Path | None
    url: str | None

    @property
    def dead_letter_path(self) -> Path:
        """File for failures."""
        return self.dead_letter or _default_dead_letter_path(self.index)


@click.command()
@click.argument("index")
@bundle_option
@click.option(
    "--corpus",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="Load products: a file, plain or gzipped; a folder with corpus.jsonl[.gz]; - for standard input.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("jsonl", "csv", "tsv", "parquet")),
    help="Format of the file; defaults to the one that its name suggests.",
)
@click.option("--id", "id_field", help="Field or column that holds the product id; defaults to _id or id.")
@click.option(
    "--field",
    "text_fields",
    multiple=True,
    help="Field of the product text; repeatable. Defaults to the fields that the last ingest recorded, then to title.",
)
@click.option(
    "--signals",
    type=click.Choice(MODEL_SIGNAL_CHOICES),
    help="Signals of the model that searches will rank by; defaults to all that the bundle has. Containment needs a "
    "vector in each product, attention needs trigrams.",
)
@_rate_option
@click.option("--follow", is_flag=True, help="Keep running, and add values to new and changed products.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds between two passes of --follow.",
)
@click.option(
    "--slices", type=click.IntRange(1), default=1, show_default=True, help="Number of processes that share the work."
)
@click.option(
    "--beside",
    is_flag=True,
    help="Keep the values of another model, write the new ones next to them, then make the new ones current.",
)
@click.option("--prune", is_flag=True, help="Afterwards, remove the values of all models except the current one.")
@click.option(
    "--ann",
    is_flag=True,
    help="Afterwards, copy INDEX to INDEX-ann with HNSW graphs of the vectors and move its aliases there.",
)
@_dead_letter_option
@click.option(
    "--url",
    help="URL of the cluster; defaults to OPENSEARCH_URL, then to the local node. Sign-in: docs/permissions.md.",
)
@json_option
@handle_errors
def ingest(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 (the fields of IngestArguments)
    """Add the model's values, vector and trigrams, to the products of INDEX, in place; only what is missing or stale.

    With --corpus, products are loaded from a file together with their values; INDEX is created if it does not
    exist. A product replaces the one with the same id, unless both are equal.
    Exit codes: 0 done; 3 the bundle cannot be used, or lacks one of the signals; 4 a file cannot be used; 6 the cluster
    refuses, or has no such index or field; 8 some products could not be read or written, all others were, and the
    dead-letter file names them.

    \b
    Example:
      anthem ingest products
      anthem ingest products --field title --field brand.name --rate 500
      anthem ingest products --signals attention
      anthem ingest products --corpus corpus.jsonl.gz
      zcat products.csv.gz | anthem ingest products --corpus - --format csv --id sku
      anthem ingest products --follow
      anthem ingest products --bundle bundles/better --beside --prune
    """
    from anthem_ingest.job import check_complete

    arguments = IngestArguments(**options)
    if arguments.corpus and arguments.slices > 1:
        raise click.UsageError("--slices divides an index, not a file: it cannot be used with --corpus.")
    if arguments.ann and arguments.signals == "attention":
        raise click.UsageError("--ann builds graphs of vectors: it cannot be used with --signals attention.")
    report, result = _run_ingest(arguments)
    print_result(result, f"{arguments.index}: {report}", as_json=as_json)
    check_complete(report, result["bad_lines"], arguments.dead_letter_path)


def _run_ingest(arguments: IngestArguments) -> tuple[IngestReport, dict[str, Any]]:
    """Run the ingest; returns its report, and the result as a JSON object."""
    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import connect
    from anthem_ingest.encode import choose_signals
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.job import IngestJob, IngestSteps, run_job
    from anthem_ingest.multi_model import choose_model_fields, choose_text_fields
    from anthem_ingest.product_files import locate_product_file
    from anthem_ingest.report import DeadLetters

    index = arguments.index
    file = None
    if arguments.corpus:
        file = locate_product_file(arguments.corpus, arguments.file_format, arguments.id_field)
    client = connect(arguments.url, credentials=True)
    encoder = Encoder(load_bundle(arguments.bundle_name), threads=os.cpu_count() or 1)
    signals = choose_signals(encoder.bundle, arguments.signals and arguments.signals.split(","))
    model_id = encoder.bundle.model_id
    model_fields = choose_model_fields(client, index, model_id, beside=arguments.beside)
    text_fields = arguments.text_fields or choose_text_fields(client, index, model_fields)
    steps = IngestSteps(
        file,
        arguments.slices,
        beside=arguments.beside,
        prune=arguments.prune,
        ann=arguments.ann,
        follow_seconds=arguments.interval if arguments.follow else None,
    )
    with closing(DeadLetters(arguments.dead_letter_path)) as dead_letters:
        options = IngestOptions(model_fields, signals, arguments.rate, dead_letters, accept_outages=_accepts_outages())
        job = IngestJob(client, index, encoder, text_fields, options, arguments.bundle_name, arguments.url)
        report, bad_lines = run_job(job, steps)
    result = {"index": index, "model": model_id, "object": model_fields.name, "signals": signals}
    return report, result | report.to_dict() | {"bad_lines": bad_lines}


@click.command()
@click.argument("index")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_rate_option
@_dead_letter_option
@click.option("--url", help="URL of the cluster; defaults to OPENSEARCH_URL, then to the local node.")
@json_option
@handle_errors
def remove(
    *, index: str, yes: bool, rate: float | None, dead_letter: Path | None, url: str | None, as_json: bool
) -> None:
    """Remove all vectors and trigrams from the products of INDEX, and the stored scripts if no other index has any.

    Nothing else in a product changes. Empty mapping entries stay until the next reindex.
    Exit codes: 0 done; 1 not confirmed; 6 the cluster refuses or has no such index; 8 some products could not be
    written, all others were, and the dead-letter file names them.

    \b
    Example:
      anthem remove products
      anthem remove products --yes --rate 500
    """
    from anthem_core.opensearch.connection import connect
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.remove import preview_removal, remove_from_index
    from anthem_ingest.report import DeadLetters

    client = connect(url, credentials=True)
    objects, products = preview_removal(client, index)
    fields = f"the values in {', '.join(objects)}" if objects else "no values"
    click.echo(f"Index '{index}': {products} products, {fields} will be removed", err=True)
    if not yes:
        click.confirm("Rewrite these products?", abort=True, err=True)
    with closing(DeadLetters(dead_letter or _default_dead_letter_path(index))) as dead_letters:
        options = IngestOptions(rate=rate, dead_letters=dead_letters, accept_outages=_accepts_outages())
        with progress("Removing", products) as advance:
            removal = remove_from_index(client, index, advance, options)
    print_result(removal.to_dict(), f"{index}: {removal}", as_json=as_json)
    if removal.failed:
        raise PartialError(f"{removal.failed} products could not be written. {dead_letters.path} names each and why.")


def _default_dead_letter_path(index: str) -> Path:
    return Path(f"{index}.dead-letter.jsonl")


def _accepts_outages() -> bool:
    """Whether mapping changes are allowed on releases where they make shards fail for a moment; docs/clusters.md."""
    return bool(os.environ.get("ANTHEM_ACCEPT_OUTAGES"))
