"""The attention score: every query entity is a region, every title entity a point, every pair of them a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anthem_model.geometry.lorentz import bounded

if TYPE_CHECKING:
    from anthem_model.nn.layers import EntityContext, ModelShape

MASKED_LOGIT = -1e4
MIN_SOFTMAX_SUM = 1e-30  # lower bound of a divisor; no sum of terms is smaller, since the radius bounds all distances


class QuerySide(NamedTuple):
    """Query entities as regions: centres `(B,T,D+1)`, radii `(B,T)`, attention logits `(B,T)`."""

    centres: Tensor
    radii: Tensor
    attention_logits: Tensor


class TitleSide(NamedTuple):
    """Title entities as points `(N,L,D+1)`, with their logits in the answer and in the coverage sum, `(N,L)` each."""

    points: Tensor
    answer_logits: Tensor
    coverage_logits: Tensor


class AttentionGrid(nn.Module):
    """Scores a title by the cells of a grid, query entities by title entities.

    A cell is the containment of a title entity in the region of a query entity, `−(max(d − r, 0) + γ·min(d, r))` at
    distance `d` from a centre of radius `r`. The score is the sum of two terms, how well the title answers each query
    entity and how much of the title the query covers:

    `score = Σ_i a_i Σ_j p_ij·cell_ij + c·Σ_j b_j Σ_i q_ij·cell_ij`

    with query attention `a`, title attention `b`, and `p`, `q` a softmax of the cells over the title and the query.
    """

    every: Tensor  # all ids; exported graphs contain this name, so renaming it would change the model id of bundles

    def __init__(self, shape: ModelShape, context: EntityContext) -> None:
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

    def encode_query(self, query: Tensor, mask: Tensor) -> QuerySide:
        """Regions of query entities in context; `(B,T)` int64 and bool."""
        tangent = bounded(self.context(self.tangents(query), mask), self.shape.radius)
        radii = F.softplus(self.radius(tangent)).squeeze(-1)
        attention = self.query_attention(tangent).squeeze(-1) + self.salience(query)[..., 0]
        return QuerySide(self.shape.space.expmap0(tangent), radii, attention.masked_fill(~mask, MASKED_LOGIT))

    def encode_titles(self, titles: Tensor, mask: Tensor) -> TitleSide:
        """Points of title entities without context; `(N,L)` int64 and bool.

        All of it depends on the ids alone, so that an exported graph contains it as precomputed tables.
        """
        tangents = bounded(self.tangents(self.every), self.shape.radius)
        points = self.shape.space.expmap0(tangents)[titles]
        answer = self.look(tangents)[titles].squeeze(-1)
        coverage = (self.cover(tangents) + self.salience(self.every)[:, 1:])[titles].squeeze(-1)
        coverage = coverage + self.place.weight[: titles.shape[1], 0]
        return TitleSide(points, answer.masked_fill(~mask, MASKED_LOGIT), coverage.masked_fill(~mask, MASKED_LOGIT))

    def cells(self, query: QuerySide, points: Tensor) -> Tensor:
        """Containment of title entities in query regions, `−(max(d − r, 0) + γ·min(d, r))`, always ≤ 0.

        Points `(B,M,D+1)` to cells `(B,T,M)`.
        """
        distances = self.shape.space.pairwise_dist(query.centres, points)
        cells: Tensor = (1 - self.shape.gamma) * torch.minimum(distances, query.radii.unsqueeze(-1)) - distances
        return cells

    def score_cells(
        self, query: QuerySide, answer_logits: Tensor, coverage_logits: Tensor, cells: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores `(B,C)` and explanation grids `(B,C,T,L)` of cells `(B,C,T,L)`; logits `(B,C,L)` each.

        The explanation grid is `a_i·p_ij·exp(cell_ij)`: the closeness of a cell times both attentions. It sums to 1 at
        most.
        """
        sharpness = self.log_sharpness.exp()
        answer = torch.exp(sharpness[0] * cells + answer_logits.unsqueeze(-2))
        answer = answer / answer.sum(-1, keepdim=True).clamp_min(MIN_SOFTMAX_SUM)
        query_attention = torch.softmax(query.attention_logits, dim=-1)[:, None]
        answer_score = (query_attention * (answer * cells).sum(-1)).sum(-1)
        coverage = torch.exp(sharpness[1] * cells) * query_attention.unsqueeze(-1)
        covered_cells = (coverage * cells).sum(-2) / coverage.sum(-2).clamp_min(MIN_SOFTMAX_SUM)
        coverage_score = (torch.softmax(coverage_logits, dim=-1) * covered_cells).sum(-1)
        return answer_score + self.share * coverage_score, query_attention.unsqueeze(-1) * answer * cells.exp()

    def forward(self, query: Tensor, query_mask: Tensor, titles: Tensor, title_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `(N,)` and explanation grids `(N,T,L)` of titles `(N,L)` for one query `(1,T)`."""
        query_side, title_side = self.encode_query(query, query_mask), self.encode_titles(titles, title_mask)
        cells = self.cells(query_side, title_side.points.flatten(0, 1)[None])
        cells = cells.view(1, -1, *titles.shape).transpose(1, 2)
        scores, grids = self.score_cells(
            query_side, title_side.answer_logits[None], title_side.coverage_logits[None], cells
        )
        return scores[0], grids[0]

    def candidate_logits(self, query: QuerySide, titles: TitleSide, candidates: Tensor) -> Tensor:
        """Logits `(B,C)`, scores times a learned scale, of B queries with candidates `(B,C)`, rows of the titles."""
        points = titles.points[candidates]
        cells = self.cells(query, points.flatten(1, 2))
        cells = cells.view(len(candidates), -1, *points.shape[1:3]).transpose(1, 2)
        scores, _ = self.score_cells(query, titles.answer_logits[candidates], titles.coverage_logits[candidates], cells)
        return self.log_scale.exp() * scores
