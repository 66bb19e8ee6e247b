"""A generated catalogue of a fictional department store: products, queries and graded judgments, reproducible by seed.

The grades follow from the attributes of a product and the intent of a query, never from their words, so titles can be
as misleading as real ones:

| grade | the product |
|---|---|
| 3 | meets every requirement of the query |
| 2 | has the right type and misses one attribute, brand or model; or is a close substitute that meets every requirement |
| 1 | has the right type and misses more; or is a sibling type that meets every requirement; or is an accessory, if the query only names the type |
| 0 | anything else, even if its title contains every word of the query |
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
    """Generate a catalogue with `products` products and about 2,000 queries, in the splits `train` and `dev`.

    Every relevant product is judged.

    Raises:
        ValueError: `products` is less than the number of product types.
    """
    rng = random.Random(f"anthem catalogue {seed}")  # noqa: S311 (not used for security)
    plan = load_plan()
    items = create_items(plan, products, rng)
    queries = create_queries(plan, items, rng)
    judge = CatalogueJudge(items, rng)
    splits = assign_splits(queries, rng)
    return Dataset(
        products={item.id: item.to_product() for item in items},
        queries={query.id: query.text for query in queries},
        qrels={
            split: {
                query.id: judge.judge_query(query.intent, query.correct_text)
                for query in queries
                if splits[query.id] == split
            }
            for split in ("train", "dev")
        },
        query_metadata={query.id: query.metadata() for query in queries},
    )
