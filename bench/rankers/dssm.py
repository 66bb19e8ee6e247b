"""DSSM (Huang 2013) and CDSSM (Shen 2014): query and title as a vector each from letter trigrams, and their cosine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import TrainableRanker
from rankers.letter_ngrams import NgramBagEmbedding, NgramVocabulary
from rankers.lexicon import MAX_QUERY_WORDS, MAX_TITLE_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

INITIAL_LOGIT_SCALE = 10.0


class TwoTowerRanker(TrainableRanker):
    """Cosine of a vector for the query and a vector for the title, times a learned scale."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE).log())

    def encode(self, texts: Sequence[str], limit: int) -> Tensor:
        """Vectors `(N, D)` of texts, of which `limit` words are read."""
        raise NotImplementedError

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`s·cos(query, title)`, `(B, C)`."""
        query = F.normalize(self.encode(queries, MAX_QUERY_WORDS), dim=-1)
        title = F.normalize(self.encode(titles, MAX_TITLE_WORDS), dim=-1)
        return self.log_scale.exp() * torch.einsum("bd,bcd->bc", query, title[candidates])


class Dssm(TwoTowerRanker):
    """A bag of letter trigrams through tanh layers of 300, 300 and 128."""

    def __init__(self, letters: NgramVocabulary, hidden: int = 300, dimension: int = 128) -> None:
        super().__init__()
        self.bags = NgramBagEmbedding(letters, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, dimension)

    def encode(self, texts: Sequence[str], limit: int) -> Tensor:
        """Vectors `(N, 128)`."""
        first = torch.tanh(self.bags.of_texts(texts, limit))
        return torch.tanh(self.last(torch.tanh(self.middle(first))))


class Cdssm(TwoTowerRanker):
    """Letter trigrams by word, a convolution over three words, the maximum over all places, and a layer of 128."""

    def __init__(self, letters: NgramVocabulary, hidden: int = 128, dimension: int = 128) -> None:
        super().__init__()
        self.bags = NgramBagEmbedding(letters, 3 * hidden)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.last = nn.Linear(hidden, dimension)

    def encode(self, texts: Sequence[str], limit: int) -> Tensor:
        """Vectors `(N, 128)`; a text without words is as one empty word."""
        sums, mask = self.bags.of_words(texts, limit)
        before, here, after = F.pad(sums, (0, 0, 1, 1)).chunk(3, dim=-1)
        windows = torch.tanh((before[:, :-2] + here[:, 1:-1] + after[:, 2:]) / 3 + self.bias)
        empty = ~mask.any(-1, keepdim=True)
        highest = windows.masked_fill(~(mask | empty)[..., None], -2).amax(1)
        return torch.tanh(self.last(highest.clamp_min(-1)))
