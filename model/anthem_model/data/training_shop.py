"""A dataset prepared for training: titles as rows, judged queries, and the split into training and validation."""

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

TRAINING_SPLIT = "train"  # the only split that training reads
LEXICAL_WINDOW_SIZE = 100  # products that BM25 ranks first
MAX_HELD_OUT_FRACTION = 0.2  # of the products


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and its judged products: rows of the shop's titles, and gains `grade / top grade` in [0, 1]."""

    text: str
    rows: tuple[int, ...]
    gains: tuple[float, ...]


@dataclass(frozen=True)
class TrainingShop:
    """Titles of one catalogue, or of a part of it, and the queries with judgments on them."""

    name: str
    titles: list[str]
    judged_queries: list[JudgedQuery]

    @cached_property
    def title_words(self) -> list[frozenset[str]]:
        """Words of every title, as a set."""
        return [frozenset(split_words(title)) for title in self.titles]

    @cached_property
    def rows_by_word(self) -> dict[str, list[int]]:
        """Rows of the titles that contain a word."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, words in enumerate(self.title_words):
            for word in sorted(words):
                rows[word].append(row)
        return dict(rows)

    def rows_containing(self, text: str) -> list[int]:
        """Rows of the titles that contain all words of a text."""
        required = frozenset(split_words(text))
        rows = min((self.rows_by_word.get(word, []) for word in required), key=len, default=[])
        return [row for row in rows if required <= self.title_words[row]]

    @cached_property
    def hard_negatives(self) -> list[list[int]]:
        """For each judged query the rows, best first, that BM25 ranks first among those without a judgment."""
        index = Bm25Index(self.titles)
        return [_unjudged_top_rows(index, query) for query in self.judged_queries]


def _unjudged_top_rows(index: Bm25Index, query: JudgedQuery) -> list[int]:
    judged = set(query.rows)
    rows = index.top_rows(query.text, LEXICAL_WINDOW_SIZE + len(query.rows))
    return [row for row in rows if row not in judged][:LEXICAL_WINDOW_SIZE]


@dataclass(frozen=True)
class ShopSplit:
    """A shop split into a part to train on and a part to validate on, which share no query and no title."""

    train: TrainingShop
    validation: TrainingShop


def split_dataset(name: str, dataset: Dataset, random: Random) -> ShopSplit:
    """Split the judgments `train` of a dataset, and its products, into training and validation.

    All products judged for a validation query belong to validation, because a model ranks titles it was trained on
    better than others. Products outside validation with the same title as one of these are in neither part.
    """
    qrels = dataset.qrels.get(TRAINING_SPLIT, {})
    order = sorted(qrels)
    random.shuffle(order)
    validation_queries, held_out = _choose_validation_queries(order, qrels, len(dataset.products))
    training_queries = [query for query in order if query not in validation_queries]
    held_out_titles = {dataset.products[product].title for product in held_out if product in dataset.products}
    training_products = [
        name
        for name, product in dataset.products.items()
        if name not in held_out and product.title not in held_out_titles
    ]
    validation_products = [product for product in dataset.products if product in held_out]
    return ShopSplit(
        _build_shop(name, dataset, training_products, training_queries),
        _build_shop(name, dataset, validation_products, validation_queries),
    )


def _choose_validation_queries(order: Sequence[str], qrels: Qrels, products: int) -> tuple[list[str], set[str]]:
    """Queries to validate on and all their judged products, which are at most a fifth of the catalogue."""
    chosen: list[str] = []
    held_out: set[str] = set()
    for query in order:
        if (
            len(chosen) < max_validation_queries(len(order))
            and len(held_out | qrels[query].keys()) <= MAX_HELD_OUT_FRACTION * products
        ):
            chosen.append(query)
            held_out |= qrels[query].keys()
    return chosen, held_out


def max_validation_queries(judged: int) -> int:
    """Maximal number of validation queries: a sixth of the judged ones; of fewer than 180 a third, but at most thirty.

    Fewer than thirty queries cannot tell two models apart.
    """
    return max(judged // 6, min(judged // 3, 30))


def _build_shop(name: str, dataset: Dataset, products: Sequence[str], queries: Sequence[str]) -> TrainingShop:
    """Shop of some products and queries; queries without a relevant product among these are dropped."""
    qrels = dataset.qrels.get(TRAINING_SPLIT, {})
    top_grade = max((grade for grades in qrels.values() for grade in grades.values()), default=1) or 1
    rows = {product: row for row, product in enumerate(products)}
    judged = [_to_judged_query(dataset.queries[query], qrels[query], rows, top_grade) for query in queries]
    titles = [dataset.products[product].title for product in products]
    return TrainingShop(name, titles, [query for query in judged if any(query.gains)])


def _to_judged_query(text: str, grades: dict[str, int], rows: dict[str, int], top_grade: int) -> JudgedQuery:
    judged = [(rows[name], max(grade, 0) / top_grade) for name, grade in sorted(grades.items()) if name in rows]
    return JudgedQuery(text, tuple(row for row, _ in judged), tuple(gain for _, gain in judged))
