"""`anthem doctor`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import handle_errors, json_option, print_result, progress, stderr

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_doctor.findings import DoctorTarget
    from anthem_plugin.service.pipeline_calls import PipelineCall


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
@handle_errors
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

    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import connect
    from anthem_doctor.examination import Examination
    from anthem_doctor.findings import DoctorTarget, findings_to_json, findings_to_text
    from anthem_doctor.history import default_history_file

    shown = url and re.sub(r"//[^/]*@", "//", url)  # the commands that are printed hold no password
    asked = DoctorTarget(index, load_bundle(bundle), bundle, fields, shown)
    with closing(connect(url, credentials=True)) as client:
        if pipeline:
            _print_pipeline_calls(client, asked, pipeline, service, as_json=as_json)
            return
        with progress("Examining") as advance:
            findings = Examination(
                client, asked, Encoder(asked.bundle), history or default_history_file(), sample
            ).findings()
            advance(1)
    found = findings_to_json(asked, findings)
    print_result(found, findings_to_text(asked, findings), as_json=as_json)
    context.exit(0 if found["healthy"] else 1)


def _print_pipeline_calls(
    client: OpenSearch, asked: DoctorTarget, pipeline: str, service: str, *, as_json: bool
) -> None:
    from anthem_doctor.checks.cluster import missing_plugins
    from anthem_doctor.probe import read_plugins

    calls, missing = pipeline_calls(client, asked, pipeline, service), missing_plugins(read_plugins(client), pipeline)
    if missing:
        stderr.print(f"The cluster has no {' and no '.join(missing)}, which this pipeline needs.")
    listed = [{"method": one.method, "path": one.path, "body": one.body} for one in calls]
    print_result({"calls": listed, "missing_plugins": missing}, "\n\n".join(map(str, calls)), as_json=as_json)


def pipeline_calls(client: OpenSearch, asked: DoctorTarget, pipeline: str, service: str) -> tuple[PipelineCall, ...]:
    """Calls that set up a pipeline, filled in for a cluster: addresses it trusts already stay trusted.

    Raises:
        BundleError: The bundle has no weights for lexical + containment.
    """
    from anthem_doctor.probe import read_indices, read_settings, vector_fields
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.service.pipeline_calls import (
        TRUSTED_ENDPOINTS_SETTING,
        PipelineTarget,
        build_inference_calls,
        build_inference_search,
        build_rerank_calls,
    )

    settings, indices = read_settings(client), read_indices(client, asked.index)
    trusted = settings.get(TRUSTED_ENDPOINTS_SETTING, []) if isinstance(settings, dict) else []
    place = PipelineTarget(service, asked.index, asked.fields[0])
    if pipeline == "rerank":
        return build_rerank_calls(place, trusted)
    names = vector_fields(indices, asked.bundle.model) if isinstance(indices, dict) else None
    return (
        *build_inference_calls(place, trusted),
        build_inference_search(place, ScoringParams.of(asked.bundle, names)),
    )
