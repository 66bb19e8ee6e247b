"""Documents scored for a query without any index: titles by attention and containment, stored vectors as they are."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.fusion import fuse
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import lift_point, point_distances, score_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery

# OpenSearch gives a vector as "0.1 0.2" from 3.6 on, as "[0.1, 0.2]" before.
_VECTOR_TEXT = re.compile(r"\s*\[?[\s\d.,eE+-]+\]?\s*")


class DocumentScorer:
    """Scores documents for a query with a bundle; safe to share between threads.

    `query` encodes query texts where a cache stands before the encoder.

    Raises BundleError when the encoder's bundle has no fusion weights, or its attention graph cannot be used.
    """

    def __init__(self, encoder: Encoder, query: Callable[[str], EncodedQuery | None] | None = None) -> None:
        self._encoder = encoder
        self._query = query or encoder.query
        self._scoring = ScoringParams.of(encoder.bundle)
        self._attention = AttentionScorer(encoder.bundle) if self._scoring.attentive else None
        self.scores("warm up", ["warm up"])  # a graph is read when it is first used

    def scores(self, query: str, documents: Sequence[str]) -> Array:
        """Score of each document, `σ(b + w_l/2 − w_c·d + w_a·a)`, in [0, 1]; `(N,)`.

        Without a lexical score each counts as half saturated, which changes no order. A document that is a vector in
        text is a stored point; one without letters or digits has the median of each signal, and so has every document
        of such a query.
        """
        region, scoring = self._query(query), self._scoring
        # The bundle alone chooses the weights: no document's score may depend on what else was given.
        fusion, distance, attention = scoring.attentive or scoring.fusion, np.full(len(documents), np.nan), None
        if region is not None:
            points = [parse_vector(document, scoring.dimension) for document in documents]
            titles = ["" if stored is not None else text for stored, text in zip(points, documents, strict=True)]
            distance = point_distances(self._placed(points, titles), region, scoring)
            attention = score_attention(self._attention, query, titles) if self._attention else None
        return fuse(np.full(len(documents), fusion.half_saturation), distance, fusion, attention)

    def _placed(self, points: Sequence[Array | None], titles: Sequence[str]) -> list[Array | None]:
        """Every point there is: those stored, and those of titles that say something."""
        placed, vocabulary = list(points), self._encoder.bundle.vocabulary
        said = [number for number, title in enumerate(titles) if vocabulary.title_ids(title)]
        for number, point in zip(said, self._encoder.products([titles[n] for n in said]), strict=True):
            placed[number] = lift_point(point)
        return placed


def parse_vector(text: str, dimension: int) -> Array | None:
    """Point `(D+1,)` that a text spells out as D+1 finite numbers, with or without brackets; None for any other."""
    if not _VECTOR_TEXT.fullmatch(text):
        return None
    try:
        numbers = [float(part) for part in text.strip(" []\n\t\r").replace(",", " ").split()]
    except ValueError:
        return None
    largest = np.finfo(np.float32).max
    fits = len(numbers) == dimension + 1 and all(math.isfinite(value) and abs(value) <= largest for value in numbers)
    return lift_point(np.array(numbers, np.float32)) if fits else None
