"""Why a title has its place for a query: its attention grid, its place in the query's region, and its factor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.query_operators import encode_tables
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.explain import ScoreParts, explain_point, score_parts, stored_attention
from anthem_plugin.search.word_pairs import region_weights, word_grid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anthem_core.encoding.attention_grid import TitleGrid
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery
    from anthem_plugin.search.explain import RegionPart
    from anthem_plugin.search.response import Hit
    from anthem_plugin.search.word_pairs import WordGrid

_SHARE_DECIMALS = 7
_CACHED_PHRASES = 16  # titles are explained for one query at a time, which may have several phrases


@dataclass(frozen=True, slots=True)
class TitleAttention:
    """The attention score of a title and what it is made of: `score = Σ answers + coverage`.

    Attributes:
        score: The attention score, as it ranks.
        answers: How well the title answers each word of the query, weighted: 0 is best, and each is at most about 0.
        coverage: How well the query explains the title.
        words: The attention grid by words.
        grid: The attention grid by entities.
    """

    score: float
    answers: list[float]
    coverage: float
    words: WordGrid
    grid: TitleGrid

    def to_dict(self) -> dict[str, Any]:
        """Values by name."""
        query, title = ([entity.name for entity in side] for side in (self.grid.query, self.grid.title))
        return {
            "score": self.score,
            # Pairs: two words, such as the inch of ½ in and the word in, may be spelled alike.
            "answers": list(zip(self.words.query, self.answers, strict=True)),
            "coverage": self.coverage,
            "words": {"query": self.words.query, "title": self.words.title, "cells": _list_cells(self.words.cells)},
            "entities": {"query": query, "title": title, "cells": _list_cells(self.grid.cells)},
        }


def _list_cells(cells: Array) -> list[list[float]]:
    """Shares with the decimals that float32 has: more would be noise, and make a response twice as long."""
    rounded: list[list[float]] = np.round(cells.astype(np.float64), _SHARE_DECIMALS).tolist()
    return rounded


@dataclass(frozen=True, slots=True)
class TitleExplanation:
    """Why a title has its place for a query; what the model or the text lacks is None.

    Attributes:
        title: The title.
        attention: Its attention score and grid.
        region: Where it lies in the query's region.
        score: The parts of its score; None for a hit that the model did not rank. Without a lexical score, `lexical` is
            0, and only `shift` and `factor` have a meaning.
    """

    title: str
    attention: TitleAttention | None
    region: RegionPart | None
    score: ScoreParts | None

    def to_dict(self) -> dict[str, Any]:
        """Values by name."""
        return {
            "title": self.title,
            "attention": self.attention and self.attention.to_dict(),
            "region": self.region and asdict(self.region),
            "score": self.score and self.score.to_dict(),
        }


class TitleExplainer:
    """Explains titles by a bundle, without a cluster; thread-safe. It may share the encoder of a client or a service.

    Raises:
        BundleError: The bundle has no fusion weights; or, at first use, a graph cannot be read.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder | None = None) -> None:
        self._encoder = encoder or Encoder(bundle)
        self._encode_query = lru_cache(_CACHED_PHRASES)(self._encoder.encode_query)
        self._scoring = ScoringParams.from_bundle(bundle)
        self._vocabulary = bundle.vocabulary
        self._attention = AttentionScorer(bundle) if bundle.has_attention else None
        self._encode_table = lru_cache(_CACHED_PHRASES)(self._attention.encode_query) if self._attention else None
        self._grids = GridExplainer(bundle)

    def query_weights(self, query: str) -> list[tuple[str, float]]:
        """Weights of the query's words and of the intersections of two words in its region, largest first."""
        encoded = self._encode_query(query)
        return [] if encoded is None else region_weights(encoded, query, self._vocabulary)

    def phrase_weights(self, phrases: Iterable[str]) -> list[tuple[str, float]]:
        """Weights as `query_weights` gives them for each phrase of a query, largest first."""
        weights = [pair for phrase in dict.fromkeys(phrases) for pair in self.query_weights(phrase)]
        return sorted(weights, key=lambda pair: -pair[1])

    def stored_attention(self, phrases: Iterable[str], hit: Hit, scoring: ScoringParams) -> float:
        """Attention score of the trigrams that a hit's source stores, as they rank; NaN without them."""
        tables = encode_tables(self._encode_table, phrases) if self._encode_table else ()
        return float(stored_attention([hit], tables, scoring)[0])

    @property
    def scoring(self) -> ScoringParams:
        """The model's constants."""
        return self._scoring

    def encode_region(self, query: str) -> EncodedQuery | None:
        """The region of a query; None for a text without letters or digits."""
        return self._encode_query(query)

    def encode_points(self, titles: Sequence[str]) -> list[Array | None]:
        """The points of titles `(D+1,)`, as an index stores them; None for a text without letters or digits."""
        points = unpack_points(self._encoder.encode_vectors(titles), self._scoring.vector_step)
        return [
            point if self._vocabulary.has_words(title) else None for title, point in zip(titles, points, strict=True)
        ]

    def explain(self, query: str, title: str, lexical: float = 0.0) -> TitleExplanation:
        """Explain one title, whose lexical score is `lexical`."""
        attention, region = self.explain_attention([query], title), self._explain_region(query, title)
        distance = np.nan if region is None else region.distance
        signals = self._scoring.signals
        score = attention.score if attention else None
        parts = score_parts(lexical, distance, score, self._scoring.fusion_for(signals), signals)
        return TitleExplanation(title, attention, region, parts)

    def explain_all(self, query: str, titles: Sequence[str], lexical: Sequence[float] = ()) -> list[TitleExplanation]:
        """Explain several titles, in the order given."""
        scores = lexical or [0.0] * len(titles)
        return [self.explain(query, title, score) for title, score in zip(titles, scores, strict=True)]

    def explain_attention(self, phrases: Iterable[str], title: str) -> TitleAttention | None:
        """Attention of a title, by the phrase of the query that it answers best; None without words on either side."""
        found = (self._explain_phrase(phrase, title) for phrase in phrases)
        return max(filter(None, found), key=lambda attention: attention.score, default=None)

    def _explain_phrase(self, query: str, title: str) -> TitleAttention | None:
        if self._attention is None or self._encode_table is None:
            return None
        grid, table = self._grids.explain_title(query, title), self._encode_table(query)
        if grid is None or table is None:
            return None
        parts = table.score_parts(self._attention.encode_titles([title]))
        words = word_grid(grid, query, title, self._vocabulary.text_rules)
        answers = np.bincount(words.rows, parts.answers[0], minlength=len(words.query))
        return TitleAttention(float(parts.scores[0]), answers.tolist(), float(parts.coverage[0]), words, grid)

    def _explain_region(self, query: str, title: str) -> RegionPart | None:
        region, (point,) = self.encode_region(query), self.encode_points([title])
        return None if region is None or point is None else explain_point(point, region, self._scoring)
