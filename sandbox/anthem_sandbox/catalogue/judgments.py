"""Judges products by comparing their attributes with a query's intent. Words only select which zeros are judged."""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from anthem_sandbox.catalogue.items import CatalogueItem
    from anthem_sandbox.catalogue.plan import CategoryPath, ProductType
    from anthem_sandbox.catalogue.queries import QueryIntent

# Irrelevant products judged per query: first look-alikes, then some from the department, then random ones.
MAX_LOOKALIKES, MAX_DEPARTMENT_ZEROS, ZEROS_PER_QUERY = 6, 2, 10
RANDOM_CANDIDATES = 100  # candidates for the random zeros; many more than are needed


def grade_item(item: CatalogueItem, intent: QueryIntent, substitutes: set[CategoryPath]) -> int:
    """Grade 0 to 3 of an item; `substitutes` are the paths of close substitutes for the intended types."""
    path, accessory_of, misses = item.type.path, item.type.accessory_of, _count_misses(item, intent)
    if accessory_of is not None and path != intent.path:
        return int(_is_within(accessory_of, intent.path) and intent.constraints == 0)
    if _is_within(path, intent.path):
        return max(1, 3 - misses)
    if path in substitutes:
        return max(0, 2 - misses)
    return int(_is_sibling(path, intent.path) and misses == 0)


def _is_within(path: CategoryPath, category: CategoryPath) -> bool:
    return path[: len(category)] == category


def _is_sibling(path: CategoryPath, category: CategoryPath) -> bool:
    """Whether two paths share a parent. Siblings of a section or department are too different to count."""
    return len(category) > 2 and _is_within(path, category[:-1])


def _count_misses(item: CatalogueItem, intent: QueryIntent) -> int:
    """The number of constraints that the item does not meet."""
    return (
        sum(item.values.get(key) != value for key, value in intent.attributes.items())
        + (intent.brand not in {None, item.brand})
        + (intent.model not in {None, item.model})
    )


def normalised_words(text: str) -> set[str]:
    """Words as a lexical engine matches them: case-folded and without a plural `s`."""
    return {word.removesuffix("s") or word for word in re.findall(r"\w+", text.casefold())}


class CatalogueJudge:
    """Judges every relevant item of a query and a few irrelevant ones: similar, from the department, and random."""

    def __init__(self, items: list[CatalogueItem], rng: random.Random) -> None:
        self.items, self.rng = items, rng
        self.types: dict[CategoryPath, ProductType] = {item.type.path: item.type for item in items}
        # A position is an index into `items`.
        self.positions_by_path: dict[CategoryPath, list[int]] = defaultdict(list)
        self.positions_by_word: dict[str, list[int]] = defaultdict(list)
        for position, item in enumerate(items):
            for depth in range(1, len(item.type.path) + 1):
                self.positions_by_path[item.type.path[:depth]].append(position)
            for word in normalised_words(item.title):
                self.positions_by_word[word].append(position)

    def judge_query(self, intent: QueryIntent, text: str) -> dict[str, int]:
        """Grades by product id, in catalogue order: every item above 0, and `ZEROS_PER_QUERY` items of grade 0.

        An item without a judgment therefore has grade 0, and any ranking can be evaluated in full.
        """
        grades = self._grade_relevant(intent)
        zeros = self._find_lookalikes(text, grades)
        department = self.rng.sample(self.positions_by_path[intent.path[:1]], MAX_DEPARTMENT_ZEROS)
        for position in (*department, *self.rng.sample(range(len(self.items)), RANDOM_CANDIDATES)):
            if len(zeros) < ZEROS_PER_QUERY and position not in grades and position not in zeros:
                zeros.append(position)
        return {self.items[position].id: grades.get(position, 0) for position in sorted([*grades, *zeros])}

    def _grade_relevant(self, intent: QueryIntent) -> dict[int, int]:
        """Grades of all items above 0, by position."""
        intended_types = [product_type for path, product_type in self.types.items() if _is_within(path, intent.path)]
        substitutes = {
            product_type.substitute for product_type in intended_types if product_type.substitute is not None
        }
        siblings = intent.path[:-1] if len(intent.path) > 2 else intent.path
        positions = {position for path in (siblings, *substitutes) for position in self.positions_by_path[path]}
        grades = {position: grade_item(self.items[position], intent, substitutes) for position in sorted(positions)}
        return {position: grade for position, grade in grades.items() if grade}

    def _find_lookalikes(self, text: str, grades: dict[int, int]) -> list[int]:
        """Positions of the irrelevant items whose titles share the most and rarest words with the query.

        Ties are broken at random.
        """
        scores: dict[int, float] = defaultdict(float)
        for word in sorted(normalised_words(text)):
            positions = self.positions_by_word.get(word, [])
            for position in positions:
                scores[position] += math.log(1 + len(self.items) / len(positions))
        irrelevant = [
            (score, self.rng.random(), position) for position, score in scores.items() if position not in grades
        ]
        return [position for _, _, position in heapq.nlargest(MAX_LOOKALIKES, irrelevant)]
