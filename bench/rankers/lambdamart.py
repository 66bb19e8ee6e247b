"""LambdaMART (Burges 2010): boosted trees over features of query and title, as users of learning to rank train them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import torch

from anthem_model.ranker import TrainableRanker
from anthem_model.trainer.validation import POOL_PARTS, pool_ndcg
from rankers.ltr_features import FEATURE_NAMES, FeatureExtractor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor

    from anthem_model.data.training_shop import TrainingShop
    from candidates import CandidateSplit

    Matrix = npt.NDArray[np.float32]

TREES = 400
VALIDATION_INTERVAL = 10  # trees
LEAVES = (7, 31)
# Products of BM25's first hundred without a judgment, as grade 0, in each list of a training query.
UNJUDGED_PER_QUERY = 40
LIST_KINDS = ((0,), (UNJUDGED_PER_QUERY,), (0, UNJUDGED_PER_QUERY))
GAIN_STEPS = 12  # a gain in [0, 1] is a label of 0 to 12; labels count linearly, as in the measure
TREE_PARAMETERS: dict[str, Any] = {
    "objective": "lambdarank",
    "metric": "none",
    "label_gain": list(range(GAIN_STEPS + 1)),
    "lambdarank_truncation_level": 20,
    "learning_rate": 0.03,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "verbose": -1,
}


@dataclass(frozen=True)
class LabelledQuery:
    """Features `(N, F)` of the candidates of a training query, judged ones first, and the labels of the judged ones."""

    features: Matrix
    labels: list[int]


@dataclass(frozen=True)
class ValidationPool:
    """Candidates of a validation query: features `(N, F)`, gains, flags of judged ones and of the window, `(N,)`."""

    features: Matrix
    gains: Tensor
    judged: Tensor
    window: Tensor


class LambdaMart(TrainableRanker):
    """Trained trees, and the features that they read."""

    def __init__(self, extractor: FeatureExtractor, booster: lightgbm.Booster, trees: int) -> None:
        super().__init__()
        self._extractor, self._booster, self._trees = extractor, booster, trees

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Sums of the trees, `(B, C)`."""
        rows = [
            _extract(self._extractor, query, [titles[row] for row in chosen])
            for query, chosen in zip(queries, candidates.tolist(), strict=True)
        ]
        scores = _predict(self._booster, np.concatenate(rows), self._trees)
        return torch.from_numpy(scores).view(candidates.shape)

    @property
    def device(self) -> torch.device:
        """The processor: the trees are no tensors."""
        return torch.device("cpu")

    def count_parameters(self) -> int:
        """Feature, threshold and two branches of every inner node, and the value of every leaf."""
        leaves = [tree["num_leaves"] for tree in self._booster.dump_model(self._trees)["tree_info"]]
        return sum(5 * leaf_count - 4 for leaf_count in leaves)


def train_lambdamart(
    shop: TrainingShop, validation: CandidateSplit, titles: Mapping[str, str], brands: Mapping[str, str], seed: int
) -> LambdaMart:
    """Train on the judged products of a shop, and on other products that BM25 finds for its queries.

    The kind of the lists, the size of the trees and their number are those with the best nDCG@10 on the
    validation queries, mean of judged products and window. `titles` and `brands` are by product id and by title.
    """
    extractor = FeatureExtractor(list(titles.values()), brands)
    queries = _label_queries(shop, extractor, Random(seed))
    pools = _build_pools(validation, titles, extractor)
    trials = []
    for kind, leaves in product(LIST_KINDS, LEAVES):
        booster = _grow_trees(queries, kind, leaves, seed)
        trials += [(quality, booster, trees) for trees, quality in _validate(booster, pools)]
    _, booster, trees = max(trials, key=lambda trial: trial[0])
    return LambdaMart(extractor, booster, trees)


def _label_queries(shop: TrainingShop, extractor: FeatureExtractor, random: Random) -> list[LabelledQuery]:
    """Judged products of every query, and a sample of the unjudged ones of its window."""
    queries = []
    for query, negatives in zip(shop.judged_queries, shop.hard_negatives, strict=True):
        sample = random.sample(negatives, min(UNJUDGED_PER_QUERY, len(negatives)))
        texts = [shop.titles[row] for row in (*query.rows, *sample)]
        labels = [round(GAIN_STEPS * gain) for gain in query.gains]
        queries.append(LabelledQuery(_extract(extractor, query.text, texts), labels))
    return queries


def _grow_trees(queries: Sequence[LabelledQuery], kind: Sequence[int], leaves: int, seed: int) -> lightgbm.Booster:
    """Train on a list for each query and number in `kind`: the judged products and that many others, with label 0."""
    lists = [(query, query.features[: len(query.labels) + unjudged]) for query in queries for unjudged in kind]
    labels = [label for query, rows in lists for label in query.labels + [0] * (len(rows) - len(query.labels))]
    features, sizes = np.concatenate([rows for _, rows in lists]), [len(rows) for _, rows in lists]
    data = lightgbm.Dataset(features, np.array(labels), group=sizes, feature_name=list(FEATURE_NAMES))
    return lightgbm.train(TREE_PARAMETERS | {"num_leaves": leaves, "seed": seed}, data, TREES)


def _build_pools(split: CandidateSplit, titles: Mapping[str, str], extractor: FeatureExtractor) -> list[ValidationPool]:
    pools = []
    for query, candidates in split.candidates.items():
        # In OpenSearch's order, which decides between products in the same leaves: judged ones must not come first.
        ids, grades = list(dict.fromkeys([*candidates.window, *candidates.judged])), split.qrels[query]
        pools.append(
            ValidationPool(
                _extract(extractor, split.queries[query], [titles[product] for product in ids]),
                torch.tensor([float(max(0, grades.get(product, 0))) for product in ids]),
                torch.tensor([product in candidates.judged for product in ids]),
                torch.tensor([product in candidates.window for product in ids]),
            )
        )
    return pools


def _validate(booster: lightgbm.Booster, pools: Sequence[ValidationPool]) -> Iterator[tuple[int, float]]:
    """Numbers of trees, each with the mean of nDCG@10 over the judged products and nDCG@10 over the window."""
    ends = np.cumsum([len(pool.features) for pool in pools])[:-1]
    features = np.concatenate([pool.features for pool in pools])
    scores = np.zeros(len(features))
    for start in range(0, TREES, VALIDATION_INTERVAL):
        scores += _predict(booster, features, VALIDATION_INTERVAL, start)
        rows = [torch.from_numpy(row) for row in np.split(scores, ends)]
        yield start + VALIDATION_INTERVAL, sum(pool_ndcg(pools, rows, part) for part in POOL_PARTS) / len(POOL_PARTS)


def _extract(extractor: FeatureExtractor, query: str, titles: Sequence[str]) -> Matrix:
    values = np.array([extractor.features(query, title) for title in titles], np.float32)
    return values.reshape(-1, len(FEATURE_NAMES))


def _predict(booster: lightgbm.Booster, features: Matrix, trees: int, start: int = 0) -> npt.NDArray[np.float64]:
    """Sum of some trees, `(N,)`."""
    scores = booster.predict(features, start_iteration=start, num_iteration=trees, num_threads=1)
    return np.asarray(scores, np.float64)
