"""Scores documents for a query without an index: a title by attention, a stored vector by containment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.encoding.stored_vectors import read_vector, unpack_points
from anthem_core.fusion import model_shift, relevance
from anthem_plugin.scoring.params import ATTENTION, CONTAINMENT, ScoringParams
from anthem_plugin.scoring.window import point_distances

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthem_core.encoding.attention import AttentionScorer, AttentionTable
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery

# OpenSearch formats a vector as "12 -5" since 3.6, and as "[12, -5]" before.
_VECTOR_TEXT = re.compile(r"\s*\[?[\s\d.,eE+-]+\]?\s*")


class DocumentScorer:
    """Scores documents for a query; safe to share between threads.

    A title is scored by attention alone: containment improves some shops and harms others, and to encode titles takes
    ten times as long (docs/opensearch-pipeline.md has the figures). Without `attention` it is scored by containment.

    Args:
        encoder: Encoder of the bundle.
        attention: Attention scorer of the same bundle; None if the bundle has no attention.
        encode_query: Replaces the encoder's own method, for example with a cached one.
        encode_table: Replaces the attention scorer's `encode_query` likewise.

    Raises:
        BundleError: The bundle has no fusion weights for one of its signals.
    """

    def __init__(
        self,
        encoder: Encoder,
        attention: AttentionScorer | None,
        encode_query: Callable[[str], EncodedQuery | None] | None = None,
        encode_table: Callable[[str], AttentionTable | None] | None = None,
    ) -> None:
        self._encoder, self._attention = encoder, attention
        self._encode_query = encode_query or encoder.encode_query
        self._encode_table = encode_table or (attention.encode_query if attention else None)
        self._scoring = ScoringParams.from_bundle(encoder.bundle)

    def score(self, query: str, documents: Sequence[str]) -> Array:
        """Relevance of each document in [0, 1]: `σ(w_a·(a − median_a))` or `σ(−w_c·(d − median_d))`; `(N,)`.

        A document that is a vector in text form is scored by containment, as a stored point. A document without letters
        or digits has a relevance of ½, as one whose signal is the median, and so has every document if the query has
        none.
        """
        points = [parse_vector(text, self._scoring.dimension, self._scoring.vector_step) for text in documents]
        titles = [text if point is None else "" for point, text in zip(points, documents, strict=True)]
        if not self._attention:
            points = self._add_title_points(points, titles)
        return relevance(self._point_shifts(query, points) + self._title_shifts(query, titles))

    def _title_shifts(self, query: str, titles: Sequence[str]) -> Array:
        """What attention says about each title, 0 for one without letters or digits; `(N,)`."""
        table = self._encode_table(query) if self._encode_table else None
        if table is None or not self._attention:
            return np.zeros(len(titles))
        attention = table.score(self._attention.encode_titles(titles))
        return model_shift(None, attention, self._scoring.fusion_for(ATTENTION))

    def _point_shifts(self, query: str, points: Sequence[Array | None]) -> Array:
        """What containment says about each point, 0 for None; `(N,)`."""
        region = self._encode_query(query) if any(point is not None for point in points) else None
        if region is None:
            return np.zeros(len(points))
        distance = point_distances(points, region, self._scoring)
        return model_shift(distance, None, self._scoring.fusion_for(CONTAINMENT))

    def _add_title_points(self, points: Sequence[Array | None], titles: Sequence[str]) -> list[Array | None]:
        """Points of all documents: the given ones, and those of the titles that have words, as they are stored."""
        completed, vocabulary = list(points), self._encoder.bundle.vocabulary
        encodable = [number for number, title in enumerate(titles) if vocabulary.title_ids(title)]
        vectors = self._encoder.encode_vectors([titles[number] for number in encodable])
        for number, point in zip(encodable, unpack_points(vectors, self._scoring.vector_step), strict=True):
            completed[number] = point
        return completed


def parse_vector(text: str, dimension: int, step: float) -> Array | None:
    """Point `(D+1,)` of a stored vector, D whole numbers with or without brackets; None for any other text."""
    if not _VECTOR_TEXT.fullmatch(text):
        return None
    try:
        numbers = [float(part) for part in text.strip(" []\n\t\r").replace(",", " ").split()]
    except ValueError:
        return None
    vector = read_vector(numbers, dimension)
    return None if vector is None else unpack_points(vector, step)
