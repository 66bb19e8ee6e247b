"""ARC-I and ARC-II (Hu 2014): convolutions over both sentences apart, or over the grid of their windows."""

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

ARC_QUERY_WORDS = 8  # words read; ARC reads sentences of a fixed length
ARC_TITLE_WORDS = 24


class ArcRanker(TrainableRanker):
    """What both have in common: words of both sides in a fixed number of places, and a window of three."""

    def __init__(self, lexicon: Lexicon, dimension: int) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension)

    def both(self, queries: Sequence[str], titles: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Vectors `(B, D, 8)` of queries and `(N, D, 24)` of titles."""
        read = (
            self.lexicon.read(texts, width).cut(width)
            for texts, width in ((queries, ARC_QUERY_WORDS), (titles, ARC_TITLE_WORDS))
        )
        query, title = (self.words(one.ids).transpose(1, 2) for one in read)
        return query, title


class ArcOne(ArcRanker):
    """Each sentence through two convolutions, each with a maximum over two places; both ends through a perceptron."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 64, hidden: int = 128) -> None:
        super().__init__(lexicon, dimension)
        self.query, self.title = (_build_sentence_layers(dimension, filters) for _ in range(2))
        self.perceptron = build_mlp(
            filters * (ARC_QUERY_WORDS + ARC_TITLE_WORDS) // 4, hidden, hidden // 2, 1, dropout=0.1
        )

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`MLP([query; title])`, `(B, C)`."""
        query, title = self.both(queries, titles)
        asked, drawn = self.query(query), self.title(title)[candidates]
        pairs = torch.cat([asked[:, None].expand(-1, candidates.shape[1], -1), drawn], dim=-1)
        scores: Tensor = self.perceptron(pairs).squeeze(-1)
        return scores


class ArcTwo(ArcRanker):
    """Every window of the query beside every window of the title: a grid, convolved and pooled in two dimensions."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 32, hidden: int = 64) -> None:
        super().__init__(lexicon, dimension)
        self.query = nn.Conv1d(dimension, filters, 3, padding=1)
        self.title = nn.Conv1d(dimension, filters, 3, padding=1, bias=False)
        self.grid = nn.Conv2d(filters, filters, 3, padding=1)
        self.perceptron = build_mlp(filters * ARC_QUERY_WORDS * ARC_TITLE_WORDS // 16, hidden, 1, dropout=0.1)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`MLP(pool(conv(pool(relu(W_q q + W_t t)))))`, `(B, C)`; the first convolution is linear in both windows."""
        query, title = self.both(queries, titles)
        asked, drawn = self.query(query)[:, None, :, :, None], self.title(title)[candidates][:, :, :, None, :]
        grids = F.max_pool2d(torch.relu(asked + drawn).flatten(0, 1), 2)
        pooled = F.max_pool2d(torch.relu(self.grid(grids)), 2).flatten(1)
        scores: Tensor = self.perceptron(pooled).view(candidates.shape)
        return scores


def _build_sentence_layers(dimension: int, filters: int) -> nn.Sequential:
    first, second = (nn.Conv1d(width, filters, 3, padding=1) for width in (dimension, filters))
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool1d(2), second, nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
