"""Features of a query and a title as users of OpenSearch's learning-to-rank plugin build them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import Stemmer

from anthem_core.encoding.text_rules import RULES_1
from anthem_model.data.bm25 import ENGLISH_STOP_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Analyzer: TypeAlias = "Callable[[str], Sequence[str]]"

K1, B = 1.2, 0.75  # Lucene's defaults
TEXT_CACHE_SIZE = 1 << 17
FEATURE_NAMES = (
    "bm25_standard",
    "bm25_english",
    "bm25_trigrams",
    "bm25_shingles",
    "bm25_brand",
    "word_coverage",
    "stem_coverage",
    "idf_coverage",
    "trigram_coverage",
    "title_coverage",
    "brand_coverage",
    "all_stems",
    "last_word",
    "first_word",
    "first_match",
    "phrase",
    "span",
    "number_coverage",
    "missing_numbers",
    "query_words",
    "query_letters",
    "title_words",
    "title_letters",
    "query_numbers",
    "title_numbers",
)


@dataclass(frozen=True)
class FieldStatistics:
    """Statistics of a text field that BM25 needs: number of texts, mean length, and texts by term."""

    texts: int
    mean_length: float
    frequency: Mapping[str, int]

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> FieldStatistics:
        """Count the terms of analysed texts."""
        frequency: Counter[str] = Counter()
        count, length = 0, 0
        for terms in texts:
            frequency.update(set(terms))
            count, length = count + 1, length + len(terms)
        return cls(count, max(length / max(count, 1), 1e-9), frequency)

    def idf(self, term: str) -> float:
        """Lucene's inverse document frequency, `log(1 + (N − n + .5) / (n + .5))`."""
        matching = self.frequency.get(term, 0)
        return math.log(1 + (self.texts - matching + 0.5) / (matching + 0.5))

    def bm25(self, query: Sequence[str], text: Sequence[str]) -> float:
        """`Σ idf(t)·f / (f + k1·(1 − b + b·|text| / mean))` over the terms t of the query, f times in the text."""
        counts = Counter(text)
        length = K1 * (1 - B + B * len(text) / self.mean_length)
        return sum(self.idf(term) * counts[term] / (counts[term] + length) for term in query if term in counts)


@dataclass(frozen=True)
class AnalysedText:
    """A text as every analyzer reads it."""

    words: Sequence[str]
    stems: Sequence[str]
    terms: Sequence[str]
    trigrams: Sequence[str]
    shingles: Sequence[str]
    numbers: frozenset[str]


class FeatureExtractor:
    """Features of pairs, with BM25's statistics of a whole catalogue; `brands` are by title, where they are known."""

    def __init__(self, titles: Sequence[str], brands: Mapping[str, str]) -> None:
        self._stem = lru_cache(TEXT_CACHE_SIZE)(Stemmer.Stemmer("porter").stemWord)
        self._read = lru_cache(TEXT_CACHE_SIZE)(self._analyse)
        self._brands = brands
        texts = [self._read(title) for title in titles]
        self._words = FieldStatistics.of(text.words for text in texts)
        self._terms = FieldStatistics.of(text.terms for text in texts)
        self._stems = FieldStatistics.of(text.stems for text in texts)
        self._trigrams = FieldStatistics.of(text.trigrams for text in texts)
        self._shingles = FieldStatistics.of(text.shingles for text in texts)
        self._brand_terms = FieldStatistics.of(self._read(brand).terms for brand in brands.values())

    def features(self, query: str, title: str) -> list[float]:
        """Values of `FEATURE_NAMES` for one pair."""
        asked, offered = self._read(query), self._read(title)
        return [*self._lexical(asked, offered, title), *_matches(asked, offered), *_lengths(asked, offered)]

    def _lexical(self, asked: AnalysedText, offered: AnalysedText, title: str) -> list[float]:
        """Scores by BM25, and shares of the terms."""
        brand = self._read(self._brands.get(title, ""))
        found = set(asked.stems) & set(offered.stems)
        idf = sum(map(self._stems.idf, set(asked.stems)))
        return [
            self._words.bm25(asked.words, offered.words),
            self._terms.bm25(asked.terms, offered.terms),
            self._trigrams.bm25(asked.trigrams, offered.trigrams),
            self._shingles.bm25(asked.shingles, offered.shingles),
            self._brand_terms.bm25(asked.terms, brand.terms),
            _coverage(asked.words, offered.words),
            _coverage(asked.stems, offered.stems),
            sum(map(self._stems.idf, found)) / idf if idf else 0.0,
            _coverage(asked.trigrams, offered.trigrams),
            _coverage(offered.stems, asked.stems),
            _coverage(brand.words, asked.words),
        ]

    def _analyse(self, text: str) -> AnalysedText:
        words = RULES_1.split_words(text)
        stems = [self._stem(word) for word in words]
        terms = [stem for word, stem in zip(words, stems, strict=True) if word not in ENGLISH_STOP_WORDS]
        trigrams = [word[start : start + 3] for word in words for start in range(len(word) - 2)]
        shingles = [f"{left} {right}" for left, right in pairwise(stems)]
        numbers = frozenset(word for word in words if any(letter.isdigit() for letter in word))
        return AnalysedText(words, stems, terms, trigrams, shingles, numbers)


def _coverage(wanted: Sequence[str], found: Sequence[str]) -> float:
    """Share of the different terms that are found; 0 without terms."""
    different = set(wanted)
    return len(different & set(found)) / len(different) if different else 0.0


def _matches(asked: AnalysedText, offered: AnalysedText) -> list[float]:
    """Where the query's stems are in the title: all of them, last and first word, phrase, proximity, numbers."""
    query, title = asked.stems, offered.stems
    wanted = set(query)
    places = [place for place, stem in enumerate(title) if stem in wanted]
    return [
        float(bool(query) and wanted <= set(title)),
        float(bool(query) and query[-1] in title),
        float(bool(query) and query[0] in title),
        places[0] / len(title) if places else 1.0,
        longest_phrase(query, title) / len(query) if query else 0.0,
        float(shortest_span(query, title)),
        len(asked.numbers & offered.numbers) / len(asked.numbers) if asked.numbers else 1.0,
        float(len(asked.numbers - offered.numbers)),
    ]


def _lengths(asked: AnalysedText, offered: AnalysedText) -> list[float]:
    return [
        float(len(asked.words)),
        float(sum(map(len, asked.words))),
        float(len(offered.words)),
        float(sum(map(len, offered.words))),
        float(len(asked.numbers)),
        float(len(offered.numbers)),
    ]


def longest_phrase(query: Sequence[str], title: Sequence[str]) -> int:
    """Number of terms in the longest run of the query that is also a run of the title."""
    longest, row = 0, [0] * (len(title) + 1)
    for term in query:
        row = [0, *(row[place] + 1 if term == other else 0 for place, other in enumerate(title))]
        longest = max(longest, *row)
    return longest


def shortest_span(query: Sequence[str], title: Sequence[str]) -> int:
    """Number of places in the shortest part of the title with all terms that it shares with the query; 0 if none."""
    shared = set(query) & set(title)
    last: dict[str, int] = {}
    shortest = 0
    for place, term in enumerate(title):
        if term in shared:
            last[term] = place
            if len(last) == len(shared):
                span = place - min(last.values()) + 1
                shortest = min(shortest or span, span)
    return shortest
