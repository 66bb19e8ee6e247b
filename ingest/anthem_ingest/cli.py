"""`anthem ingest`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import emit, ends_cleanly, json_option, progress
from anthem_core.errors import PartialError

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_core.beir import Problem
    from anthem_core.encoder import Encoder
    from anthem_ingest.report import IngestReport

LISTED = 10


@click.command()
@click.argument("index")
@click.option(
    "--bundle", default="general", show_default=True, help="Folder of a bundle, or the name of one that ships."
)
@click.option(
    "--corpus", type=click.Path(exists=True, path_type=Path), help="Load products: corpus.jsonl[.gz] or its folder."
)
@click.option(
    "--field", "fields", multiple=True, default=("title",), show_default=True, help="Field of the text; repeatable."
)
@click.option(
    "--url",
    help="The cluster, signed in to with OPENSEARCH_USER, _PASSWORD and _CA; else OPENSEARCH_URL, else the local node.",
)
@json_option
@ends_cleanly
def ingest(
    index: str, bundle: str, corpus: Path | None, fields: tuple[str, ...], url: str | None, as_json: bool
) -> None:
    """Give the products of INDEX their vectors, in place: missing and stale ones are written, all others left alone.

    With --corpus, products and vectors are loaded from a file; INDEX is created where it does not exist.
    Exit code 8: some products could not be written, all others were.

    \b
    Example:
      anthem ingest products
      anthem ingest products --field title --field brand.name
      anthem ingest products --corpus corpus.jsonl.gz
    """
    from anthem_core.beir import corpus_of
    from anthem_core.bundle import load
    from anthem_core.cluster import connect
    from anthem_core.encoder import Encoder

    client, encoder = connect(url, credentials=True), Encoder(load(bundle), threads=os.cpu_count() or 1)
    problems: list[Problem] = []
    if corpus:
        report = _from_file(client, index, encoder, fields, corpus if corpus.is_file() else corpus_of(corpus), problems)
    else:
        report = _from_index(client, index, encoder, fields)
    emit(
        {"index": index, "model": encoder.bundle.model, **report.to_dict(), "bad_lines": len(problems)},
        f"{index}: {report}",
        as_json=as_json,
    )
    if report.failed:
        listed = "\n".join(f"  {failure}" for failure in report.failures)
        raise PartialError(
            f"{report.failed} products could not be written; all others were. The first of them:\n{listed}"
        )


def _from_index(client: OpenSearch, index: str, encoder: Encoder, fields: tuple[str, ...]) -> IngestReport:
    from anthem_ingest.ingest import ingest_index, survey

    found = survey(client, index, encoder.bundle, fields)
    click.echo(found, err=True)
    with progress("Encoding", found.products) as advance:
        return ingest_index(client, index, encoder, fields=fields, advance=advance)


def _from_file(
    client: OpenSearch, index: str, encoder: Encoder, fields: tuple[str, ...], corpus: Path, problems: list[Problem]
) -> IngestReport:
    """Read the file twice: a bad one is known before anything is written, and the bar has an end."""
    from anthem_core.beir import read_products
    from anthem_ingest.ingest import bytes_each, load_products
    from anthem_ingest.report import Survey

    total = sum(1 for _ in read_products(corpus, problems))
    for problem in problems[:LISTED]:
        click.echo(f"skipped {problem}", err=True)
    click.echo(Survey(index, total, 0, total, bytes_each(encoder.bundle)), err=True)
    with progress("Loading", total) as advance:
        return load_products(client, index, read_products(corpus), encoder, fields=fields, advance=advance)
