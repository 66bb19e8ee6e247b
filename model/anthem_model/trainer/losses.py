"""What training minimises: the order of products, and that relevant ones lie inside."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BOUNDARY_MARGIN = 0.5


def listwise_loss(logits: Tensor, gains: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of the softmax over allowed products against squared gains, made to sum to 1; `(B,N)` to `()`."""
    wanted = gains.clamp_min(0).square() * allowed
    total = wanted.sum(-1, keepdim=True)
    useful = (total.squeeze(-1) > 0) & (allowed.sum(-1) > 1)
    log_share = torch.log_softmax(logits.masked_fill(~allowed, -1e9), dim=-1)
    each = -(wanted / total.clamp_min(1e-9) * log_share.masked_fill(~allowed, 0)).sum(-1)
    return (each * useful).sum() / useful.sum().clamp_min(1)


def boundary_loss(beyond: Tensor, gains: Tensor, judged: Tensor) -> Tensor:
    """Relevant products inside, irrelevant ones at least a margin outside; both sides weigh the same; `(B,N)`."""
    inside, out = gains >= 0.5, gains == 0
    apart = F.relu(BOUNDARY_MARGIN - beyond)
    return _masked_mean(beyond, inside) + 0.5 * _masked_mean(apart, out) + 0.5 * _masked_mean(apart, out & judged)


def _masked_mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
