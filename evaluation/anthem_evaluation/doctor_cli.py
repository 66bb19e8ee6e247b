"""`anthem doctor`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import emit, ends_cleanly, err, json_option, progress

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_evaluation.doctor import Asked
    from anthem_plugin.pipeline import Call


@click.command()
@click.argument("index")
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@click.option("--field", "fields", multiple=True, default=("title",), show_default=True, help="As in anthem ingest.")
@click.option(
    "--sample", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Products looked at one by one."
)
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that remembers the coverage from run to run; else anthem/doctor.jsonl in XDG_STATE_HOME.",
)
@click.option(
    "--pipeline",
    type=click.Choice(("rerank", "ml-inference")),
    help="Print the calls that set up this pipeline, and no more.",
)
@click.option(
    "--service",
    default="https://anthem.internal:8080",
    show_default=True,
    help="With --pipeline: address of anthem serve as the cluster reaches it.",
)
@click.option("--url", help="The cluster; else OPENSEARCH_URL, else the local node.")
@json_option
@click.pass_context
@ends_cleanly
def doctor(  # noqa: PLR0913 (an argument an option)
    context: click.Context,
    *,
    index: str,
    bundle: str,
    fields: tuple[str, ...],
    sample: int,
    history: Path | None,
    pipeline: str | None,
    service: str,
    url: str | None,
    as_json: bool,
) -> None:
    """Check cluster, INDEX, vectors, scripts and searches, and print the command that mends each fault.

    INDEX may be an alias or a pattern. Nothing is written to the cluster; a line a run goes to the history on this
    machine, by which the coverage lost a day is told. docs/doctor.md explains each check.
    Exit codes: 0 healthy, warnings or not; 1 at least one fault; 3 the bundle cannot be used; 6 no cluster is named.

    \b
    Example:
      anthem doctor products
      anthem doctor products --bundle shop --field title --field brand.name --json
      anthem doctor products --pipeline rerank --service https://anthem.internal:8080
    """
    from contextlib import closing

    from anthem_core.bundle import load
    from anthem_core.cluster import connect
    from anthem_core.encoder import Encoder
    from anthem_evaluation.doctor import Asked, result, text
    from anthem_evaluation.doctor_examine import Doctor
    from anthem_evaluation.doctor_history import default_file

    shown = url and re.sub(r"//[^/]*@", "//", url)  # the commands that are printed hold no password
    asked = Asked(index, load(bundle), bundle, fields, shown)
    with closing(connect(url, credentials=True)) as client:
        if pipeline:
            _print_calls(client, asked, pipeline, service, as_json=as_json)
            return
        with progress("Examining") as advance:
            findings = Doctor(client, asked, Encoder(asked.bundle), history or default_file(), sample).findings()
            advance(1)
    found = result(asked, findings)
    emit(found, text(asked, findings), as_json=as_json)
    context.exit(0 if found["healthy"] else 1)


def _print_calls(client: OpenSearch, asked: Asked, pipeline: str, service: str, *, as_json: bool) -> None:
    from anthem_evaluation.doctor_cluster import lacking
    from anthem_evaluation.doctor_read import read_plugins

    calls, missing = calls_for(client, asked, pipeline, service), lacking(read_plugins(client), pipeline)
    if missing:
        err.print(f"The cluster has no {' and no '.join(missing)}, which this pipeline needs.")
    listed = [{"method": one.method, "path": one.path, "body": one.body} for one in calls]
    emit({"calls": listed, "missing_plugins": missing}, "\n\n".join(map(str, calls)), as_json=as_json)


def calls_for(client: OpenSearch, asked: Asked, pipeline: str, service: str) -> tuple[Call, ...]:
    """Calls that set up a pipeline, filled in for a cluster: addresses it trusts already stay trusted.

    Raises:
        BundleError: The bundle has no weights for lexical + containment.
    """
    from anthem_evaluation.doctor_read import names_in, read_indices, read_settings
    from anthem_plugin.pipeline import TRUSTED, Place, inference_calls, inference_search, rerank_calls
    from anthem_plugin.scoring import Scoring

    settings, indices = read_settings(client), read_indices(client, asked.index)
    trusted = settings.get(TRUSTED, []) if isinstance(settings, dict) else []
    place = Place(service, asked.index, asked.fields[0])
    if pipeline == "rerank":
        return rerank_calls(place, trusted)
    names = names_in(indices, asked.bundle.model) if isinstance(indices, dict) else None
    return (*inference_calls(place, trusted), inference_search(place, Scoring.of(asked.bundle, names)))
