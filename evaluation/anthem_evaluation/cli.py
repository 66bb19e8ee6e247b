"""`anthem demo` and `anthem rerank`; the latter works in the base install, so this module imports no extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import (
    NON_EMPTY_TEXT,
    bundle_option,
    handle_errors,
    json_option,
    print_result,
    print_skipped,
    progress,
    stderr,
    without_repeats,
)
from anthem_core.errors import require_extra
from anthem_core.files import STANDARD_OUTPUT, check_writable, is_standard_output, write_text
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS
from anthem_core.output_files import bundle_files, check_output_files
from anthem_plugin.modes import default_window

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anthem_core.beir import SkippedLine
    from anthem_core.output_files import Paths
    from anthem_evaluation.offline import RerankedRun, RunProducts
    from anthem_evaluation.runs import Run
    from anthem_plugin.modes import ModeName

DEFAULT_REPORT_PATH = Path("anthem-demo/report.html")
SIGNAL_CHOICES = ("lexical,containment,attention", "lexical,containment", "lexical,attention")
_FILE_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="A BEIR folder of your own with qrels/dev.tsv.")
@bundle_option
@click.option(
    "--rerank",
    "mode",
    type=click.Choice(("client", "cluster")),
    default="cluster",
    show_default=True,
    help="Where hits are reranked: in the cluster, or in this process; the signals are the same.",
)
@click.option(
    "--output",
    default=DEFAULT_REPORT_PATH,
    show_default=True,
    type=click.Path(path_type=Path),
    help="Report to write; - for standard output.",
)
@json_option
@handle_errors
def demo(data: Path | None, bundle_name: str, mode: ModeName, output: Path, as_json: bool) -> None:
    """Try everything from scratch: start a node, index products, ingest, search before and after, write a report.

    The cluster is ANTHEM_TEST_URL, otherwise a Docker container, otherwise a local node that keeps running;
    OPENSEARCH_URL is never used. The index of the demo is created again each time.

    \b
    Example:
        anthem demo
        anthem demo --data catalogue/
    """
    require_extra("demo", "ir_measures", "jgo", "jinja2", "scipy")
    from anthem_evaluation.demo import run_demo
    from anthem_evaluation.render import render_html, render_text, report_to_json

    check_output_files({"--output": output}, {"--data": data, "--bundle": bundle_files(bundle_name)})
    check_writable(output)
    outcome = run_demo(data, bundle_name, mode)
    write_text(output, render_html(outcome.report))
    result = {**report_to_json(outcome.report), "report": str(output), "url": outcome.url, "index": outcome.index}
    prints_report = is_standard_output(output)
    print_result(result, render_text(outcome.report), as_json=as_json, to_stderr=prints_report)
    if not prints_report:
        stderr.print(f"Report: {output.resolve().as_uri()}")
    if outcome.keeps_running:
        command = f"anthem search {outcome.index} 'your query' --bundle {bundle_name} --url {outcome.url}"
        page = f"anthem serve --ui --index {outcome.index} --bundle {bundle_name} --url {outcome.url}"
        stderr.print(f"The node keeps running. Try: {command}")
        stderr.print(f"Or in a browser, at http://127.0.0.1:8000/ui, after: {page}")
        stderr.print("Stop it with: anthem node stop")


@click.command()
@bundle_option
@click.option("--corpus", required=True, type=_FILE_PATH, help="Products: corpus.jsonl[.gz] or its folder.")
@click.option("--queries", required=True, type=_FILE_PATH, help="Query texts: queries.jsonl[.gz] or its folder.")
@click.option(
    "--run", "before", required=True, type=_FILE_PATH, help="TREC run[.gz] of a lexical engine, with its scores."
)
@click.option("--output", required=True, type=_FILE_PATH, help="TREC run to write; - for standard output.")
@click.option("--signals", type=click.Choice(SIGNAL_CHOICES), help="Signals to rank by; defaults to all of the bundle.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    type=NON_EMPTY_TEXT,
    callback=without_repeats,
    default=DEFAULT_TEXT_FIELDS,
    show_default=True,
    help="Field of the product text; repeatable.",
)
@click.option(
    "--window",
    type=click.IntRange(1),
    help="Number of products per query to rerank; defaults to that of the bundle, or 100.",
)
@json_option
@handle_errors
def rerank(  # noqa: PLR0913 (one argument per option)
    *,
    bundle_name: str,
    corpus: Path,
    queries: Path,
    before: Path,
    output: Path,
    signals: str | None,
    fields: tuple[str, ...],
    window: int | None,
    as_json: bool,
) -> None:
    """Rerank a TREC run offline, without a cluster.

    Every product of the run is kept. A product missing from the corpus gets the median of each signal. Products below
    the window, and queries without a text, keep their order. The scores written count down from n to 1, so that every
    evaluation tool sees the same order. Exit codes: 3 the bundle cannot be used, 4 a file cannot be used.

    \b
    Example:
      anthem rerank --corpus corpus.jsonl.gz --queries queries.jsonl --run bm25.trec --output anthem.trec
      anthem rerank --bundle my-bundle --corpus catalogue/ --queries q.jsonl --run in.trec --output out.trec --json
    """
    from anthem_core.cores import usable_cores
    from anthem_core.encoding.bundle import load_bundle
    from anthem_evaluation import offline
    from anthem_evaluation.runs import read_run, write_run
    from anthem_ingest.actions import check_beir_fields

    data: dict[str, Paths] = {"--corpus": corpus, "--queries": queries, "--run": before}
    check_output_files({"--output": output}, data | {"--bundle": bundle_files(bundle_name)})
    check_beir_fields(fields)
    skipped_lines: list[SkippedLine] = []
    bundle = load_bundle(bundle_name)
    window, run = window or default_window(bundle), read_run(before)
    texts = offline.read_query_texts(queries, skipped_lines)
    _check_run(before, run, queries, texts)
    chosen = (signals or offline.available_signals(bundle)).split(",")
    reranker = offline.OfflineReranker.from_bundle(bundle, chosen, threads=usable_cores())
    check_writable(output)
    ids = offline.products_in_windows(run, window)
    texts_by_product = _read_corpus(corpus, ids, fields, skipped_lines)
    with progress("encoding", len(texts_by_product)) as advance:
        products = reranker.encode_products(texts_by_product, advance)
    with progress("reranking", len(run)) as advance:
        reranked = offline.rerank_run(run, texts, products, reranker, window=window, advance=advance)
    write_run(output, reranked.run)
    result = {"output": str(output), "model": bundle.model_id, "signals": chosen, "window": window}
    result |= _counts(reranked, ids, products)
    print_result(result, _summary_text(result), as_json=as_json, to_stderr=is_standard_output(output))


def _check_run(path: Path, run: Run, queries: Path, texts: Collection[str]) -> None:
    from anthem_evaluation.offline import are_ranks, check_query_ids, check_scores

    check_scores(run)
    check_query_ids(run, texts, queries)
    if are_ranks(run):
        stderr.print(f"Warning: the scores of {path} are ranks. The result differs from a search by lexical scores.")


def _read_corpus(
    corpus: Path, ids: set[str], fields: Sequence[str], skipped_lines: list[SkippedLine]
) -> dict[str, str]:
    """Texts of products; the lines that were skipped, of other files too, are printed."""
    from anthem_core.beir import find_corpus
    from anthem_evaluation.offline import read_product_texts

    file = find_corpus(corpus) if corpus.is_dir() else corpus
    with progress("reading the corpus") as advance:
        texts = read_product_texts(file, ids, fields, skipped_lines, advance)
    print_skipped(skipped_lines)
    return texts


def _counts(reranked: RerankedRun, ids: set[str], products: RunProducts) -> dict[str, Any]:
    return {
        "queries": len(reranked.run),
        "reranked": len(reranked.run) - len(reranked.not_reranked),
        "left_alone": reranked.not_reranked,
        "products": len(ids),
        "not_in_corpus": len(ids - products.rows.keys()),
    }


def _summary_text(result: dict[str, Any]) -> str:
    counts, signals = f"{result['reranked']} of {result['queries']} queries", ", ".join(result["signals"])
    place = "Standard output" if result["output"] == str(STANDARD_OUTPUT) else result["output"]
    lines = [f"{place}: {counts} reranked by {signals}, the first {result['window']} products of each"]
    if result["left_alone"]:
        query, reason = next(iter(result["left_alone"].items()))
        lines.append(f"{len(result['left_alone'])} queries kept their order, such as {query}: {reason}")
    if result["not_in_corpus"]:
        counts = f"{result['not_in_corpus']} of {result['products']} products"
        lines.append(f"{counts} are not in the corpus and get the median of each signal")
    return "\n".join(lines)
