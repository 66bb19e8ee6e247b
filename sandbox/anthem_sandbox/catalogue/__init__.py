"""A department store that never was: products, queries and graded judgments, the same for the same seed.

The grades follow from what a product is and what a query asks, never from their words, so titles can mislead as real ones do:

| grade | the product is |
|---|---|
| 3 | all that the query asks |
| 2 | of the right type but for one attribute, brand or model; or a close substitute that has all of them |
| 1 | of the right type and little else right; of the same category with all that is asked; or an accessory, when only the type is asked |
| 0 | anything else, however many words of the query its title holds |
"""  # noqa: E501 (a table)

from __future__ import annotations

import random

from anthem_core.beir import Dataset
from anthem_sandbox.catalogue.items import create_items
from anthem_sandbox.catalogue.judgments import CatalogueJudge
from anthem_sandbox.catalogue.plan import load_plan
from anthem_sandbox.catalogue.queries import assign_splits, create_queries

__all__ = ["generate_catalogue"]


def generate_catalogue(seed: int = 0, products: int = 6000) -> Dataset:
    """Build the catalogue: some 2,000 queries over `products` products, each with all that is right judged.

    Raises:
        ValueError: There are fewer products than the shop has types.
    """
    rng = random.Random(f"anthem catalogue {seed}")  # noqa: S311 (a catalogue is no secret)
    shop = load_plan()
    items = create_items(shop, products, rng)
    queries = create_queries(shop, items, rng)
    judge = CatalogueJudge(items, rng)
    splits = assign_splits(queries, rng)
    return Dataset(
        products={item.id: item.product() for item in items},
        queries={query.id: query.text for query in queries},
        qrels={
            name: {query.id: judge.pool(query.intent, query.meant) for query in queries if splits[query.id] == name}
            for name in ("train", "dev")
        },
        query_metadata={query.id: query.metadata() for query in queries},
    )
