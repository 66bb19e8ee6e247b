"""DSSM (Huang et al. 2013) and CDSSM (Shen et al. 2014): cosine of two vectors made from letter trigrams."""

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
    """Base of both models: cosine of a query vector and a title vector, times a learned scale."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE).log())

    def encode(self, texts: Sequence[str], max_words: int) -> Tensor:
        """Encode the first `max_words` words of each text, `(N, D)`."""
        raise NotImplementedError

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`s·cos(query, title)`, `(B, C)`."""
        query = F.normalize(self.encode(queries, MAX_QUERY_WORDS), dim=-1)
        title = F.normalize(self.encode(titles, MAX_TITLE_WORDS), dim=-1)
        return self.log_scale.exp() * torch.einsum("bd,bcd->bc", query, title[candidates])


class Dssm(TwoTowerRanker):
    """DSSM: a bag of letter trigrams through tanh layers of 300, 300 and 128."""

    def __init__(self, vocabulary: NgramVocabulary, hidden: int = 300, dimension: int = 128) -> None:
        super().__init__()
        self.bags = NgramBagEmbedding(vocabulary, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, dimension)

    def encode(self, texts: Sequence[str], max_words: int) -> Tensor:
        """Encode texts as vectors, `(N, 128)`."""
        first = torch.tanh(self.bags.embed_texts(texts, max_words))
        return torch.tanh(self.last(torch.tanh(self.middle(first))))


class Cdssm(TwoTowerRanker):
    """CDSSM: letter trigrams per word, a convolution over three words, max pooling, and a layer of 128."""

    def __init__(self, vocabulary: NgramVocabulary, hidden: int = 128, dimension: int = 128) -> None:
        super().__init__()
        self.bags = NgramBagEmbedding(vocabulary, 3 * hidden)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.last = nn.Linear(hidden, dimension)

    def encode(self, texts: Sequence[str], max_words: int) -> Tensor:
        """Encode texts as vectors, `(N, 128)`; a text without words counts as one empty word."""
        sums, mask = self.bags.embed_words(texts, max_words)
        before, here, after = F.pad(sums, (0, 0, 1, 1)).chunk(3, dim=-1)
        windows = torch.tanh((before[:, :-2] + here[:, 1:-1] + after[:, 2:]) / 3 + self.bias)
        empty = ~mask.any(-1, keepdim=True)
        pooled = windows.masked_fill(~(mask | empty)[..., None], -2).amax(1)  # tanh is above −1: padding never wins
        return torch.tanh(self.last(pooled.clamp_min(-1)))
