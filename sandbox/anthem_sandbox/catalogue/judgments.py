"""Judgments by construction: what a product is against what a query asks. Words only choose which zeros are judged."""

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

# So many zeros of a query are judged: look-alikes, some from the department, and all in all.
MAX_LOOKALIKES, DEPARTMENT_ZEROS, ZEROS_PER_QUERY = 6, 2, 10
RANDOM_CANDIDATES = 100  # to draw the last zeros from: far more than are ever needed


def grade_item(item: CatalogueItem, intent: QueryIntent, near: set[CategoryPath]) -> int:
    """Grade 0 to 3 of an item; `near` holds the types that are close substitutes of those asked for."""
    path, part_of, misses = item.type.path, item.type.part_of, _count_misses(item, intent)
    if part_of is not None and path != intent.path:
        return int(_is_within(part_of, intent.path) and intent.constraints == 0)
    if _is_within(path, intent.path):
        return max(1, 3 - misses)
    if path in near:
        return max(0, 2 - misses)
    return int(_is_sibling(path, intent.path) and misses == 0)


def _is_within(path: CategoryPath, asked: CategoryPath) -> bool:
    return path[: len(asked)] == asked


def _is_sibling(path: CategoryPath, asked: CategoryPath) -> bool:
    """Whether two places stand side by side; sections and departments have too little in common to count."""
    return len(asked) > 2 and _is_within(path, asked[:-1])


def _count_misses(item: CatalogueItem, intent: QueryIntent) -> int:
    return (
        sum(item.values.get(key) != value for key, value in intent.wants.items())
        + (intent.brand not in {None, item.brand})
        + (intent.model not in {None, item.model})
    )


def normalised_words(text: str) -> set[str]:
    """Words as a lexical engine would match them: without case and plural."""
    return {word.removesuffix("s") or word for word in re.findall(r"\w+", text.casefold())}


class CatalogueJudge:
    """Judges items: all that are no zeros, and zeros that are hard, near and far."""

    def __init__(self, items: list[CatalogueItem], rng: random.Random) -> None:
        self.items, self.rng = items, rng
        self.types: dict[CategoryPath, ProductType] = {item.type.path: item.type for item in items}
        self.places: dict[CategoryPath, list[int]] = defaultdict(list)  # every path of the tree -> the items below it
        self.postings: dict[str, list[int]] = defaultdict(list)
        for place, item in enumerate(items):
            for depth in range(1, len(item.type.path) + 1):
                self.places[item.type.path[:depth]].append(place)
            for word in normalised_words(item.title):
                self.postings[word].append(place)

    def pool(self, intent: QueryIntent, text: str) -> dict[str, int]:
        """Judge every item that is no zero for a query, and ten that are: ids to grades, in the order of the stock.

        So an item without a judgment is a zero, too, and a whole ranking can be measured.
        """
        graded = self._graded(intent)
        zeros = self._lookalikes(text, graded)
        neighbours = self.rng.sample(self.places[intent.path[:1]], DEPARTMENT_ZEROS)
        for place in (*neighbours, *self.rng.sample(range(len(self.items)), RANDOM_CANDIDATES)):
            if len(zeros) < ZEROS_PER_QUERY and place not in graded and place not in zeros:
                zeros.append(place)
        return {self.items[place].id: graded.get(place, 0) for place in sorted([*graded, *zeros])}

    def _graded(self, intent: QueryIntent) -> dict[int, int]:
        """All items of the stock that are not zeros."""
        inside = [each for path, each in self.types.items() if _is_within(path, intent.path)]
        near = {each.near for each in inside if each.near is not None}
        around = intent.path[:-1] if len(intent.path) > 2 else intent.path
        places = {place for path in (around, *near) for place in self.places[path]}
        grades = {place: grade_item(self.items[place], intent, near) for place in sorted(places)}
        return {place: value for place, value in grades.items() if value}

    def _lookalikes(self, text: str, graded: dict[int, int]) -> list[int]:
        """Wrong items whose titles share the most, and the rarest, words with the query; ties fall by chance."""
        scores: dict[int, float] = defaultdict(float)
        for word in sorted(normalised_words(text)):
            places = self.postings.get(word, [])
            for place in places:
                scores[place] += math.log(1 + len(self.items) / len(places))
        wrong = [(score, self.rng.random(), place) for place, score in scores.items() if place not in graded]
        return [place for _, _, place in heapq.nlargest(MAX_LOOKALIKES, wrong)]
