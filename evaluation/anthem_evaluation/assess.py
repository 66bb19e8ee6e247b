"""From a cluster, a bundle and judgments to a report: lexical against reranked."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.console import progress
from anthem_evaluation.examples import Examples, telling_queries
from anthem_evaluation.machine import machine
from anthem_evaluation.measure import containment_shares, latencies, run_queries
from anthem_evaluation.metrics import HEADLINE, compare
from anthem_evaluation.report import Bundle, Dataset, Report

if TYPE_CHECKING:
    from pathlib import Path

    from anthem_core import beir
    from anthem_core.encoder import Encoder
    from anthem_evaluation.measure import Searches
    from anthem_evaluation.metrics import Run

TIMED = 50  # queries whose searches are timed


@dataclass(frozen=True)
class Judgments:
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


def assess(judgments: Judgments, searches: Searches, encoder: Encoder, cluster: str, lexical: Run | None) -> Report:
    """Run every judged query lexically (unless that run is given) and reranked, and report on both."""
    queries = judgments.queries
    if lexical is None:
        lexical = _run(searches, queries, "lexical")
    reranked = _run(searches, queries, "reranked")
    comparison = compare(lexical, reranked, judgments.qrels)
    examples = Examples(judgments.dataset, judgments.qrels, encoder, lexical, reranked)
    return Report(
        title=f"Lexical against reranked on {judgments.name}",
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine(),
        dataset=_counts(judgments),
        cluster=cluster,
        bundle=Bundle(encoder.bundle.path.name, encoder.bundle.model, encoder.bundle.bytes),
        comparison=comparison,
        queries=queries,
        latencies=latencies(searches, list(queries.values())[:TIMED]),
        contained=containment_shares(encoder, judgments.dataset, judgments.qrels),
        examples=tuple(examples.example(query) for query in telling_queries(comparison[HEADLINE].changes)),
    )


def _run(searches: Searches, queries: dict[str, str], name: str) -> Run:
    with progress(f"searching, {name}", len(queries)) as advance:
        return run_queries(searches, queries, mode="none" if name == "lexical" else searches.mode, advance=advance).run


def _counts(judgments: Judgments) -> Dataset:
    grades = [grade for judged in judgments.qrels.values() for grade in judged.values()]
    return Dataset(
        judgments.name, len(judgments.dataset.products), len(judgments.qrels), len(grades), max(grades, default=0)
    )


def write(report: Report, path: Path) -> None:
    """Write a report as a page that can be opened from the disk."""
    from anthem_evaluation.report import render

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(report), encoding="utf-8")
