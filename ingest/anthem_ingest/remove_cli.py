"""`anthem remove`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from anthem_core.console import emit, ends_cleanly, json_option, progress
from anthem_core.errors import PartialError


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
@ends_cleanly
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
    from anthem_core.cluster import connect
    from anthem_ingest.ingest import Options
    from anthem_ingest.remove import removable, remove_all
    from anthem_ingest.report import DeadLetters

    client = connect(url, credentials=True)
    names, products = removable(client, index)
    click.echo(f"{index}: {products} products; values of {', '.join(names) or 'no model'} are taken out", err=True)
    if not yes:
        click.confirm("Write these products anew?", abort=True, err=True)
    with closing(DeadLetters(dead_letter or Path(f"{index}.dead-letter.jsonl"))) as dead:
        with progress("Removing", products) as advance:
            removal = remove_all(client, index, advance, Options(rate=rate, dead=dead))
        emit(removal.to_dict(), f"{index}: {removal}", as_json=as_json)
        if removal.failed:
            raise PartialError(f"{removal.failed} products could not be written; {dead.path} names each and why.")
