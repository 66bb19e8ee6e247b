"""`anthem tune`: fusion weights and window for an index, chosen on judged queries."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import (
    bundle_option,
    handle_errors,
    json_option,
    print_result,
    print_skipped,
    progress,
    stderr,
    url_option,
)
from anthem_core.errors import require_extra
from anthem_core.files import check_writable
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
    from anthem_core.encoding.bundle import Bundle
    from anthem_evaluation.judgments import JudgedQueries
    from anthem_evaluation.tune.tuning import TuningResult

_PICTURE_PATH = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class TuneArguments(JudgmentSource):
    """Arguments and options of `anthem tune`."""

    index: str
    bundle_name: str
    field: str | None
    body_path: Path | None
    largest_window: int
    judged_only: bool
    folds: int
    output: Path | None
    png: Path | None
    svg: Path | None
    url: str | None


@click.command()
@click.argument("index")
@judgment_options
@bundle_option
@search_options
@click.option(
    "--largest-window",
    type=click.IntRange(10, 10_000),
    default=200,
    show_default=True,
    help="Largest number of hits to rerank that is tried.",
)
@click.option(
    "--judged-only",
    is_flag=True,
    help="Leave unjudged products out of the lists, instead of counting them as irrelevant.",
)
@click.option(
    "--folds", type=click.IntRange(2, 20), default=5, show_default=True, help="Folds of the cross-validation."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder for the tuned bundle, if it is better.",
)
@click.option("--png", type=_PICTURE_PATH, help="Write the gain by window and weights as a PNG picture.")
@click.option("--svg", type=_PICTURE_PATH, help="Write the gain by window and weights as an SVG picture.")
@url_option
@json_option
@handle_errors
def tune(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 (the fields of TuneArguments)
    """Choose fusion weights and window for INDEX on judged queries, and write a bundle if they are better.

    Every set of weights reranks the lexical hits of every judged query. Weights and window are chosen on some of the
    queries and measured on the others. They replace the current ones only if held-out queries gain significantly
    (paired t-test, p < .05) and do not lose to the lexical order. The tuned bundle has the same graphs and the same
    model id, so nothing is ingested again. Exit codes: 0 better weights found; 1 the current ones are kept; 3 the
    bundle cannot be used or written; 4 a file cannot be used, or there are too few judgments; 6 the cluster refuses, or
    INDEX has no values of the model.

    \b
    Example:
      anthem tune products --judgments shop/ --split dev --output bundles/tuned
      anthem tune products --judgments ratings.csv --judged-only --png tuning.png --output bundles/tuned
      anthem search products 'fire tv' --bundle bundles/tuned
    """
    require_extra("demo", "ir_measures", "scipy")
    from anthem_core.encoding.bundle import load_bundle
    from anthem_evaluation.tune.candidates import merge_same_texts
    from anthem_evaluation.tune.text import render_result, result_to_json
    from anthem_evaluation.tune.tuned_bundle import check_new_folder

    arguments = TuneArguments(**options)
    check_search_options(arguments.field, arguments.body_path)
    pictures = {"--png": arguments.png, "--svg": arguments.svg}
    check_files(arguments, arguments.bundle_name, arguments.body_path, pictures)
    _check_pictures(arguments)
    if arguments.output:
        check_new_folder(arguments.output)
    judged = merge_same_texts(arguments.read(arguments.url))
    print_skipped(judged.skipped)
    bundle = load_bundle(arguments.bundle_name)
    result = _tune(arguments, judged, bundle)
    is_tuned = result.decision == "tuned"
    if is_tuned and arguments.output:
        _write_bundle(arguments, bundle, result)
    _write_pictures(arguments, result)
    written = str(arguments.output) if is_tuned and arguments.output else None
    value = {"index": arguments.index, "bundle": written, **result_to_json(result)}
    print_result(value, render_result(arguments.index, result), as_json=as_json)
    if written:
        stderr.print(f"Bundle: {written}; use it with: anthem search {arguments.index} QUERY --bundle {written}")
    click.get_current_context().exit(0 if is_tuned else 1)


def _check_pictures(arguments: TuneArguments) -> None:
    for path in filter(None, (arguments.png, arguments.svg)):
        require_extra("pictures", "matplotlib")
        check_writable(path)


def _write_pictures(arguments: TuneArguments, result: TuningResult) -> None:
    for path, kind in ((arguments.png, "png"), (arguments.svg, "svg")):
        if path:
            from anthem_evaluation.tune.picture import write_tuning_picture

            write_tuning_picture(arguments.index, result, path, kind)
            stderr.print(f"Picture: {path}")


def _tune(arguments: TuneArguments, judged: JudgedQueries, bundle: Bundle) -> TuningResult:
    from anthem_core.cores import usable_cores
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.connection import cluster_errors, connect
    from anthem_evaluation.measure import SearchSetup
    from anthem_evaluation.tune.candidates import CandidateReader, check_tunable, ranking_signals, read_candidate_lists
    from anthem_evaluation.tune.tuning import TuningPlan, tune_candidates, tuning_windows
    from anthem_plugin.client import AnthemClient
    from anthem_plugin.modes import default_window
    from anthem_plugin.search.page_limit import fit_page, page_limit_note

    body = read_body_template(arguments.body_path) if arguments.body_path else None
    encoder = Encoder(bundle, threads=usable_cores())
    with closing(connect(arguments.url, credentials=True)) as cluster, cluster_errors():
        client = AnthemClient(cluster, encoder)
        wanted = max(default_window(bundle), arguments.largest_window)
        limit = fit_page(cluster, arguments.index, wanted)  # or says that the index is closed
        field = find_field(client, cluster, arguments.index, arguments.field, body)
        if note := page_limit_note(arguments.index, limit, wanted):
            stderr.print(note)
        current = min(default_window(bundle), limit)
        windows = tuning_windows(current, min(arguments.largest_window, limit))
        setup = SearchSetup(client, arguments.index, field, "client", current, body, limit)
        reader = CandidateReader.create(cluster, setup, encoder, max(windows))
        with progress("searching", len(judged.qrels)) as advance:
            candidates = read_candidate_lists(reader, judged, advance)
        check_tunable(candidates, arguments.index)
    plan = TuningPlan(
        candidates,
        reader.profile.scoring,
        ranking_signals(candidates),
        current,
        windows,
        arguments.folds,
        arguments.judged_only,
    )
    with progress("scoring", len(candidates)) as advance:
        return tune_candidates(plan, advance)


def _write_bundle(arguments: TuneArguments, bundle: Bundle, result: TuningResult) -> None:
    from anthem_evaluation.tune.tuned_bundle import write_tuned_bundle
    from anthem_plugin.scoring.params import FUSION_NAMES

    if arguments.output is None:
        return
    signals = next(each for each in FUSION_NAMES if {"lexical", *each} == {*result.signals})
    record = {
        "index": arguments.index,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "queries": result.queries,
        "held_out_ndcg_10": {
            "lexical": asdict(result.against_lexical),
            "former": asdict(result.against_current),
        },
    }
    write_tuned_bundle(bundle, arguments.output, signals, result.weights, result.window, record)
