"""Batches to train on: lists of candidates for judged queries and pseudo-queries."""

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

RELATED_TITLES = 8  # titles drawn for a pseudo-query because they share a word with it


@dataclass(frozen=True)
class ListBatch:
    """B queries with C candidates each, rows of `titles (N,)`.

    `gains (B, C)` are in [0, 1]; `judged (B, C)` says for which pairs the gain is known.
    """

    queries: list[str]
    titles: list[str]
    candidates: Tensor
    gains: Tensor
    judged: Tensor

    def to(self, device: torch.device) -> ListBatch:
        """The same batch with its tensors on a device."""
        tensors = (self.candidates, self.gains, self.judged)
        return ListBatch(self.queries, self.titles, *(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True)
class BatchMixture:
    """Numbers of judged queries and pseudo-queries per batch, and of candidates per query.

    Among the candidates of a judged query at least `hard_negatives`, if BM25 finds as many, and `random_negatives` were
    not judged for it.
    """

    judged_queries: int = 24
    pseudo_queries: int = 4
    candidates: int = 16
    hard_negatives: int = 6
    random_negatives: int = 2

    def limit_judged(self, max_judged: int) -> BatchMixture:
        """The same mixture with at most `max_judged` judged queries; pseudo-queries replace the others."""
        removed = max(0, self.judged_queries - max_judged)
        return replace(self, judged_queries=self.judged_queries - removed, pseudo_queries=self.pseudo_queries + removed)


@dataclass(frozen=True, slots=True)
class QueryTurn:
    """One query of a batch: its text, the rows drawn for it, known gains by row, and which rows are judged."""

    text: str
    rows: list[int]
    gains: dict[int, float]
    judged: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ListSampler:
    """Samples batches from one shop; a batch depends on seed and step alone, so that training can resume."""

    shop: TrainingShop
    mixture: BatchMixture
    seed: int = 0

    def batch(self, step: int) -> ListBatch:
        """Batch number `step`, from 0; every judged query occurs once before any occurs twice."""
        random = Random(f"{self.seed} {step}")
        turns = [self._judged_turn(number, random) for number in self._query_numbers(step)]
        turns += [self._pseudo_turn(random) for _ in range(self.mixture.pseudo_queries if self.shop.titles else 0)]
        return self._build_batch(turns, random)

    def _query_numbers(self, step: int) -> list[int]:
        """Numbers of the judged queries of a step."""
        total = len(self.shop.judged_queries)
        count = min(self.mixture.judged_queries, total)
        return [self._epoch_order(draw // total)[draw % total] for draw in range(step * count, (step + 1) * count)]

    def _epoch_order(self, epoch: int) -> list[int]:
        if epoch not in self._epoch_orders:
            self._epoch_orders.clear()
            order = list(range(len(self.shop.judged_queries)))
            Random(f"{self.seed} epoch {epoch}").shuffle(order)
            self._epoch_orders[epoch] = order
        return self._epoch_orders[epoch]

    @cached_property
    def _epoch_orders(self) -> dict[int, list[int]]:
        return {}

    def _judged_turn(self, number: int, random: Random) -> QueryTurn:
        """A judged query: its judged products, sampled by grade if there are too many, and hard negatives."""
        query: JudgedQuery = self.shop.judged_queries[number]
        mixture = self.mixture
        gains = dict(zip(query.rows, query.gains, strict=True))
        max_judged = mixture.candidates - mixture.hard_negatives - mixture.random_negatives
        rows = list(gains) if len(gains) <= max_judged else _sample_by_grade(gains, max_judged, random)
        negatives = self.shop.hard_negatives[number]
        count = min(len(negatives), mixture.candidates - mixture.random_negatives - len(rows))
        return QueryTurn(query.text, rows + random.sample(negatives, count), gains, frozenset(gains))

    def _pseudo_turn(self, random: Random) -> QueryTurn:
        """A pseudo-query: its own title and titles that share a word; those with all its words are relevant."""
        row = random.randrange(len(self.shop.titles))
        query = sample_pseudo_query(split_words(self.shop.titles[row]) or ["?"], random)
        required = frozenset(query)
        words = random.choices(query, k=RELATED_TITLES)
        related = (random.choice(self.shop.rows_by_word.get(word, [row])) for word in words)
        gains = {row: 1.0} | {other: float(required <= self.shop.title_words[other]) for other in related}
        return QueryTurn(add_typing_errors(query, random), list(gains), gains, frozenset(gains))

    def _build_batch(self, turns: list[QueryTurn], random: Random) -> ListBatch:
        width = min(self.mixture.candidates, len(self.shop.titles))
        rows = np.array([self._fill(turn.rows, width, random) for turn in turns]).reshape(-1, width)
        gains = [[turn.gains.get(row, 0.0) for row in drawn] for turn, drawn in zip(turns, rows, strict=True)]
        judged = [[row in turn.judged for row in drawn] for turn, drawn in zip(turns, rows, strict=True)]
        title_rows, candidates = np.unique(rows, return_inverse=True)
        return ListBatch(
            [turn.text for turn in turns],
            [self.shop.titles[row] for row in title_rows],
            torch.from_numpy(candidates.reshape(rows.shape)),
            torch.tensor(gains, dtype=torch.float32).view(rows.shape),
            torch.tensor(judged, dtype=torch.bool).view(rows.shape),
        )

    def _fill(self, rows: list[int], width: int, random: Random) -> list[int]:
        """Rows cut to a width, or filled up with random ones."""
        rows = list(rows[:width])
        while len(rows) < width:
            row = random.randrange(len(self.shop.titles))
            if row not in rows:
                rows.append(row)
        return rows


def _sample_by_grade(gains: dict[int, float], count: int, random: Random) -> list[int]:
    """At most `count` judged rows, every grade equally likely: a broad query has hundreds of relevant products."""
    rows_by_gain: dict[float, list[int]] = defaultdict(list)
    for row, gain in gains.items():
        rows_by_gain[gain].append(row)
    drawn = (random.choice(rows_by_gain[random.choice(sorted(rows_by_gain))]) for _ in range(count))
    return list(dict.fromkeys(drawn))
