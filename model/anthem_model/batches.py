"""Batches: judged queries and pseudo-queries against one pool of products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from anthem_core.text import pad, words
from anthem_model.pseudo import pseudo_query, typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from torch import Tensor

    from anthem_core.text import Vocabulary
    from anthem_model.shop import Judged, Shop

UNKNOWN = -1.0


@dataclass(frozen=True)
class Batch:
    """B queries against N products; `gains (B, N)`: in [0, 1], or −1 where nobody knows; `judged (B, N)` bool."""

    queries: Tensor
    query_mask: Tensor
    products: Tensor
    product_mask: Tensor
    gains: Tensor
    judged: Tensor


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a batch, with the products drawn for it and what is known of them."""

    text: str
    needed: frozenset[str]
    gains: dict[int, float]


@dataclass(frozen=True)
class Sampler:
    """Draws batches of `queries` from one shop: at most `judged` that somebody judged, the rest pseudo-queries."""

    shop: Shop
    vocabulary: Vocabulary
    random: Random
    judged: int = 16
    queries: int = 40
    products: int = 5
    dropped: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", self.shop.ids(self.vocabulary))

    def batches(self) -> Iterator[Batch]:
        """Batches without end; every judged query comes once before any comes twice."""
        queue: list[Judged] = []
        while True:
            count = min(self.judged, len(self.shop.learn))
            if len(queue) < count:
                queue = self.random.sample(self.shop.learn, len(self.shop.learn))
            asked = [self._asked(query) for query in queue[:count]]
            queue = queue[count:]
            asked += [self._pseudo() for _ in range(self.queries - count)]
            yield self._batch(asked)

    def _asked(self, judged: Judged) -> Asked:
        drawn = self.random.sample(range(len(judged.rows)), min(self.products, len(judged.rows)))
        gains = {judged.rows[place]: judged.gains[place] for place in drawn}
        return Asked(judged.text, frozenset(words(judged.text)), gains)

    def _pseudo(self) -> Asked:
        shop, random = self.shop, self.random
        row = random.randrange(len(shop.titles))
        chosen = pseudo_query(words(shop.titles[row]) or ["?"], random)
        rarest = min(chosen, key=lambda word: len(shop.holders.get(word, ())))
        near = [random.choice(shop.holders.get(word, [row])) for word in (rarest, random.choice(chosen))]
        needed = frozenset(chosen)
        return Asked(
            typed(chosen, random), needed, {row: 1.0} | {one: float(needed <= shop.words[one]) for one in near}
        )

    def _batch(self, asked: list[Asked]) -> Batch:
        pool = sorted({row for one in asked for row in one.gains})
        gains = np.zeros((len(asked), len(pool)), np.float32)
        judged = np.zeros((len(asked), len(pool)), np.bool_)
        for number, one in enumerate(asked):
            for place, row in enumerate(pool):
                known = one.gains.get(row)
                judged[number, place] = known is not None
                # A title that holds every word of the query may well be relevant: nobody judged it.
                gains[number, place] = known if known is not None else UNKNOWN * (one.needed <= self.shop.words[row])
        queries, query_mask = self._pad([self.vocabulary.query_ids(one.text) for one in asked])
        products, product_mask = self._pad([self._ids[row] for row in pool])  # type: ignore[attr-defined]
        return Batch(queries, query_mask, products, product_mask, torch.from_numpy(gains), torch.from_numpy(judged))

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        kept = [[gram for gram in row if self.random.random() >= self.dropped] or row for row in rows]
        ids, mask = pad(kept)
        return torch.from_numpy(ids), torch.from_numpy(mask)
