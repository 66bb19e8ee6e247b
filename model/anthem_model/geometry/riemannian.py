"""Parameters on a manifold and their optimiser: the only module that imports geoopt."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():
    # geoopt 0.5.1 compiles its functions on import, with a decorator that torch 2.15 deprecates.
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script.*` is deprecated")
    import geoopt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from torch.optim import Optimizer


def manifold_parameter(points: Tensor, geometry: str) -> nn.Parameter:
    """Parameter whose rows `(N, D+1)` the optimiser moves along their manifold, `lorentz` or `euclid`."""
    manifold = geoopt.Lorentz() if geometry == "lorentz" else geoopt.Euclidean(ndim=1)
    parameter: nn.Parameter = geoopt.ManifoldParameter(points, manifold=manifold)
    return parameter


def build_optimiser(parameter_groups: Sequence[dict[str, Any]]) -> Optimizer:
    """RiemannianAdam over parameter groups; for Euclidean parameters it is Adam."""
    optimiser: Optimizer = geoopt.optim.RiemannianAdam(parameter_groups, betas=(0.9, 0.99))
    return optimiser
