"""Batches: judged queries and pseudo-queries against one pool of products."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
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
    products: int = 6
    dropped: float = 0.05

    @cached_property
    def _ids(self) -> list[list[int]]:
        return self.shop.ids(self.vocabulary)

    def batches(self) -> Iterator[Batch]:
        """Batches without end; every judged query comes once before any comes twice."""
        queue: list[Judged] = []
        while True:
            count = min(self.judged, len(self.shop.judged))
            if len(queue) < count:
                queue += self.random.sample(self.shop.judged, len(self.shop.judged))
            asked = [self._asked(query) for query in queue[:count]]
            queue = queue[count:]
            asked += [self._pseudo() for _ in range(self.queries - count)]
            yield self._batch(asked)

    def _asked(self, judged: Judged) -> Asked:
        """Draw some judged products, every grade as likely as the next: a broad query has hundreds of good ones."""
        grades: dict[float, list[int]] = defaultdict(list)
        for row, gain in zip(judged.rows, judged.gains, strict=True):
            grades[gain].append(row)
        drawn = (self.random.choice(sorted(grades)) for _ in range(self.products))
        gains = {self.random.choice(grades[gain]): gain for gain in drawn}
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
        products, product_mask = self._pad([self._ids[row] for row in pool])
        return Batch(queries, query_mask, products, product_mask, torch.from_numpy(gains), torch.from_numpy(judged))

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        kept = [[gram for gram in row if self.random.random() >= self.dropped] or row for row in rows]
        ids, mask = pad(kept)
        return torch.from_numpy(ids), torch.from_numpy(mask)
