"""DUET (Mitra 2017): one network sees where the query's words stand in the title, one what both are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import Ranker
from anthem_model.rankers.letters import Bags
from anthem_model.rankers.words import mlp, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.rankers.letters import Letters
    from anthem_model.rankers.words import Lexicon

QUERY = 10
TITLE = 32
POOL = 8


class Duet(Ranker):
    """Local network on exact matches, weighted by rarity as in the authors' update of 2019, and distributed network."""

    def __init__(self, lexicon: Lexicon, letters: Letters, hidden: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        self.local = Local(lexicon, hidden, dropout)
        self.distributed = Distributed(letters, hidden, dropout)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`local + distributed`, `(B, C)`."""
        found: Tensor = self.local(queries, titles, candidates) + self.distributed(queries, titles, candidates)
        return found


class Local(nn.Module):
    """A grid, query's words × title's places, with the word's rarity where both are the same word."""

    def __init__(self, lexicon: Lexicon, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.filters = nn.Linear(TITLE, hidden)
        self.layers = nn.Sequential(nn.Tanh(), nn.Flatten(-2), mlp(hidden * QUERY, hidden, hidden, 1, dropout=dropout))
        self.idf = nn.Parameter(lexicon.idf / lexicon.idf.max().clamp_min(1e-9), requires_grad=False)

    def forward(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)`: filters of the width of a title, and three layers."""
        query = self.lexicon.read(queries, QUERY).cut(QUERY)
        title = self.lexicon.read(titles, TITLE).cut(TITLE)[candidates]
        grids = same(query, title) * self.idf[query.ids][:, None, :, None]
        scores: Tensor = self.layers(self.filters(grids)).squeeze(-1)
        return scores


class Distributed(nn.Module):
    """Letter n-grams of words, n up to five, convolved over three words and pooled; products of both, three layers."""

    def __init__(self, letters: Letters, hidden: int, dropout: float) -> None:
        super().__init__()
        self.bags = Bags(letters, 6 * hidden)
        self.bias = nn.Parameter(torch.zeros(2, hidden))
        self.query = nn.Linear(hidden, hidden)
        self.title = nn.Linear(hidden, hidden)
        self.layers = nn.Sequential(nn.Flatten(-2), mlp(hidden * TITLE // POOL, hidden, hidden, 1, dropout=dropout))

    def forward(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)`: the query's one vector times those of the title's places."""
        query = torch.tanh(self.query(self._windows(queries, QUERY, 0).amax(-2)))
        places = F.max_pool1d(self._windows(titles, TITLE, 1).transpose(1, 2), POOL).transpose(1, 2)
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
