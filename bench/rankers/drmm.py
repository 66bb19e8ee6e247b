"""DRMM (Guo et al. 2016): a histogram of cosines per query word, weighted by how informative the word is."""

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

HISTOGRAM_BINS = 30  # 29 of equal width over [−1, 1), and one for exact matches


class Drmm(TrainableRanker):
    """Log-count histograms, a feed-forward network with layers of 5 and 1, and a softmax gate over the query's words.

    The gate reads the inverse document frequency of a word (`idf`) or its embedding (`vector`).
    """

    def __init__(self, lexicon: Lexicon, dimension: int = 64, gate: Literal["idf", "vector"] = "idf") -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension, frozen=True)  # counts pass no gradient to the embeddings
        self.layers = nn.Sequential(nn.Linear(HISTOGRAM_BINS, 5), nn.Tanh(), nn.Linear(5, 1), nn.Tanh())
        self.gate = nn.Linear(1 if gate == "idf" else dimension, 1, bias=False)
        self.scale = nn.Parameter(torch.tensor(5.0))
        self.idf = nn.Parameter(lexicon.idf, requires_grad=False)
        nn.init.constant_(self.gate.weight, 0.3 if gate == "idf" else 0.0)

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`s·Σ_q g_q z_q`, `(B, C)`; tanh bounds z, so the learned scale s lets a softmax over candidates get sharp."""
        query, title = self.lexicon.read(queries, MAX_QUERY_WORDS), self.lexicon.read(titles, MAX_TITLE_WORDS)
        word_scores = self.layers(self._build_histograms(query, title, candidates)).squeeze(-1)
        weights = self._gate_weights(query)
        scores: Tensor = self.scale * (weights[:, None] * word_scores).sum(-1)
        return scores

    @torch.no_grad()
    def _build_histograms(self, query: PaddedWords, title: PaddedWords, candidates: Tensor) -> Tensor:
        """`log(1 + count)` per bin, `(B, C, Q, 30)`."""
        candidate_words = title[candidates]
        grids = cosine_grids(self.words.directions(query.ids), self.words.directions(title.ids)[candidates])
        bins = ((grids + 1) / 2 * (HISTOGRAM_BINS - 1)).long().clamp(0, HISTOGRAM_BINS - 2)
        bins = bins.masked_fill(match_words(query, candidate_words), HISTOGRAM_BINS - 1)
        counted = pair_mask(query.mask, candidate_words.mask).to(grids.dtype)
        return torch.zeros(*grids.shape[:-1], HISTOGRAM_BINS).scatter_add(-1, bins, counted).log1p()

    def _gate_weights(self, query: PaddedWords) -> Tensor:
        """Softmax over the words of each query, `(B, Q)`; all 0 for a query without words."""
        signal = self.idf[query.ids][..., None] if self.gate.in_features == 1 else self.words(query.ids)
        logits = self.gate(signal).squeeze(-1).masked_fill(~query.mask, -1e9)
        weights: Tensor = torch.softmax(logits, -1) * query.mask
        return weights
