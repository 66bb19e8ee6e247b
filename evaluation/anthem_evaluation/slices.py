"""Groups of queries that a shop looks at one by one: long, with numbers, rare, with unknown words, without hits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.encoding.tokenizer import split_words
from anthem_evaluation.metrics import HEADLINE_MEASURE, compare_runs
from anthem_evaluation.report import ResultSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from anthem_core.beir import Qrels
    from anthem_evaluation.metrics import Comparison
    from anthem_evaluation.runs import Run

LONG_QUERY_WORDS = 4
FEW_HITS = 10


def slice_queries(queries: Mapping[str, str], lexical: Run, unknown_words: Collection[str]) -> dict[str, list[str]]:
    """Ids of the queries of each slice; a query may be in several. `unknown_words` are in no product."""
    words = {query: split_words(text) for query, text in queries.items()}
    hits = {query: len(lexical.get(query, ())) for query in queries}
    rules: dict[str, Callable[[str], bool]] = {
        f"long: {LONG_QUERY_WORDS} words or more": lambda query: len(words[query]) >= LONG_QUERY_WORDS,
        "with a number": lambda query: any(letter.isdecimal() for letter in queries[query]),
        "with a word that no product has": lambda query: bool(set(words[query]) & set(unknown_words)),
        f"rare: fewer than {FEW_HITS} lexical hits": lambda query: 0 < hits[query] < FEW_HITS,
        "without lexical hits": lambda query: not hits[query],
    }
    return {name: [query for query in queries if rule(query)] for name, rule in rules.items()}


def summarise_slices(
    slices: Mapping[str, Collection[str]], lexical: Run, reranked: Run, qrels: Qrels
) -> tuple[ResultSummary, ...]:
    """The headline measure on each slice that has judged queries."""
    judged = {name: {query: qrels[query] for query in queries if query in qrels} for name, queries in slices.items()}
    return tuple(
        summarise_comparison(name, compare_runs(lexical, reranked, grades)) for name, grades in judged.items() if grades
    )


def summarise_comparison(name: str, comparison: Comparison) -> ResultSummary:
    """The headline measure of a comparison under a name."""
    measure = comparison[HEADLINE_MEASURE]
    return ResultSummary(
        name,
        comparison.queries,
        measure.baseline,
        measure.reranked,
        measure.difference,
        measure.interval,
        measure.p,
        measure.wins,
        measure.losses,
    )
