"""Measures that compare the geometries: nDCG@10, distances in the category tree, and the sizes of queries."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from scipy import stats

from anthem_model.trainer.validation import POOL_PARTS, build_pools, pool_ndcg

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from anthem_core.beir import Dataset
    from anthem_model.anthem_ranker import AnthemRanker
    from anthem_model.data.training_shop import TrainingShop
    from anthem_model.trainer.validation import CandidatePool

CategoryPath: TypeAlias = "tuple[str, ...]"

MAX_VALIDATION_QUERIES = 300
TITLES_PER_BATCH = 512


def measure_containment_quality(ranker: AnthemRanker, shop: TrainingShop) -> dict[str, float]:
    """nDCG@10 on validation queries, judged products and window: BM25, the model alone, and the sum of both.

    In the sum, both are standardised over the candidates of a query and weigh the same.
    """
    pools = build_pools(shop, MAX_VALIDATION_QUERIES)
    model = [ranker.score_titles(pool.text, [shop.titles[row] for row in pool.rows]).double() for pool in pools]
    lexical = [pool.lexical.double() for pool in pools]
    measures: dict[str, float] = {}
    for part in POOL_PARTS:
        fused = [
            _standardise(scores, flags) + _standardise(bm25, flags)
            for pool, scores, bm25 in zip(pools, model, lexical, strict=True)
            for flags in (_flags(pool, part),)
        ]
        for name, scores in (("bm25", lexical), ("alone", model), ("fused", fused)):
            measures[f"{part}/{name}"] = pool_ndcg(pools, scores, part)
    return measures


def _flags(pool: CandidatePool, part: str) -> Tensor:
    return pool.judged if part == "judged" else pool.window


def _standardise(scores: Tensor, flags: Tensor) -> Tensor:
    """Zero mean and unit deviation over the flagged candidates."""
    chosen = scores[flags]
    return (scores - chosen.mean()) / chosen.std(correction=0).clamp_min(1e-9) if len(chosen) else scores


@torch.no_grad()
def measure_category_tree(ranker: AnthemRanker, dataset: Dataset) -> dict[str, float]:
    """How well distances between the centroids of categories follow distances in the category tree.

    `tree_correlation` is Spearman's, `tree_distortion` the `average_distortion`, and `radius_depth` Spearman's
    correlation of a centroid's radius with the depth of its category. Empty without categories.
    """
    rows: dict[CategoryPath, list[int]] = defaultdict(list)
    for row, product in enumerate(dataset.products.values()):
        path = tuple(product.metadata.get("category", ()))
        for depth in range(len(path)):
            rows[path[: depth + 1]].append(row)
    if not rows:
        return {}
    titles = [product.title for product in dataset.products.values()]
    batches = [titles[start : start + TITLES_PER_BATCH] for start in range(0, len(titles), TITLES_PER_BATCH)]
    points = torch.cat([ranker.encode_titles(batch) for batch in batches])
    space = ranker.network.shape.space
    centroids = torch.stack([space.midpoint(points[chosen].sum(0)) for chosen in rows.values()])
    radii = torch.linalg.vector_norm(space.logmap0(centroids), dim=-1).numpy()
    left, right = np.triu_indices(len(rows), 1)
    distances = torch.linalg.vector_norm(space.pairwise_logmap(centroids[:, None], centroids)[:, :, 0], dim=-1)
    embedded = distances.numpy()[left, right].astype(float)
    expected = np.array([tree_distance(first, second) for first, second in combinations(rows, 2)], float)
    return {
        "tree_correlation": float(stats.spearmanr(embedded, expected).statistic),
        "tree_distortion": average_distortion(embedded, expected),
        "radius_depth": float(stats.spearmanr(radii, [len(path) for path in rows]).statistic),
    }


def tree_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Number of edges between two nodes of a tree, each given by its path from the root."""
    shared = 0
    while shared < min(len(first), len(second)) and first[shared] == second[shared]:
        shared += 1
    return len(first) + len(second) - 2 * shared


def average_distortion(embedded: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    """Mean of `|c·e/t − 1|` over pairs, e: embedded, t: distance in the tree, with `c = Σ(e/t) / Σ(e/t)²`.

    It does not depend on the unit of either distance; it is 0 for an isometry.
    """
    ratios = embedded / expected
    scale = ratios.sum() / max(float(ratios @ ratios), 1e-12)
    return float(np.abs(scale * ratios - 1).mean())


@torch.no_grad()
def measure_sizes(ranker: AnthemRanker, dataset: Dataset) -> dict[str, float]:
    """Spearman's correlation of a query's generality with its size and with its nearness to the origin.

    Only queries that name nothing but a category count; those with a lower depth are more general. The size is the mean
    limit, as a bundle computes it. Empty for a dataset whose queries have no depth.
    """
    named = {
        query: int(data["depth"])
        for query, data in dataset.query_metadata.items()
        if isinstance(data.get("depth"), int) and data.get("constraints") == 0
    }
    if not named:
        return {}
    encoded = ranker.network.query(*ranker.query_ids([dataset.queries[query] for query in named]))
    sizes = (encoded.weights * encoded.limits.mean(-1)).sum(-1)
    lengths = torch.linalg.vector_norm(ranker.network.shape.space.logmap0(encoded.centres), dim=-1)
    radii = (encoded.weights * lengths).sum(-1)
    generality = [-depth for depth in named.values()]
    return {
        "size_generality": float(stats.spearmanr(sizes.numpy(), generality).statistic),
        "nearness_generality": float(stats.spearmanr(-radii.numpy(), generality).statistic),
    }
