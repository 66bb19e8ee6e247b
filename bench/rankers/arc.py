"""ARC-I and ARC-II (Hu et al. 2014): convolutions over each sentence separately, or over the grid of their windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import TrainableRanker
from rankers.lexicon import WordEmbeddings, build_mlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rankers.lexicon import Lexicon

ARC_QUERY_WORDS = 8  # ARC reads sentences of a fixed length: longer ones are cut, shorter ones padded
ARC_TITLE_WORDS = 24


class ArcRanker(TrainableRanker):
    """Base of both models: word embeddings of queries and titles, each with a fixed number of words."""

    def __init__(self, lexicon: Lexicon, dimension: int) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension)

    def embed(self, queries: Sequence[str], titles: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embed the words of queries, `(B, D, 8)`, and of titles, `(N, D, 24)`."""
        return self._embed(queries, ARC_QUERY_WORDS), self._embed(titles, ARC_TITLE_WORDS)

    def _embed(self, texts: Sequence[str], width: int) -> Tensor:
        vectors: Tensor = self.words(self.lexicon.read(texts, width).resize(width).ids)
        return vectors.transpose(1, 2)


class ArcOne(ArcRanker):
    """ARC-I: each sentence passes two convolutions with max pooling; a perceptron scores both results together."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 64, hidden: int = 128) -> None:
        super().__init__(lexicon, dimension)
        self.query, self.title = (_build_sentence_layers(dimension, filters) for _ in range(2))
        self.perceptron = build_mlp(
            filters * (ARC_QUERY_WORDS + ARC_TITLE_WORDS) // 4, hidden, hidden // 2, 1, dropout=0.1
        )

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`MLP([query; title])`, `(B, C)`."""
        query_words, title_words = self.embed(queries, titles)
        query, title = self.query(query_words), self.title(title_words)[candidates]
        pairs = torch.cat([query[:, None].expand(-1, candidates.shape[1], -1), title], dim=-1)
        scores: Tensor = self.perceptron(pairs).squeeze(-1)
        return scores


class ArcTwo(ArcRanker):
    """ARC-II: the grid of all window pairs of query and title, convolved and pooled in two dimensions."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 32, hidden: int = 64) -> None:
        super().__init__(lexicon, dimension)
        self.query = nn.Conv1d(dimension, filters, 3, padding=1)
        self.title = nn.Conv1d(dimension, filters, 3, padding=1, bias=False)
        self.grid = nn.Conv2d(filters, filters, 3, padding=1)
        self.perceptron = build_mlp(filters * ARC_QUERY_WORDS * ARC_TITLE_WORDS // 16, hidden, 1, dropout=0.1)

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`MLP(pool(conv(pool(relu(W_q q + W_t t)))))`, `(B, C)`.

        The first convolution is linear in both windows, so it is computed once per text, not once per pair.
        """
        query_words, title_words = self.embed(queries, titles)
        query = self.query(query_words)[:, None, :, :, None]
        title = self.title(title_words)[candidates][:, :, :, None, :]
        grids = F.max_pool2d(torch.relu(query + title).flatten(0, 1), 2)
        pooled = F.max_pool2d(torch.relu(self.grid(grids)), 2).flatten(1)
        scores: Tensor = self.perceptron(pooled).view(candidates.shape)
        return scores


def _build_sentence_layers(dimension: int, filters: int) -> nn.Sequential:
    first, second = (nn.Conv1d(width, filters, 3, padding=1) for width in (dimension, filters))
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool1d(2), second, nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
