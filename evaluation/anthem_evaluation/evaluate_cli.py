"""`anthem evaluate`: how much better search becomes, measured on your own judgments."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import (
    bundle_option,
    handle_errors,
    json_option,
    print_result,
    print_skipped,
    stderr,
    url_option,
)
from anthem_core.errors import require_extra
from anthem_core.files import check_writable, is_standard_output, write_text
from anthem_evaluation.evaluate_options import (
    JudgmentSource,
    check_files,
    check_search_options,
    find_field,
    judgment_options,
    read_body_template,
    search_options,
)

if TYPE_CHECKING:
    from anthem_evaluation.evaluate_index import IndexEvaluation
    from anthem_evaluation.judgments import JudgedQueries
    from anthem_plugin.modes import ModeName

_FILE_PATH = click.Path(path_type=Path)
_RERANK_MODES = ("cluster", "client", "retrieve")


@dataclass(frozen=True)
class EvaluateArguments(JudgmentSource):
    """Arguments and options of `anthem evaluate`."""

    index: str
    bundle_name: str
    modes: tuple[ModeName, ...]
    field: str | None
    body_path: Path | None
    window: int | None
    output: Path | None
    files: Path | None
    url: str | None

    @property
    def written_files(self) -> list[Path]:
        """The files of `--files`."""
        from anthem_evaluation.judgment_files import JUDGMENT_FILES

        runs = (run_file(mode) for mode in ("none", *self.modes))
        return [self.files / name for name in (*JUDGMENT_FILES, *runs)] if self.files else []


@click.command()
@click.argument("index")
@judgment_options
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
@search_options
@click.option(
    "--window", type=click.IntRange(1, 10_000), help="Hits to rerank; defaults to that of the bundle, or 100."
)
@click.option("--output", type=_FILE_PATH, help="HTML report to write; - for standard output.")
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the runs as TREC files, and for the judgments as Quepid CSV and for Search Relevance Workbench.",
)
@url_option
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
    check_search_options(arguments.field, arguments.body_path)
    output = arguments.output
    outputs = {"--output": output, "--files": arguments.written_files}
    check_files(arguments, arguments.bundle_name, arguments.body_path, outputs)
    if output:
        check_writable(output)
    if arguments.files:
        check_writable(arguments.files / run_file("none"), "--files")
    judged = arguments.read(arguments.url)
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
    from anthem_evaluation.evaluate_index import FETCHED_PRODUCTS, evaluate_index
    from anthem_evaluation.measure import SearchSetup
    from anthem_plugin.client import AnthemClient
    from anthem_plugin.modes import default_window
    from anthem_plugin.search.page_limit import fit_page

    body = read_body_template(arguments.body_path) if arguments.body_path else None
    modes = list(dict.fromkeys(arguments.modes))
    encoder = Encoder(load_bundle(arguments.bundle_name), threads=usable_cores())
    with closing(connect(arguments.url, credentials=True)) as cluster, cluster_errors():
        client = AnthemClient(cluster, encoder)
        window = arguments.window or default_window(encoder.bundle)
        limit = fit_page(cluster, arguments.index, max(FETCHED_PRODUCTS, window))  # or says that the index is closed
        field = find_field(client, cluster, arguments.index, arguments.field, body)
        setup = SearchSetup(client, arguments.index, field, modes[0], window, body, limit)
        return evaluate_index(cluster, judged, setup, modes, encoder)


def run_file(mode: str) -> str:
    """Name of the file of a mode's run."""
    return "lexical.trec" if mode == "none" else f"{mode}.trec"


def _write_files(evaluation: IndexEvaluation, judged: JudgedQueries, folder: Path, index: str) -> None:
    from anthem_evaluation.judgment_files import write_judgment_files
    from anthem_evaluation.runs import write_run

    paths = write_judgment_files(judged, folder, index)
    for mode, run in evaluation.runs.items():
        path = folder / run_file(mode)
        write_run(path, run, path.stem)
        paths.append(path)
    stderr.print(f"Files in {folder}: {', '.join(path.name for path in paths)}")
