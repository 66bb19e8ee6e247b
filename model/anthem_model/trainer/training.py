"""From shops to a trained ANTHEM: vocabulary, network, initial parameters, training loop and query sizes."""

from __future__ import annotations

import copy
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
from anthem_model.initialisation.initialise import adapt_to_vectors, align_coordinates, initialise_from_vectors
from anthem_model.initialisation.lsa import lsa_vectors
from anthem_model.initialisation.teacher import embed_texts
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.torch_settings import torch_seed, torch_threads
from anthem_model.trainer.loop import TrainingProgress, run_training_loop
from anthem_model.trainer.query_sizes import fit_query_sizes
from anthem_model.trainer.schedule import TrainingSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.checkpoint import Checkpoint
    from anthem_model.data.training_shop import ShopSplit, TrainingShop
    from anthem_model.initialisation.coordinates import TeacherCoordinates
    from anthem_model.initialisation.teacher import AnyTeacher
    from anthem_model.trainer.resume import ResumeFolder

SALIENCE_PER_IDF = 0.3
TAUGHT_RATE_FACTOR = 0.3  # of containment's learning rates, to keep what a teacher or a base taught
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
    known_trigrams: int = 4000
    known_words: int = 8000
    hash_buckets: int = 2048
    dimension: int = 96
    grid_dimension: int = 32
    hyperboloids: int = 1
    geometry: str = "lorentz"
    threads: int = 1
    shares: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainedAnthem:
    """A trained ranker, its validation nDCG@10 by shop, the step it is from, and the seconds training took.

    `coordinates` map the vectors of the teacher, if there was one, to the dimensions of the model.
    """

    ranker: AnthemRanker
    quality: dict[str, float]
    steps: int
    seconds: float
    coordinates: TeacherCoordinates | None = None


@dataclass(frozen=True)
class TrainingSources:
    """What a training starts from besides shops: a base, a teacher, and general texts that the teacher also reads."""

    base: Checkpoint | None = None
    teacher: AnyTeacher | None = None
    general_texts: Sequence[str] = ()


def train_anthem(
    splits: Sequence[ShopSplit],
    plan: TrainingPlan,
    sources: TrainingSources = TrainingSources(),
    resume: ResumeFolder | None = None,
) -> TrainedAnthem:
    """Train ANTHEM on shops; the same plan, sources and data on the same machine give the same model.

    A base is trained only if there are judgments. A teacher, if there is one, first adapts it to the titles.

    Raises:
        AnthemError: The loss is NaN or infinite.
        DataError: The teacher's vectors are unusable, or the state cannot be written to the resume folder.
    """
    started = time.monotonic()
    with torch_threads(plan.threads), torch_seed(plan.seed):
        shops = [split.train for split in splits]
        ranker, coordinates = prepare_ranker(shops, plan, sources)
        progress = TrainingProgress()
        if sources.base is None or any(shop.judged_queries for shop in shops):
            progress = _run_training(ranker, splits, plan, resume, is_trained=sources.base is not None)
            fit_query_sizes(ranker.cpu(), shops)
        ranker.eval()
        ranker.network.round_tables()
    return TrainedAnthem(ranker, progress.quality, progress.best_step, time.monotonic() - started, coordinates)


def prepare_ranker(
    shops: Sequence[TrainingShop], plan: TrainingPlan, sources: TrainingSources
) -> tuple[AnthemRanker, TeacherCoordinates | None]:
    """The ranker before its training, and the coordinates of the teacher's vectors, if there is a teacher."""
    ranker, coordinates = _build_start(shops, plan, sources)
    if sources.base is not None or sources.teacher is not None:
        ranker.containment_rate_factor = TAUGHT_RATE_FACTOR
    return ranker, coordinates


def _build_start(
    shops: Sequence[TrainingShop], plan: TrainingPlan, sources: TrainingSources
) -> tuple[AnthemRanker, TeacherCoordinates | None]:
    if sources.base is not None:
        return _adapt_base(shops, sources.base, sources)
    titles = [title for shop in shops for title in shop.titles]
    queries = [query.text for shop in shops for query in shop.judged_queries]
    if sources.teacher is None:
        return build_initialised_ranker(titles, queries, plan), None
    ranker = build_ranker(titles, [*queries, *sources.general_texts], plan)
    texts, vectors = embed_texts(shops, sources.teacher, plan.seed, sources.general_texts)
    return ranker, initialise_from_vectors(ranker, texts, vectors, sources.teacher.identity)


def _adapt_base(
    shops: Sequence[TrainingShop], base: Checkpoint, sources: TrainingSources
) -> tuple[AnthemRanker, TeacherCoordinates | None]:
    ranker, teacher = AnthemRanker(base.vocabulary, copy.deepcopy(base.model)), sources.teacher
    if teacher is None:
        return ranker, base.coordinates
    titles = [title for shop in shops for title in shop.titles]
    texts = list(dict.fromkeys([*titles, *sources.general_texts]))
    vectors = teacher.vectors(texts, "titles").astype(np.float32)
    coordinates = base.coordinates
    if coordinates is None or coordinates.identity != teacher.identity:
        coordinates = align_coordinates(ranker, texts, vectors, teacher.identity)
    adapt_to_vectors(ranker, texts, vectors, coordinates)
    return ranker, coordinates


def _run_training(
    ranker: AnthemRanker,
    splits: Sequence[ShopSplit],
    plan: TrainingPlan,
    resume: ResumeFolder | None,
    *,
    is_trained: bool,
) -> TrainingProgress:
    """Train a ranker; one that is trained already is not made worse."""
    if torch.cuda.is_available():
        ranker.cuda()
    samplers = _build_samplers([split.train for split in splits], plan)
    shops = [split.validation for split in splits]
    return run_training_loop(ranker, samplers, shops, plan.schedule, resume, may_keep_start=is_trained)


def build_ranker(titles: Sequence[str], other_texts: Sequence[str], plan: TrainingPlan) -> AnthemRanker:
    """Ranker with the vocabulary of some texts and random parameters, except for the salience in the grid."""
    vocabulary = build_vocabulary(
        [*titles, *other_texts], plan.known_trigrams, plan.hash_buckets, words=plan.known_words
    )
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


def build_initialised_ranker(titles: Sequence[str], queries: Sequence[str], plan: TrainingPlan) -> AnthemRanker:
    """Ranker ready to be trained, initialised from the LSA of the titles."""
    ranker = build_ranker(titles, queries, plan)
    texts = initialisation_texts(titles, queries, random.Random(plan.seed))
    initialise_from_vectors(ranker, texts, lsa_vectors(titles, texts, plan.dimension))
    return ranker


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
    """Set the salience of entities in the grid to 0.3 of their inverse document frequency, `log(N / (1 + df))`."""
    vocabulary = ranker.vocabulary
    document_frequency = torch.zeros(len(vocabulary))
    for title in titles:
        document_frequency[sorted(set(vocabulary.title_ids(title)))] += 1
    idf = torch.log(len(titles) / (1 + document_frequency))
    ranker.network.grid.salience.weight[:] = SALIENCE_PER_IDF * idf[:, None]
