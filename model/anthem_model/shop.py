"""A data set prepared for training: titles as ids, judged queries as arrays, and which titles hold which word."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from anthem_core.text import words

if TYPE_CHECKING:
    from random import Random

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.text import Vocabulary


@dataclass(frozen=True, slots=True)
class Judged:
    """A query and its judged products: rows in the shop's titles, and gains `grade / top grade` in [0, 1]."""

    text: str
    rows: tuple[int, ...]
    gains: tuple[float, ...]


@dataclass(frozen=True)
class Shop:
    """Titles of one catalogue and the judged queries to learn from and to validate on."""

    name: str
    titles: list[str]
    learn: list[Judged]
    validate: list[Judged]

    @cached_property
    def words(self) -> list[frozenset[str]]:
        """Words of every title, as a set."""
        return [frozenset(words(title)) for title in self.titles]

    @cached_property
    def holders(self) -> dict[str, list[int]]:
        """Rows of the titles that hold a word."""
        found: dict[str, list[int]] = defaultdict(list)
        for row, title in enumerate(self.words):
            for word in sorted(title):
                found[word].append(row)
        return dict(found)

    def ids(self, vocabulary: Vocabulary) -> list[list[int]]:
        """Trigram ids of every title."""
        return [vocabulary.title_ids(title) for title in self.titles]


def prepare(name: str, dataset: Dataset, random: Random) -> Shop:
    """Shop of a data set's split `train`, some of whose judged queries are kept for validation."""
    places = {product: row for row, product in enumerate(dataset.products)}
    qrels = dataset.qrels.get("train", {})
    top = max((grade for judged in qrels.values() for grade in judged.values()), default=1) or 1
    judged = [_judged(dataset.queries[query], qrels, query, places, top) for query in sorted(qrels)]
    random.shuffle(judged)
    kept = validation_count(len(judged))
    return Shop(name, [title_of(dataset, product) for product in dataset.products], judged[kept:], judged[:kept])


def validation_count(judged: int) -> int:
    """How many judged queries validate: a sixth; of few a third, up to 30, for fewer cannot tell two models apart."""
    return max(judged // 6, min(judged // 3, 30))


def title_of(dataset: Dataset, product: str) -> str:
    """Text a product is encoded from in training: its title."""
    return dataset.products[product].title


def _judged(text: str, qrels: Qrels, query: str, places: dict[str, int], top: int) -> Judged:
    rows = [(places[product], max(grade, 0) / top) for product, grade in sorted(qrels[query].items())]
    return Judged(text, tuple(row for row, _ in rows), tuple(gain for _, gain in rows))
