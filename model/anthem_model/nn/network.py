"""ANTHEM (Choudhary et al., WSDM 2022): the query encoder, the product encoder and the whole network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anthem_model.geometry import lorentz
from anthem_model.geometry.lorentz import bounded
from anthem_model.nn.attention_grid import AttentionGrid
from anthem_model.nn.byte_tables import encode_table
from anthem_model.nn.layers import EntityContext, EntityTable, ModelShape, RadialPlacement

if TYPE_CHECKING:
    from types import ModuleType

PAIR_KEY_SIZE = 16  # dimensions of the vectors whose inner products are the attention logits of intersections


class EncodedQueries(NamedTuple):
    """Queries as hyperboloids: centres `(B,K,D+1)`, limits `(B,K,D)`, weights `(B,K)`.

    `entities (B,T)` and `intersections (B,T,T)` are the attention weights, averaged over the hyperboloids.
    """

    centres: Tensor
    limits: Tensor
    weights: Tensor
    entities: Tensor
    intersections: Tensor


class EncodedTitles(NamedTuple):
    """Titles as points `(B,D+1)`, with the attention over their entities `(B,L)`."""

    points: Tensor
    attention: Tensor


class QueryEncoder(nn.Module):
    """Encodes the entities of a query as hyperboloids.

    Entities in context are intersected in pairs; entities and intersections are united by attention (WSDM 2022, §3).
    """

    def __init__(self, shape: ModelShape, entities: EntityTable) -> None:
        super().__init__()
        size, heads = shape.dimension, shape.hyperboloids
        self.shape = shape
        self.entities = entities
        self.limits = nn.Embedding(shape.ids, 1)
        self.context = EntityContext(shape.context, size)
        self.limit_context = nn.Linear(size, size)
        self.share = nn.Linear(size, 1)
        self.entity_attention = nn.Sequential(nn.Linear(2 * size, size), nn.Tanh(), nn.Linear(size, heads))
        self.pair_keys = nn.Linear(2 * size, PAIR_KEY_SIZE * heads)
        self.pair_bias = nn.Parameter(torch.zeros(heads))
        self.place = RadialPlacement(shape)
        self.gate = nn.Linear(size, 1)
        self.extent = nn.Embedding(shape.ids, 2)
        nn.init.normal_(self.limits.weight, std=0.01)
        with torch.no_grad():  # attention starts nearly uniform, with small random differences
            self.limit_context.weight.mul_(0.1)
            for weight in self.entity_attention[2].parameters():
                weight.mul_(0.3)
            self.pair_keys.weight.mul_(0.1)
            self.pair_keys.bias.mul_(0.1)
        nn.init.zeros_(self.extent.weight)  # not trained: `fit_query_sizes` sets it after training
        self.extent.requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> EncodedQueries:
        """Encode queries; ids `(B,T)` int64, mask `(B,T)` bool."""
        tangent, salience = self.entities(ids)
        tangent = self.context(tangent, mask)
        limits = F.softplus(self.limits(ids) + self.limit_context(tangent) - 4)
        entities, pairs = self._attention(tangent, limits, salience, mask)
        centres = self.shape.space.expmap0(bounded(tangent, self.shape.radius))
        space = self.shape.space
        pooled = space.logmap0(self._unite_centres(centres, self.share(tangent), entities, pairs, space))
        weights = torch.softmax(self.gate(pooled).squeeze(-1), dim=-1)
        united_limits = entities @ limits + _unite_pair_limits(limits, pairs)
        return EncodedQueries(
            self.place(pooled),
            united_limits * self._limit_factor(ids, mask, entities, pairs),
            weights,
            torch.einsum("bk,bki->bi", weights, entities),
            torch.einsum("bk,bkij->bij", weights, pairs),
        )

    def _limit_factor(self, ids: Tensor, mask: Tensor, entities: Tensor, pairs: Tensor) -> Tensor:
        """Factor by which entities widen or narrow the limits, `exp(Σ_i a_i·e_i + 0.1·Σ_i e'_i)`; `(B,K,1)`."""
        attention = pool_attention(entities, pairs)
        extents = self.extent(ids) * mask.unsqueeze(-1)
        log_factor = attention @ extents[..., :1] + 0.1 * extents[..., 1:].sum(1, keepdim=True)
        return torch.exp(log_factor.clamp(-1.5, 1.5))

    def _attention(self, tangent: Tensor, limits: Tensor, salience: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """One softmax over entities and intersections: `(B,K,T)` and `(B,K,T,T)`, the latter 0 unless i < j."""
        features = torch.cat([tangent, limits], dim=-1)
        entity = self.entity_attention(features).transpose(1, 2) + salience[:, None]
        keys = self.pair_keys(features).view(*mask.shape, self.shape.hyperboloids, PAIR_KEY_SIZE).transpose(1, 2)
        pair = keys @ keys.transpose(-1, -2) / PAIR_KEY_SIZE**0.5 + self.pair_bias[:, None, None]
        pair = pair + (salience[:, :, None] + salience[:, None, :])[:, None] / 2
        length = mask.shape[1]
        position = torch.arange(length, device=mask.device)
        ordered = position[:, None] < position[None, :]
        allowed = torch.cat(
            [mask[:, None], (mask[:, :, None] & mask[:, None, :] & ordered).flatten(1)[:, None]], dim=-1
        )
        scores = torch.cat([entity, pair.flatten(2)], dim=-1).masked_fill(~allowed, -1e9)
        weights = torch.softmax(scores, dim=-1) * allowed
        return weights[..., :length], weights[..., length:].reshape(-1, self.shape.hyperboloids, length, length)

    @staticmethod
    def _unite_centres(
        centres: Tensor, share: Tensor, entities: Tensor, pairs: Tensor, space: ModuleType = lorentz
    ) -> Tensor:
        """Centroid of entities and intersections, `(B,K,D+1)`, without building the T² intersection centres.

        The intersection of i and j has the centre `m/n` with `m = a·c_i + (1 − a)·c_j`, `n² = −<m,m>` and
        `a = σ(s_i − s_j)`, so it adds `a/n` to the weight of `c_i` and `(1 − a)/n` to that of `c_j`.
        """
        first = torch.sigmoid(share - share.transpose(1, 2))
        second = 1 - first
        negative_inner = -space.pairwise_inner(centres)
        length = torch.sqrt(first.square() + second.square() + 2 * first * second * negative_inner).unsqueeze(1)
        first_weights = (pairs * (first.unsqueeze(1) / length)).sum(-1)
        second_weights = (pairs * (second.unsqueeze(1) / length)).sum(-2)
        centroid: Tensor = space.midpoint((entities + first_weights + second_weights) @ centres)
        return centroid


def pool_attention(entities: Tensor, intersections: Tensor) -> Tensor:
    """Attention of every entity, `a_i + ½·Σ_j (a_ij + a_ji)`; `(...,T)` and `(...,T,T)` to `(...,T)`."""
    return entities + intersections.sum(-1) / 2 + intersections.sum(-2) / 2


def _unite_pair_limits(limits: Tensor, pairs: Tensor) -> Tensor:
    """Attention-weighted sum of the intersections' limits, `Σ_ij w_ij·min(l_i, l_j)`; `(B,K,D)`."""
    pair_limits = torch.minimum(limits.unsqueeze(2), limits.unsqueeze(1))
    return torch.einsum("bkij,bijd->bkd", pairs, pair_limits)


class ProductEncoder(nn.Module):
    """Encodes the entities of a title as a point: entities in context, self-attention, attention-weighted centroid."""

    def __init__(self, shape: ModelShape, entities: EntityTable) -> None:
        super().__init__()
        size = shape.dimension
        self.shape = shape
        self.entities = entities
        self.context = EntityContext(shape.context, size)
        self.heads = nn.Linear(size, 3 * size)
        self.mix = nn.Linear(size, size)
        self.attention = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1))
        self.place = RadialPlacement(shape)
        for parameter in (*self.mix.parameters(), *self.attention[2].parameters()):
            nn.init.zeros_(parameter)

    def forward(self, ids: Tensor, mask: Tensor) -> EncodedTitles:
        """Encode titles; ids `(B,L)` int64, mask `(B,L)` bool."""
        tangent, salience = self.entities(ids)
        tangent = self.context(tangent, mask)
        tangent = tangent + self.mix(self._self_attention(tangent, mask))
        scores = (self.attention(tangent).squeeze(-1) + salience).masked_fill(~mask, -1e9)
        weights = torch.softmax(scores, dim=-1) * mask
        space = self.shape.space
        entities = space.expmap0(bounded(tangent, self.shape.radius))
        centroid = space.midpoint(torch.einsum("bl,bld->bd", weights, entities))
        return EncodedTitles(self.place(space.logmap0(centroid)), weights)

    def _self_attention(self, tangent: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.heads(tangent).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / self.shape.dimension**0.5
        mixed: Tensor = torch.softmax(scores.masked_fill(~mask[:, None], -1e9), dim=-1) @ value
        return mixed


class Anthem(nn.Module):
    """The network: both encoders on one entity table, and the attention grid.

    Two scalars are used in training only: `log_scale` turns a distance into a logit, and `share` weighs these logits
    when they are added to those of the grid.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.entities = EntityTable(shape)
        self.query = QueryEncoder(shape, self.entities)
        self.product = ProductEncoder(shape, self.entities)
        self.grid = AttentionGrid(shape, EntityContext(shape.context, shape.grid))
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.share = nn.Parameter(torch.tensor(0.2))

    @torch.no_grad()
    def round_tables(self) -> None:
        """Round the tables to the precision of a bundle, so that both compute the same.

        Tangent vectors are rounded to bytes, tables with one or two columns to float16.
        """
        space, query, grid = self.shape.space, self.query, self.grid
        self.entities.points.copy_(space.expmap0(encode_table(space.logmap0(self.entities.points)).decode()))
        grid.tangents.weight.copy_(encode_table(grid.tangents.weight).decode())
        for table in (self.entities.salience, query.limits, query.extent, grid.salience):
            table.weight.copy_(table.weight.half().float())
