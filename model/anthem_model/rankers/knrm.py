"""K-NRM (Xiong 2017) and Conv-KNRM (Dai 2018): how many words of the title are how similar to each of the query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import Ranker
from anthem_model.rankers.words import QUERY_WORDS, TITLE_WORDS, Words, both, cosines, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.rankers.words import Lexicon, Read

CENTRES = tuple(round(0.9 - 0.2 * step, 1) for step in range(10))
WIDTH = 0.1
SCALE = 0.1  # of the logarithms: the authors' 0.01 needs larger weights than a short training reaches


def soft_counts(grids: Tensor, exact: Tensor | None, mask: Tensor) -> Tensor:
    """Kernel features `(B, C, K)` of cosine grids `(B, C, Q, T)`: `Σ_q log Σ_t exp(−(cos − μ)²/2σ²)`.

    A further kernel counts `exact` cells where they are given; the papers write it as μ = 1, σ = 0.001.
    """
    asked = mask.any(-1)
    row = (asked.flatten().cumsum(0) - 1).view(asked.shape)  # number of each word asked among all of the batch
    found = grids[mask]  # most cells are padding, and exponentials cost most
    kernels = torch.exp((found[:, None] - torch.tensor(CENTRES)).square() / (-2 * WIDTH**2))
    owner = row[..., None].expand(mask.shape)[mask]
    counts = torch.zeros(int(asked.sum()), len(CENTRES)).index_add(0, owner, kernels)
    if exact is not None:
        counts = torch.cat([counts, exact.logical_and(mask).sum(-1)[asked][:, None].to(counts.dtype)], dim=-1)
    pair = torch.arange(asked[..., 0].numel()).view(*asked.shape[:-1], 1).expand(asked.shape)[asked]
    logarithms = SCALE * counts.clamp_min(1e-10).log()
    summed = torch.zeros(asked[..., 0].numel(), counts.shape[-1]).index_add(0, pair, logarithms)
    return summed.view(*asked.shape[:-1], -1)


def same_spans(query: Read, title: Read, width: int) -> Tensor:
    """Where the same words begin, one after another: `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    left, right = (F.pad(part.keys, (0, width - 1)).unfold(-1, width, 1) for part in (query, title))
    return (left[:, None, :, None] == right[:, :, None, :]).all(-1)


class Knrm(Ranker):
    """Eleven kernels over the cosines of words, and a linear layer."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = Words(lexicon, dimension)
        self.last = nn.Linear(1 + len(CENTRES), 1)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`w·φ + b`, `(B, C)`."""
        query, title = self.lexicon.read(queries, QUERY_WORDS), self.lexicon.read(titles, TITLE_WORDS)
        drawn = title[candidates]
        grids = cosines(self.words.directions(query.ids), self.words.directions(title.ids)[candidates])
        scores: Tensor = self.last(soft_counts(grids, same(query, drawn), both(query.mask, drawn.mask))).squeeze(-1)
        return scores


class ConvKnrm(Ranker):
    """The same over one, two and three words of the query against one, two and three of the title."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 64) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = Words(lexicon, dimension)
        self.spans = nn.ModuleList(nn.Conv1d(dimension, filters, width) for width in (1, 2, 3))
        self.last = nn.Linear(9 * len(CENTRES) + len(self.spans), 1)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`w·φ + b`, `(B, C)`, φ of all nine pairs of lengths."""
        query, title = self.lexicon.read(queries, QUERY_WORDS), self.lexicon.read(titles, TITLE_WORDS)
        drawn = title[candidates]
        mask = both(query.mask, drawn.mask)
        wanted = self._spans(self.words(query.ids))
        offered = [spans[candidates] for spans in self._spans(self.words(title.ids))]
        features = [
            soft_counts(cosines(left, right), same_spans(query, drawn, one) if one == other else None, mask)
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
