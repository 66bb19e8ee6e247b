"""From a cluster, a bundle and judgments to a report: lexical against reranked."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.console import progress
from anthem_core.errors import ClusterError, DataError
from anthem_evaluation.examples import Examples, telling_queries
from anthem_evaluation.machine import machine
from anthem_evaluation.measure import containment_shares, latencies, run_queries
from anthem_evaluation.metrics import HEADLINE, compare
from anthem_evaluation.report import Bundle, Dataset, Report, render
from anthem_evaluation.size import generality, sizes

if TYPE_CHECKING:
    from pathlib import Path

    from anthem_core import beir
    from anthem_core.encoder import Encoder
    from anthem_evaluation.measure import Measured, Searches
    from anthem_plugin.client import Mode

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


def assess(judgments: Judgments, searches: Searches, encoder: Encoder, cluster: str) -> Report:
    """Run every judged query lexically and reranked, on the same state of the index, and report on both.

    Raises:
        ClusterError: Not one query was reranked; the message says why.
    """
    queries = judgments.queries
    lexical = _run(searches, queries, "none").run
    measured = _run(searches, queries, searches.mode)
    comparison = compare(lexical, measured.run, judgments.qrels)
    examples = Examples(judgments.dataset, judgments.qrels, encoder, lexical, measured.run)
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
        limits=_left_alone(measured, queries),
        generality=generality(sizes(encoder, queries), judgments.dataset, queries),
    )


def _run(searches: Searches, queries: dict[str, str], mode: Mode) -> Measured:
    with progress("searching as before" if mode == "none" else "searching, reranked", len(queries)) as advance:
        return run_queries(searches, queries, mode=mode, advance=advance)


def _left_alone(measured: Measured, queries: dict[str, str]) -> tuple[str, ...]:
    """What has to be said of queries that were not reranked, and count here as they were."""
    if not measured.left_alone:
        return ()
    query, reason = next(iter(measured.left_alone.items()))
    count, text = len(measured.left_alone), queries[query]
    if count == len(queries):
        raise ClusterError(f"No search was reranked: {reason}. Try: anthem search INDEX '{text}' --rerank client")
    return (f"{count} of {len(queries)} searches were not reranked, such as '{text}': {reason}.",)


def _counts(judgments: Judgments) -> Dataset:
    grades = [grade for judged in judgments.qrels.values() for grade in judged.values()]
    return Dataset(
        judgments.name, len(judgments.dataset.products), len(judgments.qrels), len(grades), max(grades, default=0)
    )


def check_writable(path: Path) -> None:
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


def write(report: Report, path: Path) -> None:
    """Write a report as a page that can be opened from the disk."""
    path.write_text(render(report), encoding="utf-8")
