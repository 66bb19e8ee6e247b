"""Evaluation of an index: every judged query lexically and reranked, compared in a report with examples."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.console import progress
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import ClusterError
from anthem_evaluation.generality import measure_generality, query_sizes
from anthem_evaluation.measure import describe_machine, measure_containment, measure_latencies, run_queries
from anthem_evaluation.metrics import HEADLINE_MEASURE, compare_runs
from anthem_evaluation.report import BundleSummary, DatasetSummary, Example, ExampleHit, Report
from anthem_evaluation.runs import ranked_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.measure import SearchRun, SearchSetup
    from anthem_evaluation.runs import Run
    from anthem_plugin.modes import ModeName

TIMED_QUERIES = 50  # queries whose searches are timed
EXAMPLE_HITS = 10  # hits of an example, before and after


@dataclass(frozen=True)
class EvaluationSet:
    """A dataset, its name, and the split whose queries are evaluated."""

    name: str
    dataset: Dataset
    split: str

    @property
    def qrels(self) -> Qrels:
        """Judgments of the split."""
        return self.dataset.qrels[self.split]

    @property
    def queries(self) -> dict[str, str]:
        """Texts of the judged queries, by id."""
        return {query: self.dataset.queries[query] for query in self.qrels}


def evaluate_reranking(evaluation_set: EvaluationSet, setup: SearchSetup, encoder: Encoder, cluster: str) -> Report:
    """Run every judged query lexically and reranked on the same state of the index, and report on both.

    Raises:
        ClusterError: No query was reranked; the message gives the reason.
    """
    queries, qrels = evaluation_set.queries, evaluation_set.qrels
    lexical = _search_all(setup, queries, "none").run
    reranked = _search_all(setup, queries, setup.mode)
    comparison = compare_runs(lexical, reranked.run, qrels)
    attention = AttentionScorer(encoder.bundle) if encoder.bundle.has_attention else None
    builder = ExampleBuilder(evaluation_set.dataset, qrels, encoder, attention, lexical, reranked.run)
    example_queries = select_examples(comparison[HEADLINE_MEASURE].changes)
    return Report(
        title=f"Lexical against reranked on {evaluation_set.name}",
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=describe_machine(),
        dataset=_summarise_dataset(evaluation_set),
        cluster=cluster,
        bundle=BundleSummary(encoder.bundle.path.name, encoder.bundle.model_id, encoder.bundle.size_bytes),
        comparison=comparison,
        signals=reranked.signals,
        queries=queries,
        latencies=measure_latencies(setup, list(queries.values())[:TIMED_QUERIES]),
        contained=measure_containment(encoder, evaluation_set.dataset, qrels),
        examples=tuple(builder.build(query) for query in example_queries),
        limits=_not_reranked_note(reranked, queries),
        generality=measure_generality(query_sizes(encoder, queries), evaluation_set.dataset, queries),
    )


def _search_all(setup: SearchSetup, queries: dict[str, str], mode: ModeName) -> SearchRun:
    with progress("searching, lexical" if mode == "none" else "searching, reranked", len(queries)) as advance:
        return run_queries(setup, queries, mode=mode, advance=advance)


def _not_reranked_note(search_run: SearchRun, queries: dict[str, str]) -> tuple[str, ...]:
    """A sentence about the queries that were not reranked, which are measured in their lexical order."""
    if not search_run.not_reranked:
        return ()
    query, reason = next(iter(search_run.not_reranked.items()))
    count, text = len(search_run.not_reranked), queries[query]
    if count == len(queries):
        raise ClusterError(f"No search was reranked: {reason}. Try: anthem search INDEX '{text}' --rerank client")
    return (f"{count} of {len(queries)} searches were not reranked, such as '{text}': {reason}.",)


def _summarise_dataset(evaluation_set: EvaluationSet) -> DatasetSummary:
    grades = [grade for query_grades in evaluation_set.qrels.values() for grade in query_grades.values()]
    return DatasetSummary(
        name=evaluation_set.name,
        products=len(evaluation_set.dataset.products),
        queries=len(evaluation_set.qrels),
        judgments=len(grades),
        top_grade=max(grades, default=0),
    )


def select_examples(changes: Mapping[str, float], count: int = 5) -> list[str]:
    """Queries spread evenly over the changes, from the largest gain to the largest loss, so none is cherry-picked."""
    ordered = sorted(changes, key=lambda query: (-changes[query], query))
    if len(ordered) <= count:
        return ordered
    return [ordered[round(number * (len(ordered) - 1) / (count - 1))] for number in range(count)]


@dataclass(frozen=True)
class ExampleBuilder:
    """Builds the examples of a report from a dataset and two runs."""

    dataset: Dataset
    qrels: Qrels
    encoder: Encoder
    attention: AttentionScorer | None
    before: Run
    after: Run

    def build(self, query_id: str) -> Example:
        """One search with its first ten hits before and after reranking."""
        before, after = ranked_ids(self.before[query_id]), ranked_ids(self.after[query_id])
        former_ranks = {product: rank for rank, product in enumerate(before, start=1)}
        shown = list(dict.fromkeys([*before[:EXAMPLE_HITS], *after[:EXAMPLE_HITS]]))
        hits = {hit.product: hit for hit in self._build_hits(query_id, shown, former_ranks)}
        hits_before, hits_after = (tuple(hits[product] for product in ids[:EXAMPLE_HITS]) for ids in (before, after))
        return Example(query_id, self.dataset.queries[query_id], hits_before, hits_after)

    def _build_hits(self, query_id: str, ids: Sequence[str], former_ranks: Mapping[str, int]) -> list[ExampleHit]:
        text = self.dataset.queries[query_id]
        query = self.encoder.encode_query(text)
        titles = [self.dataset.products[product].title for product in ids]
        grades = self.qrels.get(query_id, {})
        if query is None or not ids:
            return [ExampleHit(product, title, grades.get(product)) for product, title in zip(ids, titles, strict=True)]
        points, bundle = self.encoder.encode_products(titles), self.encoder.bundle
        attention = self.attention.score_titles(text, titles) if self.attention else np.full(len(ids), np.nan)
        distances, inside = query.distance(points, bundle.gamma), query.contains(points, bundle.slack)
        return [
            ExampleHit(
                product,
                title,
                grades.get(product),
                contained=bool(is_inside),
                containment=-float(distance),
                attention=float(attended) if np.isfinite(attended) else None,
                was=former_ranks.get(product),
            )
            for product, title, distance, is_inside, attended in zip(
                ids, titles, distances, inside, attention, strict=True
            )
        ]
