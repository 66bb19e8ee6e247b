"""DUET (Mitra et al. 2017): one network reads where query words occur in the title, the other what both are about."""

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
    """Sum of a local network on exact matches and a distributed network on letter n-grams.

    Exact matches are weighted by inverse document frequency, as in the authors' update of 2019.
    """

    def __init__(self, lexicon: Lexicon, vocabulary: NgramVocabulary, hidden: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        self.local = DuetLocalNetwork(lexicon, hidden, dropout)
        self.distributed = DuetDistributedNetwork(vocabulary, hidden, dropout)

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`local + distributed`, `(B, C)`."""
        scores: Tensor = self.local(queries, titles, candidates) + self.distributed(queries, titles, candidates)
        return scores


class DuetLocalNetwork(nn.Module):
    """A grid of query words × title positions that holds a word's inverse document frequency where the words match."""

    def __init__(self, lexicon: Lexicon, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.filters = nn.Linear(DUET_TITLE_WORDS, hidden)
        self.layers = nn.Sequential(
            nn.Tanh(), nn.Flatten(-2), build_mlp(hidden * DUET_QUERY_WORDS, hidden, hidden, 1, dropout=dropout)
        )
        self.idf = nn.Parameter(lexicon.idf / lexicon.idf.max().clamp_min(1e-9), requires_grad=False)

    def forward(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)`: filters as wide as a title, then three layers."""
        query = self.lexicon.read(queries, DUET_QUERY_WORDS).resize(DUET_QUERY_WORDS)
        title = self.lexicon.read(titles, DUET_TITLE_WORDS).resize(DUET_TITLE_WORDS)[candidates]
        grids = match_words(query, title) * self.idf[query.ids][:, None, :, None]
        scores: Tensor = self.layers(self.filters(grids)).squeeze(-1)
        return scores


class DuetDistributedNetwork(nn.Module):
    """Letter n-grams of words (n up to five), convolved over three words and pooled; three layers on the products."""

    def __init__(self, vocabulary: NgramVocabulary, hidden: int, dropout: float) -> None:
        super().__init__()
        self.bags = NgramBagEmbedding(vocabulary, 6 * hidden)  # three words for each of the two sides
        self.bias = nn.Parameter(torch.zeros(2, hidden))
        self.query = nn.Linear(hidden, hidden)
        self.title = nn.Linear(hidden, hidden)
        self.layers = nn.Sequential(
            nn.Flatten(-2),
            build_mlp(hidden * DUET_TITLE_WORDS // TITLE_POOL_WIDTH, hidden, hidden, 1, dropout=dropout),
        )

    def forward(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)`: the query's single vector times the vectors of the pooled title positions."""
        query = torch.tanh(self.query(self._convolve_words(queries, DUET_QUERY_WORDS, 0).amax(-2)))
        windows = self._convolve_words(titles, DUET_TITLE_WORDS, 1).transpose(1, 2)
        pooled = F.max_pool1d(windows, TITLE_POOL_WIDTH).transpose(1, 2)
        title = torch.tanh(self.title(pooled))[candidates]
        scores: Tensor = self.layers(query[:, None, None] * title).squeeze(-1)
        return scores

    def _convolve_words(self, texts: Sequence[str], width: int, side: int) -> Tensor:
        """Windows of three words, `(N, width, H)`; `side` (0 query, 1 title) selects the filters."""
        sums, _ = self.bags.embed_words(texts, width)
        side_sums = sums.chunk(2, dim=-1)[side]
        padded = F.pad(side_sums, (0, 0, 1, width - side_sums.shape[1] + 1))
        before, here, after = padded.chunk(3, dim=-1)
        return torch.tanh((before[:, :-2] + here[:, 1:-1] + after[:, 2:]) / 3 + self.bias[side])
