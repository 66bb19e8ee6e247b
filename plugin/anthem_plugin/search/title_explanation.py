"""Why a title has its place for a query: its attention grid, its place in the query's region, and its factor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.explain import ScoreParts, explain_point, score_parts
from anthem_plugin.search.word_pairs import region_weights, word_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention_grid import TitleGrid
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.geometry.regions import EncodedQuery
    from anthem_plugin.search.explain import RegionPart
    from anthem_plugin.search.word_pairs import WordGrid


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
            "answers": dict(zip(self.words.query, self.answers, strict=True)),
            "coverage": self.coverage,
            "words": {"query": self.words.query, "title": self.words.title, "cells": self.words.cells.tolist()},
            "entities": {"query": query, "title": title, "cells": self.grid.cells.tolist()},
        }


@dataclass(frozen=True, slots=True)
class TitleExplanation:
    """Why a title has its place for a query; what the model or the text lacks is None.

    Attributes:
        title: The title.
        attention: Its attention score and grid.
        region: Where it lies in the query's region.
        score: The parts of its score. Without a lexical score, `lexical` is 0: only `shift` and `factor` say something.
    """

    title: str
    attention: TitleAttention | None
    region: RegionPart | None
    score: ScoreParts

    def to_dict(self) -> dict[str, Any]:
        """Values by name."""
        return {
            "title": self.title,
            "attention": self.attention and self.attention.to_dict(),
            "region": self.region and asdict(self.region),
            "score": self.score.to_dict(),
        }


class TitleExplainer:
    """Explains titles by a bundle, without a cluster.

    Raises:
        BundleError: The bundle has no fusion weights; or, at first use, a graph cannot be read.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._encoder = Encoder(bundle)
        self._encode_query = lru_cache(1)(self._encoder.encode_query)  # titles are explained for one query at a time
        self._scoring = ScoringParams.from_bundle(bundle)
        self._vocabulary = bundle.vocabulary
        self._attention = AttentionScorer(bundle) if bundle.has_attention else None
        self._encode_table = lru_cache(1)(self._attention.encode_query) if self._attention else None
        self._grids = GridExplainer(bundle)

    def query_weights(self, query: str) -> list[tuple[str, float]]:
        """Weights of the query's words and of the intersections of two words in its region, largest first."""
        encoded = self._encode_query(query)
        return [] if encoded is None else region_weights(encoded, query, self._vocabulary)

    def explain(self, query: str, title: str, lexical: float = 0.0) -> TitleExplanation:
        """Explain one title, whose lexical score is `lexical`."""
        attention, region = self._explain_attention(query, title), self._explain_region(query, title)
        distance = np.nan if region is None else region.distance
        signals = self._scoring.signals
        score = attention.score if attention else None
        parts = score_parts(lexical, distance, score, self._scoring.fusion_for(signals), signals)
        return TitleExplanation(title, attention, region, parts)

    def explain_all(self, query: str, titles: Sequence[str], lexical: Sequence[float] = ()) -> list[TitleExplanation]:
        """Explain several titles, in the order given."""
        scores = lexical or [0.0] * len(titles)
        return [self.explain(query, title, score) for title, score in zip(titles, scores, strict=True)]

    def _explain_attention(self, query: str, title: str) -> TitleAttention | None:
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
        region: EncodedQuery | None = self._encode_query(query)
        if region is None or not self._vocabulary.has_words(title):
            return None
        (vector,) = self._encoder.encode_vectors([title])
        point = unpack_points(vector, self._scoring.vector_step)
        return explain_point(point, region, self._scoring)
