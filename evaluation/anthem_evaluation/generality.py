"""Whether larger queries are more general: their size against category depth, matching titles, and broader queries."""

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

CATEGORY_ONLY_LABEL = "higher category (queries that name nothing else)"
CATEGORY_DEPTH_LABEL = "higher category (all queries)"
MATCHING_TITLES_LABEL = "more titles contain every word"


def measure_generality(sizes: Mapping[str, float], dataset: Dataset, queries: Mapping[str, str]) -> Generality | None:
    """Compare the sizes of queries with every indicator of how general they are; None if the dataset has no indicator.

    The depth of the category that a query names and the number of its other constraints (`depth`, `constraints`) are
    in the query metadata of a generated catalogue. Other datasets do not have them, and training never sees them.
    """
    query_words = {query: split_words(queries[query]) for query in sizes}
    title_index = index_titles(product.title for product in dataset.products.values())
    predictors = _Predictors(sizes, query_words, title_index, len(dataset.products))
    targets = _generality_targets(dataset, query_words, title_index)
    correlations = [predictors.correlate(label, target) for label, target in targets.items()]
    defined = tuple(correlation for correlation in correlations if correlation is not None)
    pairs = compare_nested(sizes, {query: frozenset(words) for query, words in query_words.items()})
    return Generality(defined, pairs) if defined or pairs else None


def query_sizes(encoder: Encoder, queries: Mapping[str, str]) -> dict[str, float]:
    """Size of each query by id, the weighted mean of its limits; queries without letters or digits are left out."""
    encoded = ((query, encoder.encode_query(text)) for query, text in queries.items())
    return {query: region.size for query, region in encoded if region is not None}


def spearman(values: Sequence[float], target: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None if one side is constant or has fewer than three values."""
    if len(target) < 3 or len(set(values)) < 2 or len(set(target)) < 2:
        return None
    return float(stats.spearmanr(values, target).statistic)


def spearman_ceiling(target: Sequence[float]) -> float:
    """The highest Spearman correlation that values without ties can reach, `√(1 − Σ(t³ − t) / (n³ − n))`.

    The sum is over the groups of t equal values in the target, whose order cannot be predicted.
    """
    group_sizes = np.unique(np.asarray(target), return_counts=True)[1].astype(float)
    n = float(len(target))
    return math.sqrt(1 - float((group_sizes**3 - group_sizes).sum()) / (n**3 - n)) if n > 1 else 0.0


def index_titles(titles: Iterable[str]) -> dict[str, set[int]]:
    """Numbers of the titles that contain each word."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for number, title in enumerate(titles):
        for word in split_words(title):
            numbers[word].add(number)
    return dict(numbers)


def count_matching_titles(words: Iterable[str], title_index: Mapping[str, set[int]]) -> int:
    """Number of titles that contain every word; 0 if there are no words."""
    postings = sorted((title_index.get(word, set()) for word in words), key=len)
    return len(postings[0].intersection(*postings[1:])) if postings else 0


def nested_pairs(word_sets: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Pairs of query ids where the first query's words are a proper subset of the second's: the first is broader."""
    by_smallest_word: dict[str, list[str]] = defaultdict(list)
    for query, words in word_sets.items():
        if words:
            by_smallest_word[min(words)].append(query)
    for narrow, words in word_sets.items():
        for word in sorted(words):
            yield from ((broad, narrow) for broad in by_smallest_word.get(word, ()) if word_sets[broad] < words)


def compare_nested(sizes: Mapping[str, float], word_sets: Mapping[str, frozenset[str]]) -> NestedPairs | None:
    """How often the broader of two nested queries is larger, with Wilson's 95 % interval; None if there are no pairs.

    The interval treats pairs as independent, although pairs that share a query are not.
    """
    larger = [sizes[broad] > sizes[narrow] for broad, narrow in nested_pairs(word_sets)]
    if not larger:
        return None
    interval = stats.binomtest(sum(larger), len(larger)).proportion_ci(method="wilson")
    return NestedPairs(len(larger), sum(larger) / len(larger), (float(interval.low), float(interval.high)))


class _Predictors:
    """The size, and simpler predictors to compare it with: fewer words, and words of more titles (a lower mean IDF)."""

    def __init__(
        self,
        sizes: Mapping[str, float],
        query_words: Mapping[str, Sequence[str]],
        title_index: Mapping[str, set[int]],
        products: int,
    ) -> None:
        self.size = sizes
        self.words = {query: -float(len(words)) for query, words in query_words.items()}
        idf = {
            word: math.log((1 + products) / (1 + len(title_index.get(word, ()))))
            for words in query_words.values()
            for word in words
        }
        self.idf = {query: -sum(map(idf.__getitem__, words)) / len(words) for query, words in query_words.items()}

    def correlate(self, label: str, target: Mapping[str, float]) -> Correlation | None:
        """Correlation of each predictor with a target (query id to generality); None if it is not defined for size."""
        values = list(target.values())
        size, words, idf = (
            spearman([predictor[query] for query in target], values) for predictor in (self.size, self.words, self.idf)
        )
        if size is None:
            return None
        return Correlation(label, len(values), size, words, idf, spearman_ceiling(values))


def _generality_targets(
    dataset: Dataset, query_words: Mapping[str, Sequence[str]], title_index: Mapping[str, set[int]]
) -> dict[str, dict[str, float]]:
    """Indicators of generality by label, higher is more general; queries that match no title (typos) are left out."""
    metadata = {query: dataset.query_metadata.get(query, {}) for query in query_words}
    depth = {query: -float(data["depth"]) for query, data in metadata.items() if isinstance(data.get("depth"), int)}
    category_only = {query: value for query, value in depth.items() if metadata[query].get("constraints") == 0}
    matching = {query: float(count_matching_titles(words, title_index)) for query, words in query_words.items()}
    return {
        CATEGORY_ONLY_LABEL: category_only,
        CATEGORY_DEPTH_LABEL: depth,
        MATCHING_TITLES_LABEL: {query: count for query, count in matching.items() if count},
    }
