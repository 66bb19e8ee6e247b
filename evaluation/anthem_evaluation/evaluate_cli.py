"""`anthem evaluate`: how much better search becomes, measured on your own judgments."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import bundle_option, handle_errors, json_option, print_result, print_skipped, stderr
from anthem_core.errors import DataError, require_extra
from anthem_core.files import check_writable, is_standard_output, write_text
from anthem_evaluation.judgments import JUDGMENT_FORMATS, read_judgments

if TYPE_CHECKING:
    from anthem_evaluation.evaluate_index import IndexEvaluation
    from anthem_evaluation.judgments import JudgedQueries, JudgmentFormat
    from anthem_plugin.modes import ModeName

_FILE_PATH = click.Path(path_type=Path)
_RERANK_MODES = ("cluster", "client", "retrieve")


@dataclass(frozen=True)
class EvaluateArguments:
    """Arguments and options of `anthem evaluate`."""

    index: str
    judgments_path: Path
    queries_path: Path | None
    file_format: JudgmentFormat | None
    split: str | None
    bundle_name: str
    modes: tuple[ModeName, ...]
    field: str | None
    body_path: Path | None
    window: int
    output: Path | None
    files: Path | None
    url: str | None


@click.command()
@click.argument("index")
@click.option(
    "--judgments",
    "judgments_path",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A BEIR folder; a file of TREC or BEIR qrels, ranx JSON, Quepid CSV, or Search Relevance Workbench judgments.",
)
@click.option(
    "--queries",
    "queries_path",
    type=click.Path(exists=True, path_type=Path),
    help="Query texts, for judgments that have only ids: queries.jsonl[.gz], or lines of the form id<tab>text.",
)
@click.option("--format", "file_format", type=click.Choice(JUDGMENT_FORMATS), help="Form of the judgments.")
@click.option("--split", help="Split of a BEIR folder; defaults to test, then to dev.")
@bundle_option
@click.option(
    "--rerank",
    "modes",
    type=click.Choice(_RERANK_MODES),
    multiple=True,
    default=("cluster",),
    show_default=True,
    help="Mode to compare with the lexical search; repeatable, the first one in detail.",
)
@click.option("--field", help="Text field to search; defaults to the first field that was ingested, or title.")
@click.option(
    "--body",
    "body_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The search body of the shop as a JSON file, with {{query}} where the query text goes, instead of --field.",
)
@click.option("--window", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Hits to rerank.")
@click.option("--output", type=_FILE_PATH, help="HTML report to write; - for standard output.")
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the runs as TREC files, and for the judgments as Quepid CSV and for Search Relevance Workbench.",
)
@click.option("--url", help="URL of the cluster; defaults to OPENSEARCH_URL, then to the local node.")
@json_option
@handle_errors
def evaluate(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 (the fields of EvaluateArguments)
    """Measure on judged queries how much better INDEX is searched with reranking than without.

    Every query is searched lexically and in each mode, on the same state of the index. The report has nDCG, AP, RR and
    recall with confidence intervals and p-values (paired t-tests, with Holm's correction for all measures and modes),
    latencies, kinds of searches, and the searches that gained and lost most, side by side. Exit codes: 0 measured;
    3 the bundle cannot be used; 4 a file cannot be used; 6 the cluster refuses, or no search was reranked.

    \b
    Example:
      anthem evaluate products --judgments shop/ --split dev --output report.html
      anthem evaluate products --judgments ratings.csv --rerank cluster --rerank client
      anthem evaluate products --judgments qrels.txt --queries queries.tsv --body search.json --files results/
    """
    require_extra("demo", "ir_measures", "jinja2", "scipy")
    from anthem_evaluation.render import render_html, render_text, report_to_json

    arguments = EvaluateArguments(**options)
    if arguments.field and arguments.body_path:
        raise click.UsageError("--field and --body exclude each other: the body names its own fields.")
    output = arguments.output
    if output:
        check_writable(output)
    judged = read_judgments(arguments.judgments_path, arguments.queries_path, arguments.file_format, arguments.split)
    print_skipped(judged.skipped)
    evaluation = _evaluate(arguments, judged)
    if output:
        write_text(output, render_html(evaluation.report))
    if arguments.files:
        _write_files(evaluation, judged, arguments.files, arguments.index)
    prints_report = output is not None and is_standard_output(output)
    result = report_to_json(evaluation.report)
    print_result(result, render_text(evaluation.report), as_json=as_json, to_stderr=prints_report)
    if output and not prints_report:
        stderr.print(f"Report: {output.resolve().as_uri()}")


def _evaluate(arguments: EvaluateArguments, judged: JudgedQueries) -> IndexEvaluation:
    from anthem_core.cores import usable_cores
    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import cluster_errors, connect
    from anthem_evaluation.evaluate_index import evaluate_index
    from anthem_evaluation.measure import SearchSetup
    from anthem_plugin.client import AnthemClient

    body = _read_body(arguments.body_path) if arguments.body_path else None
    modes = list(dict.fromkeys(arguments.modes))
    encoder = Encoder(load_bundle(arguments.bundle_name), threads=usable_cores())
    with closing(connect(arguments.url, credentials=True)) as cluster, cluster_errors():
        client = AnthemClient(cluster, encoder)
        field = arguments.field or client.profile(arguments.index).text_fields[0]
        setup = SearchSetup(client, arguments.index, field, modes[0], arguments.window, body)
        return evaluate_index(cluster, judged, setup, modes, encoder)


def _read_body(path: Path) -> dict[str, Any]:
    """The body of a search, which has to have a place for the text of the query.

    Raises:
        DataError: It is no JSON object, or no string in it contains `{{query}}`.
    """
    from anthem_plugin.rewriter.placeholder import QUERY_PLACEHOLDER, fill_text
    from anthem_plugin.search_input import read_body

    body = read_body(str(path))
    if fill_text(body, "") == body:
        raise DataError(f'{path} has no "{QUERY_PLACEHOLDER}". Write it in the body where the text of the query goes.')
    return body


def _write_files(evaluation: IndexEvaluation, judged: JudgedQueries, folder: Path, index: str) -> None:
    from anthem_evaluation.judgment_files import write_judgment_files
    from anthem_evaluation.runs import write_run

    paths = write_judgment_files(judged, folder, index)
    for mode, run in evaluation.runs.items():
        name = "lexical" if mode == "none" else mode
        write_run(folder / f"{name}.trec", run, name)
        paths.append(folder / f"{name}.trec")
    stderr.print(f"Files in {folder}: {', '.join(path.name for path in paths)}")
