"""DRMM (Guo 2016): a histogram of similarities for each word of the query, weighed by how much the word says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from anthem_model.ranker import TrainableRanker
from rankers.lexicon import MAX_QUERY_WORDS, MAX_TITLE_WORDS, WordEmbeddings, cosine_grids, match_words, pair_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rankers.lexicon import Lexicon, PaddedWords

HISTOGRAM_BINS = 30  # 29 of equal width over [−1, 1), and one for the same word


class Drmm(TrainableRanker):
    """Log-count histograms through layers of 5 and 1, and a softmax gate over the query's words."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, gate: Literal["idf", "vector"] = "idf") -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension, fixed=True)  # counts pass no gradient on to the vectors
        self.layers = nn.Sequential(nn.Linear(HISTOGRAM_BINS, 5), nn.Tanh(), nn.Linear(5, 1), nn.Tanh())
        self.gate = nn.Linear(1 if gate == "idf" else dimension, 1, bias=False)
        self.scale = nn.Parameter(torch.tensor(5.0))
        self.idf = nn.Parameter(lexicon.idf, requires_grad=False)
        nn.init.constant_(self.gate.weight, 0.3 if gate == "idf" else 0.0)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`s·Σ_q g_q z_q`, `(B, C)`; the scale s lets a softmax over candidates become sure."""
        query, title = self.lexicon.read(queries, MAX_QUERY_WORDS), self.lexicon.read(titles, MAX_TITLE_WORDS)
        matched = self.layers(self._histograms(query, title, candidates)).squeeze(-1)
        weight = self._weights(query)
        scores: Tensor = self.scale * (weight[:, None] * matched).sum(-1)
        return scores

    @torch.no_grad()
    def _histograms(self, query: PaddedWords, title: PaddedWords, candidates: Tensor) -> Tensor:
        """`log(1 + count)` by bin, `(B, C, Q, 30)`."""
        drawn = title[candidates]
        grids = cosine_grids(self.words.directions(query.ids), self.words.directions(title.ids)[candidates])
        places = ((grids + 1) / 2 * (HISTOGRAM_BINS - 1)).long().clamp(0, HISTOGRAM_BINS - 2)
        places = places.masked_fill(match_words(query, drawn), HISTOGRAM_BINS - 1)
        counted = pair_mask(query.mask, drawn.mask).to(grids.dtype)
        return torch.zeros(*grids.shape[:-1], HISTOGRAM_BINS).scatter_add(-1, places, counted).log1p()

    def _weights(self, query: PaddedWords) -> Tensor:
        """Softmax gate over the words that are there, `(B, Q)`; 0 for a query without words."""
        signal = self.idf[query.ids][..., None] if self.gate.in_features == 1 else self.words(query.ids)
        logits = self.gate(signal).squeeze(-1).masked_fill(~query.mask, -1e9)
        weights: Tensor = torch.softmax(logits, -1) * query.mask
        return weights
