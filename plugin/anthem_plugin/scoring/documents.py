"""Scores documents for a query without an index: titles by attention and containment, vectors by containment."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.fusion import fuse
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import lift_point, none_if_unknown, point_distances, score_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery

# OpenSearch formats a vector as "0.1 0.2" since 3.6, and as "[0.1, 0.2]" before.
_VECTOR_TEXT = re.compile(r"\s*\[?[\s\d.,eE+-]+\]?\s*")


class DocumentScorer:
    """Scores documents for a query; safe to share between threads.

    `encode_query` replaces the encoder's own method, for example with a cached one.

    Raises BundleError if the bundle has no fusion weights or its attention graph cannot be used.
    """

    def __init__(self, encoder: Encoder, encode_query: Callable[[str], EncodedQuery | None] | None = None) -> None:
        self._encoder = encoder
        self._encode_query = encode_query or encoder.encode_query
        self._scoring = ScoringParams.from_bundle(encoder.bundle)
        self._attention = AttentionScorer(encoder.bundle) if self._scoring.attention_fusion else None
        self.score("warm up", ["warm up"])  # loads the graphs, which are read at their first use

    def score(self, query: str, documents: Sequence[str]) -> Array:
        """Score each document in [0, 1], `σ(b + w_l/2 − w_c·d + w_a·a)`; `(N,)`.

        Documents have no lexical score, so each counts as half saturated, which does not affect the order. A document
        that is a vector in text form is scored as a stored point. A document without letters or digits gets the median
        of every signal, and so does every document if the query has none.
        """
        region, scoring = self._encode_query(query), self._scoring
        # Only the bundle decides which weights apply: a document's score must not depend on the other documents.
        fusion, distance, attention = scoring.attention_fusion or scoring.fusion, np.full(len(documents), np.nan), None
        if region is not None:
            vectors = [parse_vector(document, scoring.dimension) for document in documents]
            titles = ["" if vector is not None else text for vector, text in zip(vectors, documents, strict=True)]
            distance = point_distances(self._add_title_points(vectors, titles), region, scoring)
            if self._attention:
                attention = none_if_unknown(score_attention(self._attention, [query], titles))
        return fuse(np.full(len(documents), fusion.half_saturation), distance, fusion, attention)

    def _add_title_points(self, vectors: Sequence[Array | None], titles: Sequence[str]) -> list[Array | None]:
        """Points of all documents: the given vectors, and the encoded titles that have words."""
        points, vocabulary = list(vectors), self._encoder.bundle.vocabulary
        encodable = [number for number, title in enumerate(titles) if vocabulary.title_ids(title)]
        encoded = self._encoder.encode_products([titles[number] for number in encodable])
        for number, point in zip(encodable, encoded, strict=True):
            points[number] = lift_point(point)
        return points


def parse_vector(text: str, dimension: int) -> Array | None:
    """Point `(D+1,)` written as D+1 finite numbers, with or without brackets; None for any other text."""
    if not _VECTOR_TEXT.fullmatch(text):
        return None
    try:
        numbers = [float(part) for part in text.strip(" []\n\t\r").replace(",", " ").split()]
    except ValueError:
        return None
    largest = np.finfo(np.float32).max
    is_point = len(numbers) == dimension + 1 and all(
        math.isfinite(number) and abs(number) <= largest for number in numbers
    )
    return lift_point(np.array(numbers, np.float32)) if is_point else None
