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
from anthem_core.catalogue.items import stock
from anthem_core.catalogue.judging import Judge
from anthem_core.catalogue.queries import ask, split
from anthem_core.catalogue.shop import load_shop

__all__ = ["generate"]


def generate(seed: int = 0, products: int = 6000) -> Dataset:
    """Build the catalogue: some 2,000 queries over `products` products, each with all that is right judged.

    Raises:
        ValueError: There are fewer products than the shop has types.
    """
    rng = random.Random(f"anthem catalogue {seed}")  # noqa: S311 (a catalogue is no secret)
    shop = load_shop()
    items = stock(shop, products, rng)
    queries = ask(shop, items, rng)
    judge = Judge(items, rng)
    splits = split(queries, rng)
    return Dataset(
        products={item.id: item.product() for item in items},
        queries={query.id: query.text for query in queries},
        qrels={
            name: {query.id: judge.pool(query.intent, query.meant) for query in queries if splits[query.id] == name}
            for name in ("train", "dev")
        },
        query_metadata={query.id: query.metadata() for query in queries},
    )
