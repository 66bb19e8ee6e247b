"""Evaluation of an index: every judged query lexically and reranked, compared in a report with examples."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_evaluation.generality import measure_generality, query_sizes
from anthem_evaluation.measure import describe_machine, measure_containment, measure_latencies
from anthem_evaluation.metrics import HEADLINE_MEASURE, compare_runs
from anthem_evaluation.report import BundleSummary, Report
from anthem_evaluation.report_parts import (
    TIMED_QUERIES,
    ExampleBuilder,
    check_reranked,
    not_reranked_notes,
    search_all,
    summarise_dataset,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.measure import SearchSetup


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
    lexical = search_all(setup, queries, "none").run
    reranked = search_all(setup, queries, setup.mode)
    check_reranked({setup.mode: reranked}, queries)
    comparison = compare_runs(lexical, reranked.run, qrels)
    builder = ExampleBuilder.create(evaluation_set.dataset, qrels, encoder, (lexical, reranked.run))
    example_queries = select_examples(comparison[HEADLINE_MEASURE].changes)
    return Report(
        title=f"Lexical against reranked on {evaluation_set.name}",
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=describe_machine(),
        dataset=summarise_dataset(evaluation_set.name, len(evaluation_set.dataset.products), qrels),
        cluster=cluster,
        bundle=BundleSummary(encoder.bundle.path.name, encoder.bundle.model_id, encoder.bundle.size_bytes),
        comparison=comparison,
        signals=reranked.signals,
        queries=queries,
        latencies=measure_latencies(setup, list(queries.values())[:TIMED_QUERIES]),
        contained=measure_containment(encoder, evaluation_set.dataset, qrels),
        examples=tuple(builder.build(query) for query in example_queries),
        limits=tuple(not_reranked_notes({setup.mode: reranked}, queries)),
        generality=measure_generality(query_sizes(encoder, queries), evaluation_set.dataset, queries),
    )


def select_examples(changes: Mapping[str, float], count: int = 5) -> list[str]:
    """Queries spread evenly over the changes, from the largest gain to the largest loss, so none is cherry-picked."""
    ordered = sorted(changes, key=lambda query: (-changes[query], query))
    if len(ordered) <= count:
        return ordered
    return [ordered[round(number * (len(ordered) - 1) / (count - 1))] for number in range(count)]
