"""Shape of a model and the layers that the encoders and the attention grid share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anthem_model.geometry import euclid, lorentz
from anthem_model.geometry.lorentz import norm
from anthem_model.geometry.riemannian import manifold_parameter

if TYPE_CHECKING:
    from types import ModuleType


GEOMETRIES = {"lorentz": lorentz, "euclid": euclid}


@dataclass(frozen=True)
class ModelShape:
    """Sizes and constants of a model: `ids` rows per table, dimension D, K hyperboloids per query, radius bound, γ.

    `context` is the width of the convolution over entities. The attention grid has `grid` dimensions and an embedding
    for each of `places` positions in a title; its table has entries for the `neighbours` nearest ids of each query
    entity. `geometry` is `lorentz`, or `euclid` for E-ANTHEM, the same model with
    boxes, which serves as a baseline. Checkpoints contain the field names.
    """

    ids: int
    dimension: int = 96
    hyperboloids: int = 1
    context: int = 5
    grid: int = 32
    places: int = 128
    neighbours: int = 4
    radius: float = 3.0
    gamma: float = 0.2
    geometry: str = "lorentz"

    @property
    def space(self) -> ModuleType:
        """Module with the maps and distances of the geometry."""
        return GEOMETRIES[self.geometry]

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, as a checkpoint contains them."""
        return asdict(self)


class EntityContext(nn.Module):
    """Adds context to entities, `t + mix(gelu(conv(t)))` with a depthwise convolution; `(B,T,D)` to `(B,T,D)`."""

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(dimension, dimension, width, padding=width // 2, groups=dimension)
        self.mix = nn.Linear(dimension, dimension)
        for parameter in self.mix.parameters():
            nn.init.zeros_(parameter)  # so that the layer starts as the identity

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Add to every entity the mixed convolution of its neighbours; padding contributes nothing."""
        kept = vectors * mask.unsqueeze(-1)
        near = self.near(kept.transpose(1, 2)).transpose(1, 2)
        result: Tensor = vectors + self.mix(F.gelu(near))
        return result


class EntityTable(nn.Module):
    """Entities as points on the hyperboloid, and a salience for each, its share of the attention logits; initially 0.

    Queries and titles share one table, so that an entity of both has the same point from the first step on.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        points = self.shape.space.expmap0(torch.randn(shape.ids, shape.dimension) * 0.3)
        self.points = manifold_parameter(points, shape.geometry)
        self.salience = nn.Embedding(shape.ids, 1)
        nn.init.zeros_(self.salience.weight)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent vectors at the origin `(B,T,D)` and salience `(B,T)`."""
        return self.shape.space.logmap0(self.points[ids]), self.salience(ids).squeeze(-1)

    @torch.no_grad()
    def project(self) -> None:
        """Project every point onto the hyperboloid and into the radius bound, where float32 is accurate enough.

        Without this, RiemannianAdam moved some points so far out that their Lorentz norms and the loss became NaN.
        """
        tangent = self.shape.space.logmap0(self.points)
        self.points.copy_(self.shape.space.expmap0(tangent * (self.shape.radius / norm(tangent)).clamp_max(1)))


class RadialPlacement(nn.Module):
    """Point for a pooled vector: its direction, linearly mapped, at a learned radius; `(..., D)` to `(..., D+1)`.

    The radius depends on the direction and on the length of the pooled vector, which measures how much its entities
    agree, and so how specific a text is; at first it depends on neither.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.turn = nn.Linear(shape.dimension, shape.dimension, bias=False)
        self.depth = nn.Linear(shape.dimension + 1, 1)
        nn.init.eye_(self.turn.weight)
        nn.init.zeros_(self.depth.weight)
        nn.init.constant_(self.depth.bias, -0.7)

    def forward(self, vector: Tensor) -> Tensor:
        """Map vectors to points; the zero vector of a text without entities stays near the origin."""
        turned = self.turn(vector)
        direction = turned / norm(turned)
        depth = torch.sigmoid(self.depth(torch.cat([direction, norm(vector)], dim=-1)))
        placed: Tensor = self.shape.space.expmap0(self.shape.radius * depth * direction)
        return placed
