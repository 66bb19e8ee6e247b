"""Judgments from clicks, corrected for the positions at which products were shown: clicks over expected clicks (COEC).

The click rate of a position and the ratio of a product are estimated in turn, which converges to the maximum likelihood
of a model in which a product at position k gets `rate_k · ratio` clicks on average. The first estimate takes the
products of every position for equally relevant; the later ones learn the difference from products that were shown at
several positions. If a product is always at the same position, its relevance cannot be told from the position.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.beir import SkippedLine
from anthem_core.errors import DataError
from anthem_evaluation.judgments import JudgedQueries
from anthem_evaluation.ubi.click_log import MIN_IMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from anthem_core.beir import Qrels
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.ubi.click_log import ClickLog, ShownList

GRADE_RATIOS = (0.5, 1.0, 2.0)  # from which the grades 1, 2 and 3 start
ESTIMATION_ROUNDS = 20
PSEUDO_CLICKS = 1.0  # expected and made, which pull the ratio of a product with few clicks to the average, 1


@dataclass(frozen=True)
class ProductClicks:
    """How often a product was shown for a query, clicked, and would be clicked by its positions alone."""

    impressions: int
    clicks: int
    expected: float

    @property
    def ratio(self) -> float:
        """Clicks over expected clicks, `(clicks + 1) / (expected + 1)`; 1 is what the positions explain."""
        return (self.clicks + PSEUDO_CLICKS) / (self.expected + PSEUDO_CLICKS)

    @property
    def grade(self) -> int:
        """0 to 3: below half of the expected clicks or none, below them, up to twice as many, more."""
        return sum(self.ratio >= start for start in GRADE_RATIOS) if self.clicks else 0


@dataclass(frozen=True)
class Impressions:
    """Every product that a search showed, one after another; arrays are `(I,)`.

    Attributes:
        pairs: The P pairs of a query text and a product.
        pair: Number of the pair.
        place: Number of the position, from 0 in the order of the positions.
        clicked: 1 if the product was clicked, otherwise 0.
    """

    pairs: tuple[tuple[str, str], ...]
    pair: NDArray[np.intc]
    place: NDArray[np.intp]
    clicked: NDArray[np.int8]

    @classmethod
    def of(cls, searches: Iterable[ShownList]) -> Impressions:
        """Those of some searches."""
        numbers: dict[tuple[str, str], int] = {}
        pair, position, clicked = array("i"), array("i"), array("b")
        for search in searches:
            pair.extend(numbers.setdefault((search.text, product), len(numbers)) for product in search.products)
            position.extend(search.positions)
            clicked.extend(product in search.clicked for product in search.products)
        places = np.unique(np.asarray(position), return_inverse=True)[1]
        return cls((*numbers,), np.asarray(pair), places, np.asarray(clicked))


def estimate_click_rates(seen: Impressions, rounds: int = ESTIMATION_ROUNDS) -> Array:
    """Click rate of each position, in their order, `(K,)`, scaled so that as many clicks are expected as there are.

    In turn, for position k and pair i, with n impressions, c clicks, and r the click rate of all:
    `rate_k = (c_k + r) / (Σ_i n_ik ratio_i + 1)` and `ratio_i = (c_i + 1) / (Σ_k n_ik rate_k + 1)`, from `ratio_i = 1`.
    """
    clicks, place_clicks = (np.bincount(numbers, seen.clicked) for numbers in (seen.pair, seen.place))
    ratio = np.ones(len(clicks))
    for _ in range(rounds):
        shown = np.bincount(seen.place, ratio[seen.pair])
        rates: Array = (place_clicks + seen.clicked.mean()) / (shown + 1)
        rates *= seen.clicked.sum(dtype=int) / rates[seen.place].sum()
        ratio = (clicks + PSEUDO_CLICKS) / (np.bincount(seen.pair, rates[seen.place]) + PSEUDO_CLICKS)
    return rates


def count_clicks(searches: Iterable[ShownList], rounds: int = ESTIMATION_ROUNDS) -> dict[str, dict[str, ProductClicks]]:
    """Impressions, clicks and expected clicks by query text and product; the log has a click."""
    seen = Impressions.of(searches)
    rates = estimate_click_rates(seen, rounds)
    sums = (np.bincount(seen.pair, each).tolist() for each in (None, seen.clicked, rates[seen.place]))
    counts: dict[str, dict[str, ProductClicks]] = defaultdict(dict)
    for (text, product), shown, clicks, expected in zip(seen.pairs, *sums, strict=True):
        counts[text][product] = ProductClicks(shown, int(clicks), expected)
    return counts


def judge_clicks(log: ClickLog, min_impressions: int = MIN_IMPRESSIONS) -> JudgedQueries:
    """Grades of the products that were shown often enough for a query; the others are unjudged.

    Raises:
        DataError: The log has no click, or no query has a product that was shown often enough and clicked more often
            than half of what its positions explain.
    """
    if not any(search.clicked for search in log.searches):
        raise DataError(
            f"The log has {len(log.searches)} searches that show products, and no click on them. Check that ubi_events "
            "has the query_id of ubi_queries and the same object ids, and name the action of clicks with --action."
            + "".join(f" Not used: {count} {reason}." for reason, count in log.unused.items())
        )
    counts = count_clicks(log.searches)
    graded = {
        text: {product: each.grade for product, each in products.items() if each.impressions >= min_impressions}
        for text, products in counts.items()
    }
    queries, qrels = _number(graded)
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise DataError(
            f"No product was shown {min_impressions} times or more for the same query and clicked. Collect more "
            "searches, or lower --min-impressions."
        )
    return JudgedQueries(queries, qrels, [SkippedLine("UBI", 0, f"{n} {reason}") for reason, n in log.unused.items()])


def _number(graded: Mapping[str, dict[str, int]]) -> tuple[dict[str, str], Qrels]:
    """Texts and grades by id: q1, q2 and so on."""
    judged = {f"q{n}": item for n, item in enumerate(((t, g) for t, g in graded.items() if g), start=1)}
    return {query: text for query, (text, _) in judged.items()}, {
        query: grades for query, (_, grades) in judged.items()
    }
