"""Selection of the smallest values of a row, in a form that ONNX Runtime computes fast."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCKS = 16


def smallest(values: Tensor, count: int) -> Tensor:
    """Indices of the `count` smallest of N values, ascending; `(T,N)` to `(T,count)`.

    The values are laid out in 16 blocks, and the smallest lie among the columns with the smallest minima. So two
    searches among `N/16` and `16·count` values replace one among N.
    """
    total = values.shape[1]
    width = -(-total // BLOCKS)
    if width <= count:
        return torch.topk(values, min(count, total), dim=-1, largest=False).indices
    blocks = F.pad(values, (0, BLOCKS * width - total), value=torch.inf).view(-1, BLOCKS, width)
    columns = torch.topk(blocks.amin(1), count, dim=-1, largest=False).indices
    offsets = width * torch.arange(BLOCKS, device=values.device)
    candidates = (columns.unsqueeze(1) + offsets[:, None]).flatten(1)
    nearest = torch.topk(blocks.flatten(1).gather(1, candidates), count, dim=-1, largest=False).indices
    return candidates.gather(1, nearest)
