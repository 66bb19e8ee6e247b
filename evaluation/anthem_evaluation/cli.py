"""`anthem demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import handle_errors, json_option, print_result, progress, stderr

if TYPE_CHECKING:
    from anthem_core.beir import SkippedLine
    from anthem_evaluation.offline import OfflineReranker, RunProducts


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anthem_plugin.client import ModeName

DEFAULT_REPORT_PATH = Path("anthem-demo/report.html")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Another BEIR folder, with judgments in qrels/dev.tsv.")
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@click.option(
    "--rerank",
    "mode",
    type=click.Choice(("client", "cluster")),
    default="client",
    show_default=True,
    help="Where hits are reranked: the client reads titles too, the cluster vectors alone.",
)
@click.option(
    "--output", default=DEFAULT_REPORT_PATH, show_default=True, type=click.Path(path_type=Path), help="Report to write."
)
@json_option
@handle_errors
def demo(data: Path | None, bundle: str, mode: ModeName, output: Path, as_json: bool) -> None:
    """Do the whole main job from nothing: node, products, vectors, searches before and after, a report.

    The cluster is ANTHEM_TEST_URL, else a Docker container, else a local node, which stays up afterwards;
    never OPENSEARCH_URL. The demo's index is made anew each time.

    \b
    Example:
        anthem demo
        anthem demo --data shop/
    """
    from anthem_evaluation.demo import run_demo
    from anthem_evaluation.evaluate import check_output_path, write_report
    from anthem_evaluation.report import render_text
    from anthem_evaluation.report import report_to_json as to_json

    check_output_path(output)
    done = run_demo(data, bundle, mode)
    write_report(done.report, output)
    result = {**to_json(done.report), "report": str(output), "url": done.url, "index": done.index}
    print_result(result, render_text(done.report), as_json=as_json)
    stderr.print(f"Report: {output.resolve().as_uri()}")
    if done.lasting:
        stderr.print(
            f"The node stays up. Try: anthem search {done.index} 'your query' --bundle {bundle} --url {done.url}"
        )
        stderr.print("Stop it: anthem node stop")


SIGNAL_CHOICES = ("lexical,containment,attention", "lexical,containment", "lexical,attention")
_MAX_LISTED_PROBLEMS = 10
_FILE_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@click.option("--corpus", required=True, type=_FILE_PATH, help="Products: corpus.jsonl[.gz] or its folder.")
@click.option("--queries", required=True, type=_FILE_PATH, help="Texts of the queries: queries.jsonl[.gz].")
@click.option("--run", "before", required=True, type=_FILE_PATH, help="TREC run of a lexical engine, with its scores.")
@click.option("--output", required=True, type=_FILE_PATH, help="TREC run to write.")
@click.option("--signals", type=click.Choice(SIGNAL_CHOICES), help="What to rank by, if not all that the bundle knows.")
@click.option("--field", "fields", multiple=True, default=("title",), show_default=True, help="As in anthem ingest.")
@click.option(
    "--window", type=click.IntRange(1), default=100, show_default=True, help="Products a query that are reranked."
)
@json_option
@handle_errors
def rerank(  # noqa: PLR0913 (an argument an option)
    *,
    bundle: str,
    corpus: Path,
    queries: Path,
    before: Path,
    output: Path,
    signals: str | None,
    fields: tuple[str, ...],
    window: int,
    as_json: bool,
) -> None:
    """Rerank a TREC run offline, by all signals; no cluster is needed.

    Every product of the run is kept. One that is not in the corpus counts as the median of each signal; those beneath
    the window, and queries without a text, keep their order. Scores written are places, n to 1, so that every
    evaluator sees the same order. Exit codes: 3 the bundle cannot be used, 4 a file cannot be used.

    \b
    Example:
      anthem rerank --corpus corpus.jsonl.gz --queries queries.jsonl --run bm25.trec --output anthem.trec
      anthem rerank --bundle bundles/shop --corpus shop/ --queries q.jsonl --run in.trec --output out.trec --json
    """
    import os

    from anthem_core.encoding.bundle import load_bundle
    from anthem_evaluation.evaluate import check_output_path
    from anthem_evaluation.offline import (
        OfflineReranker,
        available_signals,
        check_scores,
        products_in_windows,
        read_queries,
        rerank_run,
    )
    from anthem_evaluation.runs import read_run, write_run
    from anthem_ingest.actions import check_beir_fields

    check_beir_fields(fields)
    loaded, run, texts = load_bundle(bundle), read_run(before), read_queries(queries)
    check_scores(run)
    chosen = signals or available_signals(loaded)
    ranker = OfflineReranker.of(loaded, chosen.split(","), threads=os.cpu_count() or 1)
    check_output_path(output)
    wanted = products_in_windows(run, window)
    products = _read_run_products(corpus, wanted, ranker, fields, contained="containment" in chosen)
    with progress("reranking", len(run)) as advance:
        done = rerank_run(run, texts, products, ranker, window=window, advance=advance)
    write_run(output, done.run)
    result = {"output": str(output), "model": loaded.model, "signals": chosen.split(","), "window": window}
    result |= {"queries": len(run), "reranked": len(run) - len(done.left_alone), "left_alone": done.left_alone}
    result |= {"products": len(wanted), "not_in_corpus": len(wanted - products.texts.keys())}
    print_result(result, _summary_text(result), as_json=as_json)


def _read_run_products(
    corpus: Path, wanted: set[str], ranker: OfflineReranker, fields: tuple[str, ...], *, contained: bool
) -> RunProducts:
    from anthem_core.beir import find_corpus
    from anthem_evaluation.offline import RunProducts, encode_products, read_product_texts

    problems: list[SkippedLine] = []
    with progress("reading the corpus") as advance:
        texts = read_product_texts(
            find_corpus(corpus) if corpus.is_dir() else corpus, wanted, fields, problems, advance
        )
    for problem in problems[:_MAX_LISTED_PROBLEMS]:
        stderr.print(f"skipped {problem}")
    if not contained:
        return RunProducts(texts, {})
    with progress("encoding", len(texts)) as advance:
        return RunProducts(texts, encode_products(texts, ranker.encoder, advance))


def _summary_text(result: dict[str, Any]) -> str:
    """What was done, for people."""
    count, by = f"{result['reranked']} of {result['queries']} queries", ", ".join(result["signals"])
    lines = [f"{result['output']}: {count} reranked by {by}, the first {result['window']} products of each"]
    if result["left_alone"]:
        query, why = next(iter(result["left_alone"].items()))
        lines.append(f"{len(result['left_alone'])} queries kept their order, such as {query}: {why}")
    if result["not_in_corpus"]:
        lines.append(
            f"{result['not_in_corpus']} of {result['products']} products are not in the corpus: median signals"
        )
    return "\n".join(lines)
