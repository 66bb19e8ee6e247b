"""The attention score: a title's trigrams as points in the regions that a query's trigrams ask for, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anthem_model.geometry.lorentz import bounded

if TYPE_CHECKING:
    from anthem_model.nn.layers import ModelShape, TrigramContext

MASKED_LOGIT = -1e4
MIN_SOFTMAX_SUM = (
    1e-30  # what a sum of softmax terms is divided by at least; cells are no further than 7, the radius bound
)


class QuerySide(NamedTuple):
    """Query trigrams as regions: centres `(B,T,D+1)`, radii `(B,T)`, attention logits `(B,T)`."""

    centres: Tensor
    radii: Tensor
    attention: Tensor


class TitleSide(NamedTuple):
    """Title trigrams as points `(N,L,D+1)`, with the logits of being looked at `(N,L)` and of being covered `(N,L)`."""

    points: Tensor
    seen: Tensor
    covered: Tensor


class AttentionGrid(nn.Module):
    """Every query trigram against every title trigram, `cell = −(outside + γ·inside)` of the distance to its centre.

    Two sums make the score: how well the title answers each query trigram, and how much of the title the query covers,

    `score = Σ_i a_i Σ_j p_ij·cell_ij + c·Σ_j b_j Σ_i q_ij·cell_ij`

    with query attention `a`, title attention `b`, and `p`, `q` a softmax of the cells over the title and the query.
    """

    every: Tensor

    def __init__(self, shape: ModelShape, context: TrigramContext) -> None:
        super().__init__()
        self.shape = shape
        self.tangents = nn.Embedding(shape.ids, shape.grid)
        self.salience = nn.Embedding(shape.ids, 2)
        self.context = context
        self.radius = nn.Linear(shape.grid, 1)
        self.query_attention = nn.Linear(shape.grid, 1)
        self.look = nn.Linear(shape.grid, 1)
        self.cover = nn.Linear(shape.grid, 1)
        self.place = nn.Embedding(shape.places, 1)
        self.log_sharpness = nn.Parameter(torch.tensor([1.5, 1.5]))
        self.share = nn.Parameter(torch.tensor(0.3))
        self.log_scale = nn.Parameter(torch.tensor(1.6))
        self.register_buffer("every", torch.arange(shape.ids), persistent=False)
        for layer in (self.radius, self.query_attention, self.look, self.cover, self.place):
            nn.init.zeros_(layer.weight)
        nn.init.constant_(self.radius.bias, -1.0)
        nn.init.normal_(self.tangents.weight, std=shape.grid**-0.5)
        nn.init.normal_(context.mix.weight, std=0.02)
        nn.init.zeros_(self.salience.weight)

    def ask(self, query: Tensor, mask: Tensor) -> QuerySide:
        """Regions of query trigrams, in context; `(B,T)` int64 and bool."""
        tangent = bounded(self.context(self.tangents(query), mask), self.shape.radius)
        radii = F.softplus(self.radius(tangent)).squeeze(-1)
        attention = self.query_attention(tangent).squeeze(-1) + self.salience(query)[..., 0]
        return QuerySide(self.shape.space.exp0(tangent), radii, attention.masked_fill(~mask, MASKED_LOGIT))

    def offer(self, titles: Tensor, mask: Tensor) -> TitleSide:
        """Points of title trigrams, without context: all of it depends on the id alone, and a graph folds it away."""
        tangents = bounded(self.tangents(self.every), self.shape.radius)
        points = self.shape.space.exp0(tangents)[titles]
        seen = self.look(tangents)[titles].squeeze(-1)
        covered = (self.cover(tangents) + self.salience(self.every)[:, 1:])[titles].squeeze(-1)
        covered = covered + self.place.weight[: titles.shape[1], 0]
        return TitleSide(points, seen.masked_fill(~mask, MASKED_LOGIT), covered.masked_fill(~mask, MASKED_LOGIT))

    def cells(self, asked: QuerySide, points: Tensor) -> Tensor:
        """Containment of title trigrams in query trigrams' regions, `−(max(d − r, 0) + γ·min(d, r))`.

        Points `(B,M,D+1)` to `(B,T,M)`, ≤ 0.
        """
        away = self.shape.space.apart(asked.centres, points)
        cells: Tensor = (1 - self.shape.gamma) * torch.minimum(away, asked.radii.unsqueeze(-1)) - away
        return cells

    def weigh(self, asked: QuerySide, seen: Tensor, covered: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `(B,C)` and grids `(B,C,T,L)` of cells of that shape; seen and covered `(B,C,L)`.

        A grid is each cell's closeness `exp(cell)` by both attentions, `a_i·p_ij`: it sums to what the title answers.
        """
        sharpness = self.log_sharpness.exp()
        answered = torch.exp(sharpness[0] * cells + seen.unsqueeze(-2))
        answered = answered / answered.sum(-1, keepdim=True).clamp_min(MIN_SOFTMAX_SUM)
        wanted = torch.softmax(asked.attention, dim=-1)[:, None]
        rows = (wanted * (answered * cells).sum(-1)).sum(-1)
        explained = torch.exp(sharpness[1] * cells) * wanted.unsqueeze(-1)
        explaining = (explained * cells).sum(-2) / explained.sum(-2).clamp_min(MIN_SOFTMAX_SUM)
        columns = (torch.softmax(covered, dim=-1) * explaining).sum(-1)
        return rows + self.share * columns, wanted.unsqueeze(-1) * answered * cells.exp()

    def forward(self, query: Tensor, query_mask: Tensor, titles: Tensor, title_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `(N,)` and grids `(N,T,L)` of titles `(N,L)` for one query `(1,T)`."""
        asked, offered = self.ask(query, query_mask), self.offer(titles, title_mask)
        cells = self.cells(asked, offered.points.flatten(0, 1)[None])
        cells = cells.view(1, -1, *titles.shape).transpose(1, 2)
        scores, grids = self.weigh(asked, offered.seen[None], offered.covered[None], cells)
        return scores[0], grids[0]

    def pairs(self, asked: QuerySide, offered: TitleSide, candidates: Tensor) -> Tensor:
        """Logits `(B,C)`, scores by a learned scale, of candidates `(B,C)`, rows of the titles, for B queries."""
        points = offered.points[candidates]
        cells = self.cells(asked, points.flatten(1, 2))
        cells = cells.view(len(candidates), -1, *points.shape[1:3]).transpose(1, 2)
        scores, _ = self.weigh(asked, offered.seen[candidates], offered.covered[candidates], cells)
        return self.log_scale.exp() * scores
