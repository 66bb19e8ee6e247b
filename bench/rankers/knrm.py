"""K-NRM (Xiong 2017) and Conv-KNRM (Dai 2018): how many words of the title are how similar to each of the query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import TrainableRanker
from rankers.lexicon import MAX_QUERY_WORDS, MAX_TITLE_WORDS, WordEmbeddings, cosine_grids, match_words, pair_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rankers.lexicon import Lexicon, PaddedWords

KERNEL_MEANS = tuple(round(0.9 - 0.2 * step, 1) for step in range(10))
KERNEL_DEVIATION = 0.1
LOG_COUNT_SCALE = 0.1  # of the logarithms: the authors' 0.01 needs larger weights than a short training reaches


def kernel_features(grids: Tensor, exact: Tensor | None, mask: Tensor) -> Tensor:
    """Kernel features `(B, C, K)` of cosine grids `(B, C, Q, T)`: `Σ_q log Σ_t exp(−(cos − μ)²/2σ²)`.

    A further kernel counts `exact` cells where they are given; the papers write it as μ = 1, σ = 0.001.
    """
    asked = mask.any(-1)
    row = (asked.flatten().cumsum(0) - 1).view(asked.shape)  # number of each word asked among all of the batch
    found = grids[mask]  # most cells are padding, and exponentials cost most
    kernels = torch.exp((found[:, None] - torch.tensor(KERNEL_MEANS)).square() / (-2 * KERNEL_DEVIATION**2))
    owner = row[..., None].expand(mask.shape)[mask]
    counts = torch.zeros(int(asked.sum()), len(KERNEL_MEANS)).index_add(0, owner, kernels)
    if exact is not None:
        counts = torch.cat([counts, exact.logical_and(mask).sum(-1)[asked][:, None].to(counts.dtype)], dim=-1)
    pair = torch.arange(asked[..., 0].numel()).view(*asked.shape[:-1], 1).expand(asked.shape)[asked]
    logarithms = LOG_COUNT_SCALE * counts.clamp_min(1e-10).log()
    summed = torch.zeros(asked[..., 0].numel(), counts.shape[-1]).index_add(0, pair, logarithms)
    return summed.view(*asked.shape[:-1], -1)


def match_ngrams(query: PaddedWords, title: PaddedWords, width: int) -> Tensor:
    """Where the same words begin, one after another: `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    left, right = (F.pad(part.keys, (0, width - 1)).unfold(-1, width, 1) for part in (query, title))
    return (left[:, None, :, None] == right[:, :, None, :]).all(-1)


class Knrm(TrainableRanker):
    """Eleven kernels over the cosines of words, and a linear layer."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension)
        self.last = nn.Linear(1 + len(KERNEL_MEANS), 1)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`w·φ + b`, `(B, C)`."""
        query, title = self.lexicon.read(queries, MAX_QUERY_WORDS), self.lexicon.read(titles, MAX_TITLE_WORDS)
        drawn = title[candidates]
        grids = cosine_grids(self.words.directions(query.ids), self.words.directions(title.ids)[candidates])
        scores: Tensor = self.last(
            kernel_features(grids, match_words(query, drawn), pair_mask(query.mask, drawn.mask))
        ).squeeze(-1)
        return scores


class ConvKnrm(TrainableRanker):
    """The same over one, two and three words of the query against one, two and three of the title."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 64) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension)
        self.spans = nn.ModuleList(nn.Conv1d(dimension, filters, width) for width in (1, 2, 3))
        self.last = nn.Linear(9 * len(KERNEL_MEANS) + len(self.spans), 1)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`w·φ + b`, `(B, C)`, φ of all nine pairs of lengths."""
        query, title = self.lexicon.read(queries, MAX_QUERY_WORDS), self.lexicon.read(titles, MAX_TITLE_WORDS)
        drawn = title[candidates]
        mask = pair_mask(query.mask, drawn.mask)
        wanted = self._spans(self.words(query.ids))
        offered = [spans[candidates] for spans in self._spans(self.words(title.ids))]
        features = [
            kernel_features(cosine_grids(left, right), match_ngrams(query, drawn, one) if one == other else None, mask)
            for one, left in enumerate(wanted, start=1)
            for other, right in enumerate(offered, start=1)
        ]
        scores: Tensor = self.last(torch.cat(features, -1)).squeeze(-1)
        return scores

    def _spans(self, vectors: Tensor) -> list[Tensor]:
        """Directions of the one, two and three words that begin at each place; what lies behind the end is 0."""
        turned = vectors.transpose(1, 2)
        return [
            F.normalize(torch.relu(conv(F.pad(turned, (0, width - 1)))).transpose(1, 2), dim=-1)
            for width, conv in enumerate(self.spans, start=1)
        ]
