"""From a cluster, a bundle and judgments to a report: lexical against reranked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.geometry.regions import contained as inside
from anthem_core.geometry.regions import query_distance
from anthem_evaluation.report import Example, ExampleHit
from anthem_evaluation.runs import ranked_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.runs import Run


import datetime as dt
from typing import TYPE_CHECKING

from anthem_core.console import progress
from anthem_core.errors import ClusterError, DataError
from anthem_evaluation.generality import measure_generality, query_sizes
from anthem_evaluation.measure import describe_machine, measure_containment, measure_latencies, run_queries
from anthem_evaluation.metrics import HEADLINE_MEASURE, compare_runs
from anthem_evaluation.report import BundleSummary, DatasetSummary, Report, render_html

if TYPE_CHECKING:
    from pathlib import Path

    from anthem_core import beir
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.measure import SearchRun, SearchSetup
    from anthem_plugin.client import ModeName

TIMED_QUERIES = 50  # queries whose searches are timed


@dataclass(frozen=True)
class EvaluationSet:
    """What was judged: a data set, its name, and the split of its queries that is measured."""

    name: str
    dataset: beir.Dataset
    split: str

    @property
    def qrels(self) -> beir.Qrels:
        """Judgments of the split."""
        return self.dataset.qrels[self.split]

    @property
    def queries(self) -> dict[str, str]:
        """Texts of the judged queries, by id."""
        return {query: self.dataset.queries[query] for query in self.qrels}


def evaluate_reranking(judgments: EvaluationSet, searches: SearchSetup, encoder: Encoder, cluster: str) -> Report:
    """Run every judged query lexically and reranked, on the same state of the index, and report on both.

    Raises:
        ClusterError: Not one query was reranked; the message says why.
    """
    queries = judgments.queries
    lexical = _search_all(searches, queries, "none").run
    measured = _search_all(searches, queries, searches.mode)
    comparison = compare_runs(lexical, measured.run, judgments.qrels)
    examples = ExampleBuilder(judgments.dataset, judgments.qrels, encoder, lexical, measured.run)
    return Report(
        title=f"Lexical against reranked on {judgments.name}",
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=describe_machine(),
        dataset=_summarise_dataset(judgments),
        cluster=cluster,
        bundle=BundleSummary(encoder.bundle.path.name, encoder.bundle.model, encoder.bundle.bytes),
        comparison=comparison,
        queries=queries,
        latencies=measure_latencies(searches, list(queries.values())[:TIMED_QUERIES]),
        contained=measure_containment(encoder, judgments.dataset, judgments.qrels),
        examples=tuple(examples.example(query) for query in select_examples(comparison[HEADLINE_MEASURE].changes)),
        limits=_not_reranked_note(measured, queries),
        generality=measure_generality(query_sizes(encoder, queries), judgments.dataset, queries),
    )


def _search_all(searches: SearchSetup, queries: dict[str, str], mode: ModeName) -> SearchRun:
    with progress("searching as before" if mode == "none" else "searching, reranked", len(queries)) as advance:
        return run_queries(searches, queries, mode=mode, advance=advance)


def _not_reranked_note(measured: SearchRun, queries: dict[str, str]) -> tuple[str, ...]:
    """What has to be said of queries that were not reranked, and count here as they were."""
    if not measured.left_alone:
        return ()
    query, reason = next(iter(measured.left_alone.items()))
    count, text = len(measured.left_alone), queries[query]
    if count == len(queries):
        raise ClusterError(f"No search was reranked: {reason}. Try: anthem search INDEX '{text}' --rerank client")
    return (f"{count} of {len(queries)} searches were not reranked, such as '{text}': {reason}.",)


def _summarise_dataset(judgments: EvaluationSet) -> DatasetSummary:
    grades = [grade for judged in judgments.qrels.values() for grade in judged.values()]
    return DatasetSummary(
        judgments.name, len(judgments.dataset.products), len(judgments.qrels), len(grades), max(grades, default=0)
    )


def check_output_path(path: Path) -> None:
    """Refuse before the work a report that could not be written after it.

    Raises:
        DataError: The path is a folder, or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        path.open("ab").close()
        if new:  # work that fails leaves no empty file behind
            path.unlink()
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); name a file with --output.") from error


def write_report(report: Report, path: Path) -> None:
    """Write a report as a page that can be opened from the disk."""
    path.write_text(render_html(report), encoding="utf-8")


EXAMPLE_HITS = 10


@dataclass(frozen=True)
class ExampleBuilder:
    """Everything the examples of a report are drawn from."""

    dataset: Dataset
    qrels: Qrels
    encoder: Encoder
    before: Run
    after: Run

    def example(self, query_id: str) -> Example:
        """One search, its first ten hits before and after."""
        before, after = ranked_ids(self.before[query_id]), ranked_ids(self.after[query_id])
        rank = {product: place for place, product in enumerate(before, start=1)}
        shown = list(dict.fromkeys([*before[:EXAMPLE_HITS], *after[:EXAMPLE_HITS]]))
        hits = {hit.product: hit for hit in self._hits(query_id, shown, rank)}
        first, then = ([hits[product] for product in order[:EXAMPLE_HITS]] for order in (before, after))
        return Example(query_id, self.dataset.queries[query_id], tuple(first), tuple(then))

    def _hits(self, query_id: str, shown: Sequence[str], rank: Mapping[str, int]) -> list[ExampleHit]:
        query = self.encoder.query(self.dataset.queries[query_id])
        titles = [self.dataset.products[product].title for product in shown]
        known = self.qrels.get(query_id, {})
        if query is None or not shown:
            return [
                ExampleHit(product, title, known.get(product)) for product, title in zip(shown, titles, strict=True)
            ]
        points = self.encoder.products(titles)
        bundle = self.encoder.bundle
        signals = zip(query_distance(query, points, bundle.gamma), inside(query, points, bundle.slack), strict=True)
        return [
            ExampleHit(
                product,
                title,
                known.get(product),
                contained=bool(lies_inside),
                containment=-float(distance),
                was=rank.get(product),
            )
            for product, title, (distance, lies_inside) in zip(shown, titles, signals, strict=True)
        ]


def select_examples(changes: Mapping[str, float], count: int = 5) -> list[str]:
    """Queries spread evenly over the changes, from the most gained to the most lost: no picking of winners."""
    ordered = sorted(changes, key=lambda query: (-changes[query], query))
    if len(ordered) <= count:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (count - 1))] for place in range(count)]
