"""How wide a query is: learned last, from how many products people called the best for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.anthem import AnthemRanker
    from anthem_model.network import Hyperboloids
    from anthem_model.shop import Shop

RIDGE = 1.0
SHARE = 0.25  # of the logarithm of the number of products that becomes size
CHUNK = 256


@torch.no_grad()
def fit_sizes(ranker: AnthemRanker, shops: Sequence[Shop]) -> None:
    """Fit every trigram's extent so that a query is the larger, the more products were judged to be the best for it.

    Ridge regression of `log(1 + n)`, centred by shop, on the attention that a query's trigrams draw and how many they
    are: `e = Aᵀ(AAᵀ + I)⁻¹y`. No category, no word count and no rarity is shown to it. Nothing else of the model moves.
    """
    texts, wanted = [], []
    for shop in shops:
        numbers = torch.tensor([float(sum(gain == 1 for gain in one.gains)) for one in shop.judged]).log1p()
        texts += [one.text for one in shop.judged]
        wanted.append(numbers - numbers.mean() if len(numbers) else numbers)
    extent = ranker.network.query.extent.weight
    extent.zero_()
    if texts:
        drawn = torch.cat([_drawn(ranker, texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)])
        kernel = drawn @ drawn.T + RIDGE * torch.eye(len(drawn))
        fitted = drawn.T @ torch.linalg.solve(kernel, torch.cat(wanted))
        extent.copy_(SHARE * fitted.view(2, -1).T)


def _drawn(ranker: AnthemRanker, texts: Sequence[str]) -> Tensor:
    """Attention that each trigram of the vocabulary draws, and a tenth of how often it stands there; `(B, 2·ids)`."""
    ids, mask = ranker.query_ids(texts)
    asked: Hyperboloids = ranker.network.query(ids, mask)
    looked = asked.entities + asked.intersections.sum(-1) / 2 + asked.intersections.sum(-2) / 2
    empty = torch.zeros(len(texts), ranker.network.shape.ids)
    return torch.cat([empty.scatter_add(1, ids, looked * mask), empty.scatter_add(1, ids, 0.1 * mask)], dim=1)
