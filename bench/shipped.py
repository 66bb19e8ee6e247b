"""The bundle that ships, on a data set whose judgments it never saw: its own fusion, nothing fitted to the set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scoring import TASKS

from anthem_core.bundle import load
from anthem_evaluation.metrics import ranked
from anthem_evaluation.rerank import Products, Ranker, encode

if TYPE_CHECKING:
    from candidates import Split

    from anthem_core.beir import Dataset
    from anthem_evaluation.metrics import Run

SIGNALS = {"fused": "lexical,containment,attention", "without_attention": "lexical,containment"}


def runs(dataset: Dataset, dev: Split, bundle: str = "general") -> dict[tuple[str, str], Run]:
    """Runs of `dev` by task, fused from all signals and from those that the cluster knows."""
    loaded = load(bundle)
    needed = {product for found in dev.found.values() for product in found.products}
    texts = {product: dataset.products[product].title for product in needed}
    result: dict[tuple[str, str], Run] = {}
    for way, signals in SIGNALS.items():
        ranker = Ranker.of(loaded, signals.split(","))
        products = Products(texts, encode(texts, ranker.encoder))
        for task in TASKS:
            pools = {name: getattr(found, task) for name, found in dev.found.items()}
            orders = {name: ranker.order(dev.queries[name], pool, products) for name, pool in pools.items()}
            result[task, way] = {name: ranked(order or list(pools[name])) for name, order in orders.items()}
    return result
