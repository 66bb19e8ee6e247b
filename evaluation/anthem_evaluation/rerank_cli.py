"""`anthem rerank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import emit, ends_cleanly, err, json_option, progress

if TYPE_CHECKING:
    from anthem_core.beir import Problem
    from anthem_evaluation.rerank import Products, Ranker

SIGNALS = ("lexical,containment,attention", "lexical,containment", "lexical,attention")
_LISTED = 10
_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@click.option("--corpus", required=True, type=_FILE, help="Products: corpus.jsonl[.gz] or its folder.")
@click.option("--queries", required=True, type=_FILE, help="Texts of the queries: queries.jsonl[.gz].")
@click.option("--run", "before", required=True, type=_FILE, help="TREC run of a lexical engine, with its scores.")
@click.option("--output", required=True, type=_FILE, help="TREC run to write.")
@click.option("--signals", type=click.Choice(SIGNALS), help="What to rank by, if not all that the bundle knows.")
@click.option("--field", "fields", multiple=True, default=("title",), show_default=True, help="As in anthem ingest.")
@click.option(
    "--window", type=click.IntRange(1), default=100, show_default=True, help="Products a query that are reranked."
)
@json_option
@ends_cleanly
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

    from anthem_core.bundle import load
    from anthem_evaluation.assess import check_writable
    from anthem_evaluation.rerank import Ranker, best_signals, check_scores, in_windows, rerank_run
    from anthem_evaluation.rerank_files import read_queries
    from anthem_evaluation.trec import read_run, write_run
    from anthem_ingest.actions import check_parts

    check_parts(fields)
    loaded, run, texts = load(bundle), read_run(before), read_queries(queries)
    check_scores(run)
    chosen = signals or best_signals(loaded)
    ranker = Ranker.of(loaded, chosen.split(","), threads=os.cpu_count() or 1)
    check_writable(output)
    wanted = in_windows(run, window)
    products = _products(corpus, wanted, ranker, fields, contained="containment" in chosen)
    with progress("reranking", len(run)) as advance:
        done = rerank_run(run, texts, products, ranker, window=window, advance=advance)
    write_run(output, done.run)
    result = {"output": str(output), "model": loaded.model, "signals": chosen.split(","), "window": window}
    result |= {"queries": len(run), "reranked": len(run) - len(done.left_alone), "left_alone": done.left_alone}
    result |= {"products": len(wanted), "not_in_corpus": len(wanted - products.texts.keys())}
    emit(result, as_text(result), as_json=as_json)


def _products(corpus: Path, wanted: set[str], ranker: Ranker, fields: tuple[str, ...], *, contained: bool) -> Products:
    from anthem_core.beir import corpus_of
    from anthem_evaluation.rerank import Products, encode, read_texts

    problems: list[Problem] = []
    with progress("reading the corpus") as advance:
        texts = read_texts(corpus_of(corpus) if corpus.is_dir() else corpus, wanted, fields, problems, advance)
    for problem in problems[:_LISTED]:
        err.print(f"skipped {problem}")
    if not contained:
        return Products(texts, {})
    with progress("encoding", len(texts)) as advance:
        return Products(texts, encode(texts, ranker.encoder, advance))


def as_text(result: dict[str, Any]) -> str:
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
