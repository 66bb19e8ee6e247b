"""DUET (Mitra 2017): one network sees where the query's words stand in the title, one what both are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import TrainableRanker
from rankers.letter_ngrams import NgramBagEmbedding
from rankers.lexicon import build_mlp, match_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rankers.letter_ngrams import NgramVocabulary
    from rankers.lexicon import Lexicon

DUET_QUERY_WORDS = 10
DUET_TITLE_WORDS = 32
TITLE_POOL_WIDTH = 8


class Duet(TrainableRanker):
    """Local network on exact matches, weighted by rarity as in the authors' update of 2019, and distributed network."""

    def __init__(self, lexicon: Lexicon, letters: NgramVocabulary, hidden: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        self.local = DuetLocalNetwork(lexicon, hidden, dropout)
        self.distributed = DuetDistributedNetwork(letters, hidden, dropout)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`local + distributed`, `(B, C)`."""
        found: Tensor = self.local(queries, titles, candidates) + self.distributed(queries, titles, candidates)
        return found


class DuetLocalNetwork(nn.Module):
    """A grid, query's words × title's places, with the word's rarity where both are the same word."""

    def __init__(self, lexicon: Lexicon, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.filters = nn.Linear(DUET_TITLE_WORDS, hidden)
        self.layers = nn.Sequential(
            nn.Tanh(), nn.Flatten(-2), build_mlp(hidden * DUET_QUERY_WORDS, hidden, hidden, 1, dropout=dropout)
        )
        self.idf = nn.Parameter(lexicon.idf / lexicon.idf.max().clamp_min(1e-9), requires_grad=False)

    def forward(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)`: filters of the width of a title, and three layers."""
        query = self.lexicon.read(queries, DUET_QUERY_WORDS).cut(DUET_QUERY_WORDS)
        title = self.lexicon.read(titles, DUET_TITLE_WORDS).cut(DUET_TITLE_WORDS)[candidates]
        grids = match_words(query, title) * self.idf[query.ids][:, None, :, None]
        scores: Tensor = self.layers(self.filters(grids)).squeeze(-1)
        return scores


class DuetDistributedNetwork(nn.Module):
    """Letter n-grams of words, n up to five, convolved over three words and pooled; products of both, three layers."""

    def __init__(self, letters: NgramVocabulary, hidden: int, dropout: float) -> None:
        super().__init__()
        self.bags = NgramBagEmbedding(letters, 6 * hidden)
        self.bias = nn.Parameter(torch.zeros(2, hidden))
        self.query = nn.Linear(hidden, hidden)
        self.title = nn.Linear(hidden, hidden)
        self.layers = nn.Sequential(
            nn.Flatten(-2), build_mlp(hidden * DUET_TITLE_WORDS // TITLE_POOL_WIDTH, hidden, hidden, 1, dropout=dropout)
        )

    def forward(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)`: the query's one vector times those of the title's places."""
        query = torch.tanh(self.query(self._windows(queries, DUET_QUERY_WORDS, 0).amax(-2)))
        places = F.max_pool1d(self._windows(titles, DUET_TITLE_WORDS, 1).transpose(1, 2), TITLE_POOL_WIDTH).transpose(
            1, 2
        )
        title = torch.tanh(self.title(places))[candidates]
        scores: Tensor = self.layers(query[:, None, None] * title).squeeze(-1)
        return scores

    def _windows(self, texts: Sequence[str], width: int, side: int) -> Tensor:
        """Three words at a time, `(N, width, H)`; both sides have filters of their own."""
        sums, _ = self.bags.of_words(texts, width)
        own = sums.chunk(2, dim=-1)[side]
        full = F.pad(own, (0, 0, 1, width - own.shape[1] + 1))
        before, here, after = full.chunk(3, dim=-1)
        return torch.tanh((before[:, :-2] + here[:, 1:-1] + after[:, 2:]) / 3 + self.bias[side])
