"""From shops to a trained ANTHEM: vocabulary, network, initial parameters, training loop and query sizes."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from anthem_core.encoding.tokenizer import build_vocabulary
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.data.pseudo_queries import initialisation_texts
from anthem_model.initialisation.initialise import initialise_from_vectors
from anthem_model.initialisation.lsa import lsa_vectors
from anthem_model.initialisation.teacher import embed_shop
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.torch_settings import torch_seed, torch_threads
from anthem_model.trainer.loop import TrainingProgress, run_training_loop
from anthem_model.trainer.query_sizes import fit_query_sizes
from anthem_model.trainer.schedule import TrainingSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.data.training_shop import ShopSplit, TrainingShop
    from anthem_model.initialisation.teacher import Teacher, TeacherVectors
    from anthem_model.trainer.resume import ResumeFolder

SALIENCE_PER_IDF = 0.3
MAX_COUNTED_STEPS = 10_000  # a longer training repeats judged queries more often than `max_passes`


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that the trained model depends on besides the data.

    Judged queries are repeated about `max_passes` times at most; a model would memorise a few queries repeated more
    often. With several `threads`, floats are added in another order, which changes the model. `shares` are the relative
    numbers of batches from each shop, by default equal.
    """

    seed: int = 0
    schedule: TrainingSchedule = field(default_factory=TrainingSchedule)
    mixture: BatchMixture = field(default_factory=BatchMixture)
    max_passes: int = 30
    known_trigrams: int = 6000
    hash_buckets: int = 2192
    dimension: int = 64
    grid_dimension: int = 32
    hyperboloids: int = 2
    geometry: str = "lorentz"
    threads: int = 1
    shares: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainedAnthem:
    """A trained ranker, its validation nDCG@10 by shop, the step it is from, and the seconds training took."""

    ranker: AnthemRanker
    quality: dict[str, float]
    steps: int
    seconds: float


def train_anthem(
    splits: Sequence[ShopSplit], plan: TrainingPlan, teacher: Teacher | None = None, resume: ResumeFolder | None = None
) -> TrainedAnthem:
    """Train ANTHEM on shops; the same plan and data on the same machine give the same model.

    Raises:
        AnthemError: The loss is NaN or infinite.
        DataError: The teacher's vectors are unusable, or the state cannot be written to the resume folder.
    """
    started = time.monotonic()
    with torch_threads(plan.threads), torch_seed(plan.seed):
        ranker, progress = _train_ranker(splits, plan, teacher, resume)
    return TrainedAnthem(ranker, progress.quality, progress.best_step, time.monotonic() - started)


def _train_ranker(
    splits: Sequence[ShopSplit], plan: TrainingPlan, teacher: Teacher | None, resume: ResumeFolder | None
) -> tuple[AnthemRanker, TrainingProgress]:
    shops = [split.train for split in splits]
    titles = [title for shop in shops for title in shop.titles]
    queries = [query.text for shop in shops for query in shop.judged_queries]
    teacher_vectors = _embed_shops(shops, teacher, plan) if teacher else None
    ranker = build_initialised_ranker(titles, queries, plan, teacher_vectors)
    if torch.cuda.is_available():
        ranker = ranker.cuda()
    samplers = _build_samplers(shops, plan)
    progress = run_training_loop(ranker, samplers, [split.validation for split in splits], plan.schedule, resume)
    fit_query_sizes(ranker.cpu(), shops)
    ranker.network.round_tables()
    return ranker, progress


def build_ranker(titles: Sequence[str], queries: Sequence[str], plan: TrainingPlan) -> AnthemRanker:
    """Ranker with the vocabulary of some texts and random parameters, except for the salience in the grid."""
    vocabulary = build_vocabulary([*titles, *queries], plan.known_trigrams, plan.hash_buckets)
    shape = ModelShape(
        len(vocabulary),
        dimension=plan.dimension,
        hyperboloids=plan.hyperboloids,
        grid=plan.grid_dimension,
        places=vocabulary.title_limit,
        geometry=plan.geometry,
    )
    ranker = AnthemRanker(vocabulary, Anthem(shape))
    initialise_salience(ranker, titles)
    return ranker


def build_initialised_ranker(
    titles: Sequence[str],
    queries: Sequence[str],
    plan: TrainingPlan,
    teacher_vectors: tuple[list[str], TeacherVectors] | None = None,
) -> AnthemRanker:
    """Ranker ready to be trained, initialised from a teacher's vectors of texts, or from the LSA of the titles."""
    ranker = build_ranker(titles, queries, plan)
    if teacher_vectors:
        initialise_from_vectors(ranker, *teacher_vectors)
    else:
        texts = initialisation_texts(titles, queries, random.Random(plan.seed))
        initialise_from_vectors(ranker, texts, lsa_vectors(titles, texts, plan.dimension))
    return ranker


def _embed_shops(
    shops: Sequence[TrainingShop], teacher: Teacher, plan: TrainingPlan
) -> tuple[list[str], TeacherVectors]:
    """Texts of all shops and their teacher vectors."""
    embedded = [embed_shop(shop, teacher, random.Random(plan.seed)) for shop in shops]
    return [text for texts, _ in embedded for text in texts], np.concatenate([vectors for _, vectors in embedded])


def _build_samplers(shops: Sequence[TrainingShop], plan: TrainingPlan) -> list[ListSampler]:
    """Samplers that batches are drawn from in turn, as many for each shop as its share."""
    shares = plan.shares or (1,) * len(shops)
    steps = min(plan.schedule.steps, MAX_COUNTED_STEPS)
    samplers = []
    for number, (shop, share) in enumerate(zip(shops, shares, strict=True)):
        max_judged = math.ceil(plan.max_passes * len(shop.judged_queries) * sum(shares) / share / steps)
        mixture = plan.mixture.limit_judged(max_judged)
        samplers += [ListSampler(shop, mixture, plan.seed + 1000 * number + copy) for copy in range(share)]
    return samplers


@torch.no_grad()
def initialise_salience(ranker: AnthemRanker, titles: Sequence[str]) -> None:
    """Set the salience of trigrams in the grid to 0.3 of their inverse document frequency, `log(N / (1 + df))`."""
    vocabulary = ranker.vocabulary
    document_frequency = torch.zeros(len(vocabulary))
    for title in titles:
        document_frequency[sorted(set(vocabulary.title_ids(title)))] += 1
    idf = torch.log(len(titles) / (1 + document_frequency))
    ranker.network.grid.salience.weight[:] = SALIENCE_PER_IDF * idf[:, None]
