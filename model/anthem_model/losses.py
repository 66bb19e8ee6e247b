"""The losses: listwise cross-entropy for the order of products, and a hinge for the boundary of the hyperboloids."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BOUNDARY_MARGIN = 0.5


def listwise_loss(logits: Tensor, gains: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of the softmax over allowed products against their normalised squared gains; `(B,N)` to `()`.

    Queries without a relevant product, or with a single allowed one, are ignored.
    """
    targets = gains.clamp_min(0).square() * allowed
    total = targets.sum(-1, keepdim=True)
    informative = (total.squeeze(-1) > 0) & (allowed.sum(-1) > 1)
    log_probabilities = torch.log_softmax(logits.masked_fill(~allowed, -1e9), dim=-1)
    losses = -(targets / total.clamp_min(1e-9) * log_probabilities.masked_fill(~allowed, 0)).sum(-1)
    return (losses * informative).sum() / informative.sum().clamp_min(1)


def boundary_loss(outside_norm: Tensor, gains: Tensor, judged: Tensor) -> Tensor:
    """Hinge loss that draws relevant products inside and pushes irrelevant ones a margin outside; `(B,N)` to `()`.

    The mean of `outside_norm` over relevant products (gain ≥ .5), plus the mean of `max(margin − outside_norm, 0)` over
    irrelevant ones (gain 0), of which half counts all and half the judged ones.
    """
    relevant, irrelevant = gains >= 0.5, gains == 0
    violation = F.relu(BOUNDARY_MARGIN - outside_norm)
    return (
        _masked_mean(outside_norm, relevant)
        + 0.5 * _masked_mean(violation, irrelevant)
        + 0.5 * _masked_mean(violation, irrelevant & judged)
    )


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)
