"""Lists to learn from: a query and candidates somebody judged, the lexical engine confused, or chance drew."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch

from anthem_core.encoding.tokenizer import split_words
from anthem_model.data.pseudo_queries import add_typing_errors, sample_pseudo_query

if TYPE_CHECKING:
    from torch import Tensor

    from anthem_model.data.training_shop import JudgedQuery, TrainingShop


@dataclass(frozen=True)
class ListBatch:
    """B queries with C candidates each, rows of `titles (N,)`.

    `gains (B, C)`: in [0, 1]; `judged (B, C)`: whether somebody judged the pair.
    """

    queries: list[str]
    titles: list[str]
    candidates: Tensor
    gains: Tensor
    judged: Tensor

    def to(self, device: torch.device) -> ListBatch:
        """The same lists with their tensors on a device."""
        tensors = (self.candidates, self.gains, self.judged)
        return ListBatch(self.queries, self.titles, *(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True)
class BatchMixture:
    """How many queries of each kind a batch holds, how many candidates each, and how many of these are confused."""

    judged: int = 24
    pseudo: int = 4
    candidates: int = 16
    confused: int = 6
    random: int = 2

    def limited(self, judged: int) -> BatchMixture:
        """The same mixture with no more judged queries than given; pseudo-queries take their places."""
        spared = max(0, self.judged - judged)
        return replace(self, judged=self.judged - spared, pseudo=self.pseudo + spared)


@dataclass(frozen=True, slots=True)
class QueryTurn:
    """One query of a batch: text, the rows drawn for it, and what is known of any row."""

    text: str
    rows: list[int]
    gains: dict[int, float]
    judged: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ListSampler:
    """Draws batches of lists from one shop; the same seed and step give the same batch, so a training can resume."""

    shop: TrainingShop
    mixture: BatchMixture
    seed: int = 0

    def lists(self, step: int) -> ListBatch:
        """Batch number `step`, from 0; every judged query comes once before any comes twice."""
        random = Random(f"{self.seed} {step}")
        asked = [self._asked(self.shop.judged[number], number, random) for number in self._turn(step)]
        asked += [self._pseudo(random) for _ in range(self.mixture.pseudo if self.shop.titles else 0)]
        return self._lists(asked, random)

    def _turn(self, step: int) -> list[int]:
        """Numbers of the judged queries whose turn it is."""
        total = len(self.shop.judged)
        count = min(self.mixture.judged, total)
        return [self._orders(place // total)[place % total] for place in range(step * count, (step + 1) * count)]

    def _orders(self, epoch: int) -> list[int]:
        if epoch not in self._known_orders:
            self._known_orders.clear()
            order = list(range(len(self.shop.judged)))
            Random(f"{self.seed} epoch {epoch}").shuffle(order)
            self._known_orders[epoch] = order
        return self._known_orders[epoch]

    @cached_property
    def _known_orders(self) -> dict[int, list[int]]:
        return {}

    def _asked(self, judged: JudgedQuery, number: int, random: Random) -> QueryTurn:
        """Judged products, every grade as likely as the next where there are many, and some that BM25 confuses."""
        gains = dict(zip(judged.rows, judged.gains, strict=True))
        most = self.mixture.candidates - self.mixture.confused - self.mixture.random
        rows = list(gains) if len(gains) <= most else _sample_by_grade(gains, most, random)
        confused = self.shop.confused[number]
        count = min(len(confused), self.mixture.candidates - self.mixture.random - len(rows))
        return QueryTurn(judged.text, rows + random.sample(confused, count), gains, frozenset(gains))

    def _pseudo(self, random: Random) -> QueryTurn:
        """Words of a title, its own product, and others that share words with it: relevant when they hold all."""
        row = random.randrange(len(self.shop.titles))
        chosen = sample_pseudo_query(split_words(self.shop.titles[row]) or ["?"], random)
        needed = frozenset(chosen)
        near = (random.choice(self.shop.holders.get(word, [row])) for word in random.choices(chosen, k=8))
        gains = {row: 1.0} | {one: float(needed <= self.shop.words[one]) for one in near}
        return QueryTurn(add_typing_errors(chosen, random), list(gains), gains, frozenset(gains))

    def _lists(self, asked: list[QueryTurn], random: Random) -> ListBatch:
        width = min(self.mixture.candidates, len(self.shop.titles))
        rows = np.array([self._filled(one.rows, width, random) for one in asked]).reshape(-1, width)
        gains = [[one.gains.get(row, 0.0) for row in drawn] for one, drawn in zip(asked, rows, strict=True)]
        judged = [[row in one.judged for row in drawn] for one, drawn in zip(asked, rows, strict=True)]
        pool, places = np.unique(rows, return_inverse=True)
        return ListBatch(
            [one.text for one in asked],
            [self.shop.titles[row] for row in pool],
            torch.from_numpy(places.reshape(rows.shape)),
            torch.tensor(gains, dtype=torch.float32).view(rows.shape),
            torch.tensor(judged, dtype=torch.bool).view(rows.shape),
        )

    def _filled(self, rows: list[int], width: int, random: Random) -> list[int]:
        """Rows filled up with ones that chance draws."""
        rows = list(rows[:width])
        while len(rows) < width:
            row = random.randrange(len(self.shop.titles))
            if row not in rows:
                rows.append(row)
        return rows


def _sample_by_grade(gains: dict[int, float], count: int, random: Random) -> list[int]:
    """Some of the judged products, every grade as likely as the next: a broad query has hundreds of good ones."""
    grades: dict[float, list[int]] = defaultdict(list)
    for row, gain in gains.items():
        grades[gain].append(row)
    drawn = (random.choice(grades[random.choice(sorted(grades))]) for _ in range(count))
    return list(dict.fromkeys(drawn))
