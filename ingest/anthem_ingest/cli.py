"""The commands `anthem ingest` and `anthem remove`."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import (
    NON_EMPTY_TEXT,
    FiniteFloatRange,
    bundle_option,
    confirm,
    count_of,
    handle_errors,
    json_option,
    print_result,
    progress,
    url_option,
    without_repeats,
)
from anthem_core.errors import PartialError
from anthem_core.files import check_writable, is_standard_output
from anthem_ingest.arguments import (
    IngestArguments,
    check_arguments,
    check_object_name,
    check_slices,
    default_dead_letter_path,
    parse_delimiter,
)

if TYPE_CHECKING:
    from anthem_ingest.multi_model import IngestTarget
    from anthem_ingest.report import IndexSurvey, IngestReport

MODEL_SIGNAL_CHOICES = ("containment,attention", "containment", "attention")
DUPLICATE_CHOICES = ("merge", "last")

_dead_letter_option = click.option(
    "--dead-letter",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="File for the ids of products that could not be written, and the reasons; defaults to "
    "INDEX.dead-letter.jsonl; - for standard output.",
)
_rate_option = click.option(
    "--rate", type=FiniteFloatRange(min=0, min_open=True), help="Maximum number of products written per second."
)


@click.command()
@click.argument("index", type=NON_EMPTY_TEXT)
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
@click.option(
    "--id",
    "id_field",
    type=NON_EMPTY_TEXT,
    help="Field or column that holds the product id; defaults to _id or id.",
)
@click.option(
    "--delimiter",
    callback=parse_delimiter,
    help="Character between the cells of CSV or TSV, or the word tab; detected from the header of CSV by default.",
)
@click.option(
    "--on-duplicate",
    type=click.Choice(DUPLICATE_CHOICES),
    help="What to do with several rows of one id: merge them into one product whose columns list the different values, "
    "or keep the last row. By default such a file is refused.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="With --corpus: change only the fields that a row has, instead of replacing the whole product.",
)
@click.option(
    "--field",
    "text_fields",
    multiple=True,
    type=NON_EMPTY_TEXT,
    callback=without_repeats,
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
    type=FiniteFloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds between two passes of --follow.",
)
@click.option(
    "--slices",
    type=click.IntRange(1),
    callback=check_slices,
    default=1,
    show_default=True,
    help="Number of processes that share the work; one per core is sensible.",
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
@click.option(
    "--as",
    "object_name",
    callback=check_object_name,
    metavar="NAME",
    help="Name of the object for the model's values in each product, if `anthem` is a field of your own. It is "
    "recorded, so that all later commands and searches find it.",
)
@click.option(
    "--template",
    is_flag=True,
    help="Write nothing; print an index template for the indices that a reindex or a rollover will create.",
)
@click.option("--yes", is_flag=True, help="Do not ask before replacing values of other text fields.")
@_dead_letter_option
@click.option(
    "--url",
    help="URL of the cluster; defaults to OPENSEARCH_URL, then to the local node. Sign-in: docs/permissions.md.",
)
@json_option
@handle_errors
def ingest(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 (the fields of IngestArguments)
    """Add the model's values, vector and trigrams, to the products of INDEX, in place, where they are missing or stale.

    With --corpus, products are loaded from a file together with their values; INDEX is created if it does not
    exist. A product replaces the one with the same id, unless both are equal; with --partial, only the fields that
    its row has are replaced.
    Exit codes: 0 done; 1 not confirmed; 3 the bundle cannot be used, or lacks one of the signals; 4 a file cannot be
    used; 6 the cluster refuses, or has no such index or field; 8 some products could not be read or written; all others
    were, and the dead-letter file lists those that were not.

    \b
    Example:
      anthem ingest products
      anthem ingest products --field title --field brand.name --rate 500
      anthem ingest products --signals attention
      anthem ingest products --corpus corpus.jsonl.gz
      zcat products.csv.gz | anthem ingest products --corpus - --format csv --id sku
      anthem ingest products --corpus shopify.csv --id Handle --field Title --on-duplicate merge
      anthem ingest products --corpus prices.csv --id sku --partial
      anthem ingest products --follow
      anthem ingest products --bundle bundles/better --beside --prune
      anthem ingest products --as anthem_values
      anthem ingest products --template
    """
    from anthem_ingest.job import check_complete

    arguments = IngestArguments(**options)
    check_arguments(arguments)
    if arguments.template:
        _print_template(arguments, as_json=as_json)
        return
    report, result = _run_ingest(arguments, as_json=as_json)
    to_stderr = is_standard_output(arguments.dead_letter_path)
    print_result(result, f"{arguments.index}: {report}", as_json=as_json, to_stderr=to_stderr)
    try:
        check_complete(report, result["bad_lines"], arguments.dead_letter_path)
    except PartialError as error:
        if not arguments.follow:
            raise
        click.echo(error, err=True)  # it did what it was asked to do: to follow until it is stopped


def _run_ingest(arguments: IngestArguments, *, as_json: bool) -> tuple[IngestReport, dict[str, Any]]:
    """Run the ingest; returns its report, and the result as a JSON object."""
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.job import IngestJob, IngestSteps, run_job
    from anthem_ingest.product_files import locate_product_file
    from anthem_ingest.report import DeadLetters

    file = None
    if arguments.corpus:
        file = locate_product_file(arguments.corpus, arguments.file_format, arguments.id_field, arguments.delimiter)
    target = _open_target(arguments)
    check_writable(arguments.dead_letter_path, "--dead-letter")
    steps = IngestSteps(
        file,
        arguments.slices,
        beside=arguments.beside,
        prune=arguments.prune,
        ann=arguments.ann,
        follow_seconds=arguments.interval if arguments.follow else None,
        on_duplicate=arguments.on_duplicate,
        confirm=partial(_confirm_field_change, arguments, target, as_json=as_json),
    )
    fields, signals = target.model_fields, target.signals
    with closing(DeadLetters(arguments.dead_letter_path)) as dead_letters:
        options = IngestOptions(
            fields,
            signals,
            arguments.rate,
            dead_letters,
            accept_outages=_accepts_outages(),
            partial=arguments.partial,
        )
        job = IngestJob(
            target.client,
            target.index,
            target.encoder,
            target.text_fields,
            options,
            arguments.bundle_name,
            arguments.url,
            arguments.index,
        )
        report, bad_lines = run_job(job, steps)
    result = {"index": target.index, "model": target.model_id, "object": fields.name, "signals": signals}
    return report, result | report.to_dict() | {"bad_lines": bad_lines}


def _open_target(arguments: IngestArguments) -> IngestTarget:
    """Load the bundle, connect, and find out where the values are and what they are computed from."""
    from anthem_core.cores import usable_cores
    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import cluster_address, connect
    from anthem_ingest.multi_model import open_target

    client = connect(arguments.url, credentials=True)
    click.echo(f"Cluster: {cluster_address(client)}", err=True)
    encoder = Encoder(load_bundle(arguments.bundle_name), threads=usable_cores())
    target = open_target(client, encoder, arguments)
    if target.index != arguments.index and not arguments.template:
        click.echo(
            f"{arguments.index}: only its write index {target.index} is ingested; to ingest its other indices, name "
            "them",
            err=True,
        )
    return target


def _print_template(arguments: IngestArguments, *, as_json: bool) -> None:
    """Print the requests that store an index template for the successors of the index."""
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.recipe import read_template_requests

    target = _open_target(arguments)
    options = IngestOptions(target.model_fields, target.signals)
    requests = read_template_requests(
        target.client, arguments.index, target.encoder.bundle, target.text_fields, options
    )
    calls = [request.to_dict() for request in requests]
    print_result({"calls": calls}, "\n\n".join(map(str, requests)), as_json=as_json)


def _confirm_field_change(
    arguments: IngestArguments, target: IngestTarget, survey: IndexSurvey, *, as_json: bool
) -> None:
    """Ask before values of the recorded text fields are replaced by those of others."""
    from anthem_ingest.multi_model import describe_field_change

    if not arguments.text_fields or arguments.yes:
        return
    change = describe_field_change(target, survey.products if arguments.corpus else None)
    if change:
        click.echo(change, err=True)
        confirm("Replace them?", yes=False, as_json=as_json)


@click.command()
@click.argument("index", type=NON_EMPTY_TEXT)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_rate_option
@_dead_letter_option
@url_option
@json_option
@handle_errors
def remove(
    *, index: str, yes: bool, rate: float | None, dead_letter: Path | None, url: str | None, as_json: bool
) -> None:
    """Remove all vectors and trigrams from the products of INDEX, and the stored scripts if no other index has any.

    Nothing else in a product changes. Empty mapping entries stay until the next reindex.
    Exit codes: 0 done; 1 not confirmed; 6 the cluster refuses or has no such index; 8 some products could not be
    written; all others were, and the dead-letter file lists those that were not.

    \b
    Example:
      anthem remove products
      anthem remove products --yes --rate 500
    """
    from anthem_core.opensearch.connection import cluster_address, connect
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.remove import preview_removal, remove_from_index
    from anthem_ingest.report import DeadLetters

    client = connect(url, credentials=True)
    click.echo(f"Cluster: {cluster_address(client)}", err=True)
    objects, products = preview_removal(client, index)
    fields = f"the values in {', '.join(objects)}" if objects else "no values"
    click.echo(f"Index '{index}': {count_of(products)}, {fields} will be removed", err=True)
    letters = dead_letter or default_dead_letter_path(index)
    check_writable(letters, "--dead-letter")
    confirm("Rewrite these products?", yes=yes, as_json=as_json)
    with closing(DeadLetters(letters)) as dead_letters:
        options = IngestOptions(rate=rate, dead_letters=dead_letters, accept_outages=_accepts_outages())
        with progress("Removing", products) as advance:
            removal = remove_from_index(client, index, advance, options)
    to_stderr = is_standard_output(letters)
    print_result(removal.to_dict(), f"{index}: {removal}", as_json=as_json, to_stderr=to_stderr)
    if removal.failed:
        raise PartialError(
            f"{count_of(removal.failed)} could not be written. {dead_letters.name} lists each with the reason."
        )


def _accepts_outages() -> bool:
    """Whether mapping changes are allowed on releases where they make shards fail for a moment; docs/clusters.md."""
    return bool(os.environ.get("ANTHEM_ACCEPT_OUTAGES"))
