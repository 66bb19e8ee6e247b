"""`anthem doctor`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import (
    NON_EMPTY_TEXT,
    bundle_option,
    handle_errors,
    json_option,
    print_result,
    progress,
    stderr,
    url_option,
    without_repeats,
)
from anthem_doctor.facts import DEFAULT_SAMPLE_SIZE

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_doctor.findings import DoctorTarget
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.service.pipeline_calls import PipelineCall


@click.command()
@click.argument("index", type=NON_EMPTY_TEXT)
@bundle_option
@click.option(
    "--field",
    "fields",
    multiple=True,
    type=NON_EMPTY_TEXT,
    callback=without_repeats,
    help="Field of the product text; repeatable; defaults to the fields that ingest recorded in the index.",
)
@click.option(
    "--sample",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_SAMPLE_SIZE,
    show_default=True,
    help="Number of products to check one by one.",
)
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the history of the coverage; defaults to anthem/doctor.jsonl in XDG_STATE_HOME.",
)
@click.option(
    "--pipeline",
    type=click.Choice(("rerank", "ml-inference")),
    help="Only print the requests that set up this search pipeline.",
)
@click.option(
    "--service",
    default="https://anthem.internal:8080",
    show_default=True,
    help="With --pipeline: URL at which the cluster reaches anthem serve.",
)
@url_option
@json_option
@click.pass_context
@handle_errors
def doctor(  # noqa: PLR0913 (one argument per option)
    context: click.Context,
    *,
    index: str,
    bundle_name: str,
    fields: tuple[str, ...],
    sample: int,
    history: Path | None,
    pipeline: str | None,
    service: str,
    url: str | None,
    as_json: bool,
) -> None:
    """Check cluster, INDEX, its values, scripts and searches, and print the command that fixes each fault.

    INDEX may be an alias or a pattern. Nothing is written to the cluster. Each run adds one line to the history on
    this machine, from which the loss of values per day is computed. docs/doctor.md explains each check.
    Exit codes: 0 no faults, 1 at least one fault, 3 the bundle cannot be used, 6 no cluster is named.

    \b
    Example:
      anthem doctor products
      anthem doctor products --bundle my-bundle --field title --field brand.name --json
      anthem doctor products --pipeline rerank --service https://anthem.internal:8080
    """
    from contextlib import closing

    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import connect
    from anthem_doctor.examination import Examination
    from anthem_doctor.findings import DoctorTarget, findings_to_json, findings_to_text
    from anthem_doctor.history import default_history_file
    from anthem_doctor.probe import read_profile

    url_without_user = url and re.sub(r"//[^/]*@", "//", url)  # printed commands must not contain a password
    encoder = Encoder(load_bundle(bundle_name))
    with closing(connect(url, credentials=True)) as client:
        profile = read_profile(client, encoder, index)
        target = DoctorTarget.of_profile(profile, index, encoder.bundle, bundle_name, fields, url_without_user)
        if pipeline:
            _print_pipeline_calls(client, target, profile.scoring, pipeline, service, as_json=as_json)
            return
        with progress("Examining") as advance:
            history = history or default_history_file()
            findings = Examination(client, target, encoder, profile, history, sample).run()
            advance(1)
    result = findings_to_json(target, findings)
    print_result(result, findings_to_text(target, findings), as_json=as_json)
    context.exit(0 if result["healthy"] else 1)


def _print_pipeline_calls(
    client: OpenSearch, target: DoctorTarget, scoring: ScoringParams, pipeline: str, service: str, *, as_json: bool
) -> None:
    from anthem_doctor.checks.cluster import missing_plugins
    from anthem_doctor.probe import read_plugins

    calls = pipeline_calls(client, target, scoring, pipeline, service)
    missing = missing_plugins(read_plugins(client), pipeline)
    if missing:
        stderr.print(f"The cluster lacks {' and '.join(missing)}, which this pipeline needs.")
    listed = [{"method": call.method, "path": call.path, "body": call.body} for call in calls]
    print_result({"calls": listed, "missing_plugins": missing}, "\n\n".join(map(str, calls)), as_json=as_json)


def pipeline_calls(
    client: OpenSearch, target: DoctorTarget, scoring: ScoringParams, pipeline: str, service: str
) -> tuple[PipelineCall, ...]:
    """Requests that set up a search pipeline, filled in for a cluster; addresses it already trusts stay trusted."""
    from anthem_doctor.probe import read_settings
    from anthem_plugin.service.pipeline_calls import (
        TRUSTED_ENDPOINTS_SETTING,
        PipelineTarget,
        build_inference_calls,
        build_inference_search,
        build_rerank_calls,
    )

    settings = read_settings(client)
    trusted = settings.get(TRUSTED_ENDPOINTS_SETTING, []) if isinstance(settings, dict) else []
    pipeline_target = PipelineTarget(service, target.index, target.text_fields[0])
    if pipeline == "rerank":
        return build_rerank_calls(pipeline_target, trusted)
    return (*build_inference_calls(pipeline_target, trusted), build_inference_search(pipeline_target, scoring))
