"""Judgments from clicks, corrected for the positions at which products were shown: clicks over expected clicks (COEC).

The click rate of a position is estimated over all searches of the same log. That is right if the products of a position
are as relevant on average as those of any other; where the search already puts relevant products first, some of their
relevance is taken for the position, and the grades of the first products are too low.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.beir import SkippedLine
from anthem_core.errors import DataError
from anthem_evaluation.judgments import JudgedQueries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anthem_core.beir import Qrels
    from anthem_evaluation.ubi.click_log import ClickLog, ShownList

MIN_IMPRESSIONS = 10
GRADE_RATIOS = (0.5, 1.0, 2.0)  # from which the grades 1, 2 and 3 start
PSEUDO_CLICKS = 1.0  # expected and made, which pull the ratio of a product with few clicks to the average, 1


@dataclass
class ProductClicks:
    """How often a product was shown for a query, clicked, and would be clicked by its positions alone."""

    impressions: int = 0
    clicks: int = 0
    expected: float = 0.0

    @property
    def ratio(self) -> float:
        """Clicks over expected clicks, `(clicks + 1) / (expected + 1)`; 1 is what the positions explain."""
        return (self.clicks + PSEUDO_CLICKS) / (self.expected + PSEUDO_CLICKS)

    @property
    def grade(self) -> int:
        """0 to 3: below half of the expected clicks, below them, up to twice as many, more."""
        return sum(self.ratio >= start for start in GRADE_RATIOS)


def position_click_rates(searches: Iterable[ShownList]) -> dict[int, float]:
    """Click rate of each position over all searches, `(clicks_k + r) / (impressions_k + 1)`, r the rate of all."""
    shown: dict[int, int] = defaultdict(int)
    clicked: dict[int, int] = defaultdict(int)
    for search in searches:
        for product, position in search.positions.items():
            shown[position] += 1
            clicked[position] += product in search.clicked
    overall = sum(clicked.values()) / max(1, sum(shown.values()))
    return {position: (clicked[position] + overall) / (count + 1) for position, count in shown.items()}


def count_clicks(searches: Iterable[ShownList], rates: Mapping[int, float]) -> dict[str, dict[str, ProductClicks]]:
    """Impressions, clicks and expected clicks by query text and product."""
    counts: dict[str, dict[str, ProductClicks]] = defaultdict(lambda: defaultdict(ProductClicks))
    for search in searches:
        for product, position in search.positions.items():
            entry = counts[search.text][product]
            entry.impressions += 1
            entry.clicks += product in search.clicked
            entry.expected += rates[position]
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
        )
    counts = count_clicks(log.searches, position_click_rates(log.searches))
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
