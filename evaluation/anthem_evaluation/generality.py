"""Whether larger queries are more general: their size against depth, matching titles, and queries of fewer words."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from anthem_core.encoding.tokenizer import split_words
from anthem_evaluation.report import Correlation, Generality, NestedPairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anthem_core.beir import Dataset
    from anthem_core.encoding.encoder import Encoder

CATEGORY_ONLY_LABEL = "higher category, of queries that name nothing else"
CATEGORY_DEPTH_LABEL = "higher category named, all queries"
MATCHING_TITLES_LABEL = "more titles hold every word"


def measure_generality(found: Mapping[str, float], dataset: Dataset, queries: Mapping[str, str]) -> Generality | None:
    """Compare the `sizes` of queries with all that tells how general they are; None where nothing does.

    The depth of the category that a query names, and how much else it asks (`depth`, `constraints`), stand in the
    metadata of a generated catalogue's queries; no other data set has them, and no training has seen them.
    """
    spoken = {query: split_words(queries[query]) for query in found}
    titles = index_titles(product.title for product in dataset.products.values())
    rivals = _Predictors(found, spoken, titles, len(dataset.products))
    compared = (rivals.against(name, goal) for name, goal in _generality_targets(dataset, spoken, titles).items())
    correlations = tuple(one for one in compared if one is not None)
    pairs = compare_nested(found, {query: frozenset(said) for query, said in spoken.items()})
    return Generality(correlations, pairs) if correlations or pairs else None


def query_sizes(encoder: Encoder, queries: Mapping[str, str]) -> dict[str, float]:
    """Size of every query by its id, the mean of its limits; queries without letters or digits have none."""
    encoded = ((query, encoder.query(text)) for query, text in queries.items())
    return {query: region.size for query, region in encoded if region is not None}


def spearman(values: Sequence[float], goal: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where one side is constant, or has fewer than three members."""
    if len(goal) < 3 or len(set(values)) < 2 or len(set(goal)) < 2:
        return None
    return float(stats.spearmanr(values, goal).statistic)


def spearman_ceiling(goal: Sequence[float]) -> float:
    """The highest Spearman correlation that values without ties can have, `√(1 − Σ(t³ − t) / (n³ − n))`.

    The sum is over groups of t equal values in the goal: what is equal there is in no order that could be met.
    """
    tied = np.unique(np.asarray(goal), return_counts=True)[1].astype(float)
    many = float(len(goal))
    return math.sqrt(1 - float((tied**3 - tied).sum()) / (many**3 - many)) if many > 1 else 0.0


def index_titles(titles: Iterable[str]) -> dict[str, set[int]]:
    """Numbers of the titles that hold each word."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, title in enumerate(titles):
        for word in split_words(title):
            found[word].add(number)
    return dict(found)


def count_matching_titles(asked: Iterable[str], titles: Mapping[str, set[int]]) -> int:
    """How many titles hold every word asked; 0 for no word."""
    postings = sorted((titles.get(word, set()) for word in asked), key=len)
    return len(postings[0].intersection(*postings[1:])) if postings else 0


def nested_pairs(spoken: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Pairs of query ids, the first's words a proper subset of the second's: the first is the more general."""
    by_word: dict[str, list[str]] = defaultdict(list)
    for query, said in spoken.items():
        if said:
            by_word[min(said)].append(query)
    for narrow, said in spoken.items():
        for word in sorted(said):
            yield from ((broad, narrow) for broad in by_word.get(word, ()) if spoken[broad] < said)


def compare_nested(found: Mapping[str, float], spoken: Mapping[str, frozenset[str]]) -> NestedPairs | None:
    """How often the more general of two nested queries is the larger, with Wilson's 95 % interval; None without pairs.

    The interval counts pairs as independent, which pairs that share a query are not.
    """
    larger = [found[broad] > found[narrow] for broad, narrow in nested_pairs(spoken)]
    if not larger:
        return None
    bounds = stats.binomtest(sum(larger), len(larger)).proportion_ci(method="wilson")
    return NestedPairs(len(larger), sum(larger) / len(larger), (float(bounds.low), float(bounds.high)))


class _Predictors:
    """Size, and what size has to beat: fewer words, and words that stand in more titles (a lower mean IDF)."""

    def __init__(
        self,
        found: Mapping[str, float],
        spoken: Mapping[str, Sequence[str]],
        titles: Mapping[str, set[int]],
        products: int,
    ) -> None:
        self.size = found
        self.words = {query: -float(len(said)) for query, said in spoken.items()}
        rarity = {
            word: math.log((1 + products) / (1 + len(titles.get(word, ()))))
            for said in spoken.values()
            for word in said
        }
        self.idf = {query: -sum(map(rarity.__getitem__, said)) / len(said) for query, said in spoken.items()}

    def against(self, name: str, goal: Mapping[str, float]) -> Correlation | None:
        """Correlation of each with a goal, query ids to generality; None where nothing can be told."""
        wanted = list(goal.values())
        size, count, idf = (
            spearman([side[query] for query in goal], wanted) for side in (self.size, self.words, self.idf)
        )
        if size is None:
            return None
        return Correlation(name, len(wanted), size, count, idf, spearman_ceiling(wanted))


def _generality_targets(
    dataset: Dataset, spoken: Mapping[str, Sequence[str]], titles: Mapping[str, set[int]]
) -> dict[str, dict[str, float]]:
    """What tells how general queries are, higher is more general; no title may hold a word that is misspelled."""
    metadata = {query: dataset.query_metadata.get(query, {}) for query in spoken}
    deep = {query: -float(known["depth"]) for query, known in metadata.items() if isinstance(known.get("depth"), int)}
    alone = {query: depth for query, depth in deep.items() if metadata[query].get("constraints") == 0}
    matching = {query: float(count_matching_titles(said, titles)) for query, said in spoken.items()}
    return {
        CATEGORY_ONLY_LABEL: alone,
        CATEGORY_DEPTH_LABEL: deep,
        MATCHING_TITLES_LABEL: {query: many for query, many in matching.items() if many},
    }
