"""TODO: one line on what this module does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import geoopt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anthem_model.geometry import euclid, lorentz
from anthem_model.geometry.lorentz import norm

if TYPE_CHECKING:
    from types import ModuleType


GEOMETRIES = {"lorentz": lorentz, "euclid": euclid}


@dataclass(frozen=True)
class ModelShape:
    """Sizes and constants of a model: `ids` rows a table, dimension D, K hyperboloids a query, radius bound, γ.

    The attention grid has `grid` dimensions, and tells `places` in a title apart.
    `geometry` is `lorentz`, or `euclid` for E-ANTHEM, the same model with boxes, which is there to be compared with.
    """

    ids: int
    dimension: int = 64
    hyperboloids: int = 2
    context: int = 5
    grid: int = 32
    places: int = 112
    radius: float = 3.0
    gamma: float = 0.2
    geometry: str = "lorentz"

    @property
    def space(self) -> ModuleType:
        """Module with the maps and distances of the model's space."""
        return GEOMETRIES[self.geometry]

    def to_dict(self) -> dict[str, Any]:
        """Values by name, as a checkpoint keeps them."""
        return asdict(self)


class TrigramContext(nn.Module):
    """A trigram among its neighbours: depthwise then pointwise convolution, added to what it was; `(B,T,D)`."""

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(dimension, dimension, width, padding=width // 2, groups=dimension)
        self.mix = nn.Linear(dimension, dimension)
        for parameter in self.mix.parameters():
            nn.init.zeros_(parameter)  # a trigram is itself before context says otherwise

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Add to every trigram what its neighbours say; padding says nothing."""
        kept = vectors * mask.unsqueeze(-1)
        near = self.near(kept.transpose(1, 2)).transpose(1, 2)
        result: Tensor = vectors + self.mix(F.gelu(near))
        return result


class EntityTable(nn.Module):
    """Trigrams as points on the hyperboloid, and the attention each draws by itself, at first all the same.

    One table serves queries and titles: what they share is near from the first step on.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        points = self.shape.space.exp0(torch.randn(shape.ids, shape.dimension) * 0.3)
        manifold = geoopt.Lorentz() if shape.geometry == "lorentz" else geoopt.Euclidean(ndim=1)
        self.points = geoopt.ManifoldParameter(points, manifold=manifold)
        self.salience = nn.Embedding(shape.ids, 1)
        nn.init.zeros_(self.salience.weight)

    def forward(self, trigrams: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent vectors at the origin `(B,T,D)` and salience `(B,T)`."""
        return self.shape.space.log0(self.points[trigrams]), self.salience(trigrams).squeeze(-1)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring every point back onto the sheet and within the radius bound, where float32 is exact enough.

        Without it RiemannianAdam carried some so far out that their Lorentz lengths, and the loss, were no numbers.
        """
        tangent = self.shape.space.log0(self.points)
        self.points.copy_(self.shape.space.exp0(tangent * (self.shape.radius / norm(tangent)).clamp_max(1)))


class RadialPlacement(nn.Module):
    """A place for a pooled vector: its direction, turned, at a learned radius; `(..., D)` to `(..., D+1)`.

    The length of a pooled vector says how much its trigrams disagree, not where it belongs; so the radius is learned.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.turn = nn.Linear(shape.dimension, shape.dimension, bias=False)
        self.depth = nn.Linear(shape.dimension, 1)
        nn.init.eye_(self.turn.weight)
        nn.init.zeros_(self.depth.weight)
        nn.init.constant_(self.depth.bias, -0.7)

    def forward(self, vector: Tensor) -> Tensor:
        """Place vectors; the zero vector of a text without trigrams goes to the origin."""
        turned = self.turn(vector)
        direction = turned / norm(turned)
        placed: Tensor = self.shape.space.exp0(self.shape.radius * torch.sigmoid(self.depth(direction)) * direction)
        return placed
