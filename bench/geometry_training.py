"""The cells of the comparison of geometries, their data, and the training of containment alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from anthem_core.beir import read_dataset
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.data.training_shop import JudgedQuery, ShopSplit, TrainingShop
from anthem_model.torch_settings import torch_seed
from anthem_model.trainer.loop import run_training_loop
from anthem_model.trainer.query_sizes import fit_query_sizes
from anthem_model.trainer.schedule import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, build_initialised_ranker
from anthem_sandbox.catalogue import generate_catalogue
from candidates import prepare_training_parts
from cells import benchmark_data_folder

if TYPE_CHECKING:
    from torch import Tensor

    from anthem_core.beir import Dataset
    from anthem_model.data.batches import ListBatch

DATASETS = ("catalogue", "esci", "home_depot")
GEOMETRIES = ("lorentz", "euclid")
DIMENSIONS = (4, 8, 16, 32, 64)
TRAINING_STEPS = 300
SAMPLED_QUERIES = 1_500  # to train on, of a dataset with more
SAMPLED_TITLES = 10_000


@dataclass(frozen=True)
class GeometryCell:
    """A dataset, a geometry, a dimension and a seed, and the steps of training: keys of the results."""

    data: str
    geometry: str
    dimension: int
    seed: int
    steps: int


def geometry_cell_of_line(line: dict[str, Any]) -> GeometryCell:
    """The cell that a line of results belongs to."""
    return GeometryCell(**{name: line[name] for name in ("data", "geometry", "dimension", "seed", "steps")})


class ContainmentRanker(AnthemRanker):
    """ANTHEM trained and ranking by containment alone: the attention grid has no part in the comparison."""

    only_signal = "containment"

    def loss(self, batch: ListBatch) -> Tensor:
        """The terms of ANTHEM's loss that belong to containment."""
        return self._containment_loss(batch, self._containment_logits(batch.queries, batch.titles))


def train_containment(cell: GeometryCell, parts: ShopSplit) -> ContainmentRanker:
    """Train one cell: the same start, batches and number of steps for every geometry; the last parameters count."""
    plan = TrainingPlan(seed=cell.seed, dimension=cell.dimension, geometry=cell.geometry)
    queries = [query.text for query in parts.train.judged_queries]
    with torch_seed(cell.seed):
        initialised = build_initialised_ranker(parts.train.titles, queries, plan)
        ranker = ContainmentRanker(initialised.vocabulary, initialised.network)
        schedule = TrainingSchedule(steps=cell.steps, validation_interval=cell.steps)
        run_training_loop(ranker, [ListSampler(parts.train, BatchMixture(), cell.seed)], [], schedule)
    fit_query_sizes(ranker, [parts.train])
    return ranker


@cache
def load_shop_split(name: str) -> tuple[Dataset, ShopSplit]:
    """A dataset, and its parts for training and validation; `dev` is not read. A large one is sampled."""
    dataset = generate_catalogue() if name == "catalogue" else read_dataset(benchmark_data_folder() / name, "train")
    parts = prepare_training_parts(dataset, name)
    return dataset, ShopSplit(sample_shop(parts.train, random.Random(0)), parts.validation)


def sample_shop(shop: TrainingShop, rng: random.Random) -> TrainingShop:
    """At most `SAMPLED_QUERIES` judged queries with their products, filled up to `SAMPLED_TITLES` titles."""
    queries = rng.sample(shop.judged_queries, min(SAMPLED_QUERIES, len(shop.judged_queries)))
    if len(queries) == len(shop.judged_queries):
        return shop
    judged = sorted({row for query in queries for row in query.rows})
    others = sorted(set(range(len(shop.titles))) - set(judged))
    rows = judged + rng.sample(others, min(len(others), max(0, SAMPLED_TITLES - len(judged))))
    places = {row: place for place, row in enumerate(rows)}
    moved = [JudgedQuery(query.text, tuple(places[row] for row in query.rows), query.gains) for query in queries]
    return TrainingShop(shop.name, [shop.titles[row] for row in rows], moved)
