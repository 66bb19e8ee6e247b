"""What training minimises: the order of products, and that relevant ones lie inside."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MARGIN = 0.5


def listwise(logits: Tensor, gains: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of the softmax over allowed products against squared gains, made to sum to 1; `(B,N)` to `()`."""
    wanted = gains.clamp_min(0).square() * allowed
    total = wanted.sum(-1, keepdim=True)
    useful = (total.squeeze(-1) > 0) & (allowed.sum(-1) > 1)
    log_share = torch.log_softmax(logits.masked_fill(~allowed, -1e9), dim=-1)
    each = -(wanted / total.clamp_min(1e-9) * log_share.masked_fill(~allowed, 0)).sum(-1)
    return (each * useful).sum() / useful.sum().clamp_min(1)


def boundary(beyond: Tensor, gains: Tensor, judged: Tensor) -> Tensor:
    """Relevant products inside, irrelevant ones at least a margin outside; both sides weigh the same; `(B,N)`."""
    inside, out = gains >= 0.5, gains == 0
    apart = F.relu(MARGIN - beyond)
    return _mean(beyond, inside) + 0.5 * _mean(apart, out) + 0.5 * _mean(apart, out & judged)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
