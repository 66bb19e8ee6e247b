"""How good a model is on the validation part: order of the judged products, containment, no cluster needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from anthem_core.text import pad
from anthem_model.containment import excess, query_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_core.text import Vocabulary
    from anthem_model.network import Anthem, Hyperboloids
    from anthem_model.shop import Shop

BATCH = 128
CUT = 10


@dataclass(frozen=True)
class Signals:
    """Distances `(N,)` and excesses `(N,)` of some products to one query."""

    distance: Tensor
    excess: Tensor


@torch.no_grad()
def encode_products(model: Anthem, vocabulary: Vocabulary, titles: Sequence[str]) -> Tensor:
    """Points of titles, `(N, D+1)`."""
    ids = [vocabulary.title_ids(title) for title in titles]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    points = torch.empty(len(ids), model.shape.dimension + 1)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        trigrams, mask = pad([ids[row] for row in rows])
        points[rows] = model.product(torch.from_numpy(trigrams), torch.from_numpy(mask)).points
    return points


@torch.no_grad()
def encode_query(model: Anthem, vocabulary: Vocabulary, text: str) -> Hyperboloids:
    """Hyperboloids of one query, batch of 1."""
    trigrams, mask = pad([vocabulary.query_ids(text)])
    query: Hyperboloids = model.query(torch.from_numpy(trigrams), torch.from_numpy(mask))
    return query


@torch.no_grad()
def signals(model: Anthem, vocabulary: Vocabulary, text: str, points: Tensor) -> Signals:
    """Distance and excess of products to a query text; points `(N, D+1)`."""
    query = encode_query(model, vocabulary, text)
    far = query_distance(query.centres, query.limits, query.weights, points, model.shape.gamma)
    return Signals(far[0], excess(query.centres, query.limits, query.weights, points)[0])


def pool_ndcg(model: Anthem, vocabulary: Vocabulary, shop: Shop) -> float:
    """Mean nDCG@10 (linear gain) of the distance's order over each query's judged products."""
    points = encode_products(model, vocabulary, shop.titles)
    far = [signals(model, vocabulary, query.text, points[list(query.rows)]).distance for query in shop.judged]
    return ndcg([torch.tensor(query.gains) for query in shop.judged], [-away for away in far])


def ndcg(gains: Sequence[Tensor], scores: Sequence[Tensor]) -> float:
    """Mean nDCG@10 with linear gain, `Σ gain_i / log2(i + 1)` over its best; a list of `(N,)` each; 0 for no query.

    A product of score −∞ is not shown at all: it takes no place, and what is relevant of it is missed.
    """
    found = [_ndcg(gain, score) for gain, score in zip(gains, scores, strict=True)]
    return sum(found) / max(len(found), 1)


def _ndcg(gain: Tensor, score: Tensor) -> float:
    shown = gain * (score > -torch.inf)
    ranked = shown[score.argsort(descending=True, stable=True)[:CUT]]
    ideal = gain.sort(descending=True).values[:CUT]
    discount = 1 / torch.log2(torch.arange(len(ideal)) + 2)
    best = float((ideal * discount).sum())
    return float((ranked * discount).sum()) / best if best > 0 else 0.0
