"""A data set prepared for training: titles as ids, judged queries as arrays, and which titles hold which word."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from anthem_core.encoding.tokenizer import split_words
from anthem_model.data.bm25 import Bm25Index

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from anthem_core.beir import Dataset, Qrels

LEXICAL_WINDOW_SIZE = 100  # candidates of the lexical engine
MAX_HELD_OUT_FRACTION = 0.2  # of a catalogue's titles at most are kept from learning


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and its judged products: rows in the shop's titles, and gains `grade / top grade` in [0, 1]."""

    text: str
    rows: tuple[int, ...]
    gains: tuple[float, ...]


@dataclass(frozen=True)
class TrainingShop:
    """Titles of one catalogue, or of a part of it, and the queries judged on them."""

    name: str
    titles: list[str]
    judged: list[JudgedQuery]

    @cached_property
    def words(self) -> list[frozenset[str]]:
        """Words of every title, as a set."""
        return [frozenset(split_words(title)) for title in self.titles]

    @cached_property
    def holders(self) -> dict[str, list[int]]:
        """Rows of the titles that hold a word."""
        found: dict[str, list[int]] = defaultdict(list)
        for row, title in enumerate(self.words):
            for word in sorted(title):
                found[word].append(row)
        return dict(found)

    def holding(self, text: str) -> list[int]:
        """Rows of the titles that hold all words of a text."""
        needed = frozenset(split_words(text))
        rows = min((self.holders.get(word, []) for word in needed), key=len, default=[])
        return [row for row in rows if needed <= self.words[row]]

    @cached_property
    def confused(self) -> list[list[int]]:
        """Rows that the lexical engine finds first for each judged query though nobody judged them, best first."""
        engine = Bm25Index(self.titles)
        first = (engine.best(query.text, LEXICAL_WINDOW_SIZE + len(query.rows)) for query in self.judged)
        return [
            [row for row in rows if row not in known][:LEXICAL_WINDOW_SIZE]
            for rows, known in zip(first, (set(query.rows) for query in self.judged), strict=True)
        ]


@dataclass(frozen=True)
class ShopSplit:
    """A shop cut in two that share no query and no title: one to learn from, one to choose and to measure on."""

    learn: TrainingShop
    validate: TrainingShop


def split_dataset(name: str, dataset: Dataset, random: Random) -> ShopSplit:
    """Cut a data set's split `train` in two.

    Validation takes the titles of its queries along: a model knows the titles that it learned from better than others.
    Another product of the same title is in neither part.
    """
    qrels = dataset.qrels.get("train", {})
    order = sorted(qrels)
    random.shuffle(order)
    chosen, unseen = _choose_validation_queries(order, qrels, len(dataset.products))
    others = [query for query in order if query not in chosen]
    titles = {dataset.products[product].title for product in unseen if product in dataset.products}
    seen = [name for name, product in dataset.products.items() if name not in unseen and product.title not in titles]
    apart = [product for product in dataset.products if product in unseen]
    return ShopSplit(_build_shop(name, dataset, seen, others), _build_shop(name, dataset, apart, chosen))


def _choose_validation_queries(order: Sequence[str], qrels: Qrels, products: int) -> tuple[list[str], set[str]]:
    """Queries to validate on and all their judged products, which are no more than a fifth of the catalogue."""
    chosen: list[str] = []
    unseen: set[str] = set()
    for query in order:
        if (
            len(chosen) < max_validation_queries(len(order))
            and len(unseen | qrels[query].keys()) <= MAX_HELD_OUT_FRACTION * products
        ):
            chosen.append(query)
            unseen |= qrels[query].keys()
    return chosen, unseen


def max_validation_queries(judged: int) -> int:
    """How many judged queries validate at most: a sixth, of few a third: less than 30 tell no two models apart."""
    return max(judged // 6, min(judged // 3, 30))


def _build_shop(name: str, dataset: Dataset, products: Sequence[str], queries: Sequence[str]) -> TrainingShop:
    """Shop of some products and some queries; a query without a relevant product among them teaches nothing."""
    qrels = dataset.qrels.get("train", {})
    top = max((grade for judged in qrels.values() for grade in judged.values()), default=1) or 1
    places = {product: row for row, product in enumerate(products)}
    judged = [_to_judged_query(dataset.queries[query], qrels[query], places, top) for query in queries]
    return TrainingShop(
        name, [dataset.products[product].title for product in products], [one for one in judged if any(one.gains)]
    )


def _to_judged_query(text: str, grades: dict[str, int], places: dict[str, int], top: int) -> JudgedQuery:
    known = [(places[name], max(grade, 0) / top) for name, grade in sorted(grades.items()) if name in places]
    return JudgedQuery(text, tuple(row for row, _ in known), tuple(gain for _, gain in known))
