"""Which searches a report shows, and their hits before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.containment import contained as inside
from anthem_core.containment import query_distance
from anthem_evaluation.metrics import in_order
from anthem_evaluation.report import Example, Hit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoder import Encoder
    from anthem_evaluation.metrics import Run

SHOWN = 10


@dataclass(frozen=True)
class Examples:
    """Everything the examples of a report are drawn from."""

    dataset: Dataset
    qrels: Qrels
    encoder: Encoder
    before: Run
    after: Run

    def example(self, query_id: str) -> Example:
        """One search, its first ten hits before and after."""
        before, after = in_order(self.before[query_id]), in_order(self.after[query_id])
        rank = {product: place for place, product in enumerate(before, start=1)}
        shown = list(dict.fromkeys([*before[:SHOWN], *after[:SHOWN]]))
        hits = {hit.product: hit for hit in self._hits(query_id, shown, rank)}
        first, then = ([hits[product] for product in order[:SHOWN]] for order in (before, after))
        return Example(query_id, self.dataset.queries[query_id], tuple(first), tuple(then))

    def _hits(self, query_id: str, shown: Sequence[str], rank: Mapping[str, int]) -> list[Hit]:
        query = self.encoder.query(self.dataset.queries[query_id])
        titles = [self.dataset.products[product].title for product in shown]
        known = self.qrels.get(query_id, {})
        if query is None or not shown:
            return [Hit(product, title, known.get(product)) for product, title in zip(shown, titles, strict=True)]
        points = self.encoder.products(titles)
        bundle = self.encoder.bundle
        signals = zip(query_distance(query, points, bundle.gamma), inside(query, points, bundle.slack), strict=True)
        return [
            Hit(
                product,
                title,
                known.get(product),
                contained=bool(lies_inside),
                containment=-float(distance),
                was=rank.get(product),
            )
            for product, title, (distance, lies_inside) in zip(shown, titles, signals, strict=True)
        ]


def telling_queries(changes: Mapping[str, float], count: int = 5) -> list[str]:
    """Queries spread evenly over the changes, from the most gained to the most lost: no picking of winners."""
    ordered = sorted(changes, key=lambda query: (-changes[query], query))
    if len(ordered) <= count:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (count - 1))] for place in range(count)]
