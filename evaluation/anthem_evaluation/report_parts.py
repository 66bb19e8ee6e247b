"""What the reports of the demo and of `anthem evaluate` are made of: searches, summaries, notes and examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.console import progress
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import ClusterError
from anthem_evaluation.example_map import build_example_map
from anthem_evaluation.measure import run_queries
from anthem_evaluation.report import DatasetSummary, Example, ExampleGrid, ExampleHit
from anthem_evaluation.runs import ranked_ids
from anthem_plugin.grid_table import grid_table
from anthem_plugin.search.title_explanation import TitleExplainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.measure import SearchRun, SearchSetup
    from anthem_evaluation.metrics import Comparison
    from anthem_evaluation.runs import Run
    from anthem_plugin.modes import ModeName

TIMED_QUERIES = 50  # queries whose searches are timed
EXAMPLE_HITS = 10  # hits of an example, before and after


def search_all(setup: SearchSetup, queries: Mapping[str, str], mode: ModeName) -> SearchRun:
    """Search for every query in a mode, with a progress bar."""
    with progress("searching, lexical" if mode == "none" else f"searching, {mode}", len(queries)) as advance:
        return run_queries(setup, queries, mode=mode, advance=advance)


def check_reranked(searches: Mapping[ModeName, SearchRun], queries: Mapping[str, str]) -> None:
    """Fail if a mode reranked nothing: its numbers would be those of the lexical order.

    Raises:
        ClusterError: A mode reranked no search; the message gives the reason.
    """
    for mode, search in searches.items():
        if len(search.not_reranked) == len(queries):
            query, reason = next(iter(search.not_reranked.items()))
            raise ClusterError(
                f"In {mode} mode no search was reranked, such as {queries[query]!r}: {reason}. "
                f"Try: anthem search INDEX {queries[query]!r} --rerank client"
            )


def not_reranked_notes(searches: Mapping[ModeName, SearchRun], queries: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each mode that left searches in their lexical order."""
    for mode, search in searches.items():
        if search.not_reranked:
            query, reason = next(iter(search.not_reranked.items()))
            count = f"{len(search.not_reranked)} of {len(queries)}"
            yield f"{count} searches were not reranked in {mode} mode, such as '{queries[query]}': {reason}."


def summarise_dataset(name: str, products: int, qrels: Qrels, unit: int = 1) -> DatasetSummary:
    """Counts of a dataset, and its highest grade divided by `unit`."""
    grades = [grade for query_grades in qrels.values() for grade in query_grades.values()]
    return DatasetSummary(name, products, len(qrels), len(grades), own_grade(max(grades, default=0), unit))


def own_grade(grade: float, unit: int) -> float:
    """A grade as the judgments have it, before fractions were counted in units; a whole number if it is one."""
    value = grade / unit
    return int(value) if value.is_integer() else value


def in_own_grades(comparison: Comparison, unit: int) -> Comparison:
    """A comparison whose measures and threshold name grades as the judgments have them."""
    relevant = own_grade(comparison.relevant, unit)
    former, named = f"(rel={comparison.relevant})", f"(rel={relevant:g})"
    measures = tuple(replace(each, name=each.name.replace(former, named)) for each in comparison.measures)
    return replace(comparison, relevant=relevant, measures=measures)


@dataclass(frozen=True)
class ExampleBuilder:
    """Builds the examples of a report from a dataset and two runs; grades are divided by `grade_unit`.

    Without an attention score and an explainer, the examples have neither attention nor a grid.
    """

    dataset: Dataset
    qrels: Qrels
    encoder: Encoder
    attention: AttentionScorer | None
    explainer: TitleExplainer | None
    before: Run
    after: Run
    grade_unit: int = 1

    @classmethod
    def create(
        cls, dataset: Dataset, qrels: Qrels, encoder: Encoder, runs: tuple[Run, Run], unit: int = 1
    ) -> ExampleBuilder:
        """Builder with all that the bundle of an encoder has, for the runs before and after reranking."""
        has_attention = encoder.bundle.has_attention
        attention = AttentionScorer(encoder.bundle) if has_attention else None
        explainer = TitleExplainer(encoder.bundle, encoder) if has_attention else None
        return cls(dataset, qrels, encoder, attention, explainer, *runs, unit)

    def build(self, query_id: str) -> Example:
        """One search with its first ten hits before and after reranking."""
        before, after = ranked_ids(self.before[query_id]), ranked_ids(self.after[query_id])
        former_ranks = {product: rank for rank, product in enumerate(before, start=1)}
        shown = list(dict.fromkeys([*before[:EXAMPLE_HITS], *after[:EXAMPLE_HITS]]))
        hits = {hit.product: hit for hit in self._build_hits(query_id, shown, former_ranks)}
        hits_before, hits_after = (tuple(hits[product] for product in ids[:EXAMPLE_HITS]) for ids in (before, after))
        text = self.dataset.queries[query_id]
        shown_map = build_example_map(self.explainer, text, hits_after) if self.explainer else None
        return Example(query_id, text, hits_before, hits_after, self._build_grid(text, hits_after), shown_map)

    def _build_grid(self, text: str, after: Sequence[ExampleHit]) -> ExampleGrid | None:
        """The attention grid of the hit that moved up most; of the first one if none did."""
        climbs = {hit.title: (hit.was or 0) - rank for rank, hit in enumerate(after, start=1)}
        title = (
            max(climbs, key=climbs.__getitem__)
            if any(climb > 0 for climb in climbs.values())
            else next(iter(climbs), "")
        )
        attention = self.explainer.explain_attention([text], title) if self.explainer else None
        if attention is None:
            return None
        table = grid_table(attention, by_words=True)
        cells = tuple(tuple(map(float, row)) for row in table.cells)
        return ExampleGrid(title, tuple(table.query), tuple(table.title), cells)

    def _build_hits(self, query_id: str, ids: Sequence[str], former_ranks: Mapping[str, int]) -> list[ExampleHit]:
        text = self.dataset.queries[query_id]
        query = self.encoder.encode_query(text)
        titles = [self.dataset.products[product].title for product in ids]
        judged = self.qrels.get(query_id, {})
        grades = {product: own_grade(grade, self.grade_unit) for product, grade in judged.items()}
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
