"""What training minimises: the order of products, and that relevant ones lie inside and others outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from anthem_model.containment import distance, outside, union
from anthem_model.lorentz import norm, seen_pairwise

if TYPE_CHECKING:
    from torch import Tensor

    from anthem_model.batches import Batch
    from anthem_model.network import Anthem

MARGIN = 0.5


def loss(model: Anthem, batch: Batch) -> Tensor:
    """Order over the pool, order over the judged products of each query, and containment, summed."""
    query = model.query(batch.queries, batch.query_mask)
    points = encode_pool(model, batch)
    seen = seen_pairwise(query.centres, points)
    limits = query.limits[:, None]
    far = union(distance(seen, limits, model.shape.gamma), query.weights)
    beyond = union(norm(outside(seen, limits)).squeeze(-1), query.weights)
    logits = -model.log_scale.exp() * far
    known = batch.gains >= 0
    return listwise(logits, batch.gains, known) + listwise(logits, batch.gains, batch.judged) + boundary(beyond, batch)


def encode_pool(model: Anthem, batch: Batch, parts: int = 4) -> Tensor:
    """Points of a batch's products, `(N, D+1)`, in parts of like length: padding costs as much as text."""
    lengths = batch.product_mask.sum(-1)
    order = torch.argsort(lengths)
    points = []
    for rows in order.chunk(parts):
        width = max(1, int(lengths[rows].max()))
        points.append(model.product(batch.products[rows, :width], batch.product_mask[rows, :width]).points)
    return torch.cat(points)[torch.argsort(order)]


def listwise(logits: Tensor, gains: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of the softmax over allowed products against squared gains, made to sum to 1; `(B,N)` to `()`."""
    wanted = gains.clamp_min(0).square() * allowed
    total = wanted.sum(-1, keepdim=True)
    useful = (total.squeeze(-1) > 0) & (allowed.sum(-1) > 1)
    log_share = torch.log_softmax(logits.masked_fill(~allowed, -1e9), dim=-1)
    each = -(wanted / total.clamp_min(1e-9) * log_share.masked_fill(~allowed, 0)).sum(-1)
    return (each * useful).sum() / useful.sum().clamp_min(1)


def boundary(beyond: Tensor, batch: Batch) -> Tensor:
    """Relevant products inside, irrelevant ones at least a margin outside; both sides weigh the same; `(B,N)`."""
    inside = batch.gains >= 0.5
    out = batch.gains == 0
    judged_out = out & batch.judged
    return (
        _mean(beyond, inside)
        + 0.5 * _mean(F.relu(MARGIN - beyond), out)
        + 0.5 * _mean(F.relu(MARGIN - beyond), judged_out)
    )


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
