"""`anthem ingest`."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import handle_errors, json_option, print_result, progress
from anthem_core.errors import PartialError

if TYPE_CHECKING:
    from anthem_ingest.report import IngestReport


@dataclass(frozen=True)
class IngestArguments:
    """What the options say."""

    index: str
    bundle: str
    corpus: Path | None
    kind: str | None
    id_field: str | None
    fields: tuple[str, ...]
    rate: float | None
    follow: bool
    interval: float
    slices: int
    beside: bool
    prune: bool
    ann: bool
    dead_letter: Path | None
    url: str | None


@click.command()
@click.argument("index")
@click.option(
    "--bundle", default="general", show_default=True, help="Folder of a bundle, or the name of one that ships."
)
@click.option(
    "--corpus",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="Load products: a file, plain or gzipped; a folder with corpus.jsonl[.gz]; - for standard input.",
)
@click.option(
    "--format", "kind", type=click.Choice(("jsonl", "csv", "tsv", "parquet")), help="Of the file; told by its name."
)
@click.option("--id", "id_field", help="Field or column that names a product; _id or id where none is said.")
@click.option(
    "--field", "fields", multiple=True, default=("title",), show_default=True, help="Field of the text; repeatable."
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Products written a second, at most.")
@click.option("--follow", is_flag=True, help="Go on: give vectors to what is written from now on, until interrupted.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds between two looks."
)
@click.option("--slices", type=click.IntRange(1), default=1, show_default=True, help="Processes that share INDEX.")
@click.option("--beside", is_flag=True, help="Keep vectors of another model, write beside them, and switch at the end.")
@click.option("--prune", is_flag=True, help="Remove vectors of all models but the current one, at the end.")
@click.option("--ann", is_flag=True, help="Copy INDEX to INDEX-ann with HNSW graphs, and move its aliases, at the end.")
@click.option(
    "--dead-letter",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File for ids and reasons of what could not be written; INDEX.dead-letter.jsonl where none is said.",
)
@click.option(
    "--url",
    help="The cluster, signed in to as docs/permissions.md says; else OPENSEARCH_URL, else the local node.",
)
@json_option
@handle_errors
def ingest(*, as_json: bool, **asked: Any) -> None:  # noqa: ANN401 (an option each)
    """Give the products of INDEX their vectors, in place: missing and stale ones are written, all others left alone.

    With --corpus, products and vectors are loaded from a file; INDEX is created where it does not exist. A product
    of the file takes the place of one with its id, and the same is left alone.
    Exit codes: 0 done, 4 a file cannot be used, 6 the cluster refuses or has no such index or field, 8 some products
    could not be read or written, all others were; the dead-letter file names them.

    \b
    Example:
      anthem ingest products
      anthem ingest products --field title --field brand.name --rate 500
      anthem ingest products --corpus corpus.jsonl.gz
      zcat shop.csv.gz | anthem ingest products --corpus - --format csv --id sku
      anthem ingest products --follow
      anthem ingest products --bundle bundles/better --beside --prune
    """
    from anthem_ingest.job import check_complete

    report, result, dead = _run_ingest(IngestArguments(**asked))
    bad = result["bad_lines"]
    print_result(result, f"{result['index']}: {report}", as_json=as_json)
    check_complete(report, bad, dead)


def _run_ingest(asked: IngestArguments) -> tuple[IngestReport, dict[str, Any], Path]:
    """Do it: what came of it, as a value and as JSON knows it, and where the dead letters are."""
    if asked.corpus and asked.slices > 1:
        raise click.UsageError("--slices share an index, not a file; leave one of --corpus and --slices out.")
    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import connect
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.job import IngestJob, IngestSteps, run_job
    from anthem_ingest.multi_model import choose_vector_fields
    from anthem_ingest.product_files import locate_product_file
    from anthem_ingest.report import DeadLetters

    file = locate_product_file(asked.corpus, asked.kind, asked.id_field) if asked.corpus else None
    client = connect(asked.url, credentials=True)
    encoder = Encoder(load_bundle(asked.bundle), threads=os.cpu_count() or 1)
    names = choose_vector_fields(client, asked.index, encoder.bundle.model, beside=asked.beside)
    path = asked.dead_letter or Path(f"{asked.index}.dead-letter.jsonl")
    interval = asked.interval if asked.follow else None
    steps = IngestSteps(file, asked.slices, beside=asked.beside, prune=asked.prune, ann=asked.ann, interval=interval)
    with closing(DeadLetters(path)) as dead:
        work = IngestJob(client, asked.index, encoder, asked.fields, IngestOptions(names, asked.rate, dead))
        report, bad = run_job(work, steps, asked.bundle, asked.url)
    result = {"index": asked.index, "model": encoder.bundle.model, "object": names.name}
    return report, result | report.to_dict() | {"bad_lines": bad}, path


@click.command()
@click.argument("index")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Products written a second, at most.")
@click.option(
    "--dead-letter",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File for ids and reasons of what could not be written; INDEX.dead-letter.jsonl where none is said.",
)
@click.option("--url", help="The cluster; else OPENSEARCH_URL, else the local node.")
@json_option
@handle_errors
def remove(
    *, index: str, yes: bool, rate: float | None, dead_letter: Path | None, url: str | None, as_json: bool
) -> None:
    """Take vectors out of the products of INDEX, and our scripts out of the cluster where no other index has vectors.

    Nothing else of a product changes. Empty mapping entries stay until the next reindex.
    Exit codes: 0 done, 1 not confirmed, 6 the cluster refuses or has no such index, 8 some products could not be
    written, all others were; the dead-letter file names them.

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
    names, products = preview_removal(client, index)
    click.echo(f"{index}: {products} products; values of {', '.join(names) or 'no model'} are taken out", err=True)
    if not yes:
        click.confirm("Write these products anew?", abort=True, err=True)
    with closing(DeadLetters(dead_letter or Path(f"{index}.dead-letter.jsonl"))) as dead:
        with progress("Removing", products) as advance:
            removal = remove_from_index(client, index, advance, IngestOptions(rate=rate, dead=dead))
        print_result(removal.to_dict(), f"{index}: {removal}", as_json=as_json)
        if removal.failed:
            raise PartialError(f"{removal.failed} products could not be written; {dead.path} names each and why.")
