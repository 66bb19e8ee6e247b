"""From shops to a trained ANTHEM: vocabulary, network, samplers, course."""

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
from anthem_model.trainer.loop import TrainingSchedule, run_training_loop
from anthem_model.trainer.query_sizes import fit_query_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_model.data.training_shop import ShopSplit, TrainingShop
    from anthem_model.initialisation.teacher import Teacher, TeacherVectors
    from anthem_model.trainer.resume import ResumeFolder


@dataclass(frozen=True)
class TrainingPlan:
    """What decides which model a training gives, and how long it takes.

    No judged query is seen much more than `passes` times: where there are few, the model would learn them by heart.
    Several `threads` round sums otherwise, which changes the model.
    """

    seed: int = 0
    pace: TrainingSchedule = field(default_factory=TrainingSchedule)
    mixture: BatchMixture = field(default_factory=BatchMixture)
    passes: int = 30
    known: int = 6000
    buckets: int = 2192
    dimension: int = 64
    grid: int = 32
    hyperboloids: int = 2
    geometry: str = "lorentz"
    threads: int = 1
    shares: tuple[int, ...] = ()  # how often each shop is drawn from, in their order; all alike where none are given


@dataclass(frozen=True)
class TrainedAnthem:
    """A trained ranker, its validation nDCG@10 by shop, and the steps and seconds it took."""

    ranker: AnthemRanker
    quality: dict[str, float]
    steps: int
    seconds: float


def train_anthem(
    parts: Sequence[ShopSplit], plan: TrainingPlan, teacher: Teacher | None = None, resume: ResumeFolder | None = None
) -> TrainedAnthem:
    """Train ANTHEM on shops; the same seed on the same machine gives the same model."""
    began = time.monotonic()
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    shops = [part.learn for part in parts]
    titles = [title for shop in shops for title in shop.titles]
    queries = [query.text for shop in shops for query in shop.judged]
    ranker = build_initialised_ranker(titles, queries, plan, _embed_shops(shops, teacher, plan) if teacher else None)
    if torch.cuda.is_available():
        ranker = ranker.cuda()
    samplers = _build_samplers(shops, plan)
    course = run_training_loop(ranker, samplers, [part.validate for part in parts], plan.pace, resume)
    fit_query_sizes(ranker.cpu(), shops)
    ranker.network.round()
    return TrainedAnthem(ranker, course.quality, course.best_step, time.monotonic() - began)


def build_ranker(titles: Sequence[str], queries: Sequence[str], plan: TrainingPlan) -> AnthemRanker:
    """Ranker with the vocabulary of some texts at random places; salience in the grid is rarity in the titles."""
    vocabulary = build_vocabulary([*titles, *queries], plan.known, plan.buckets)
    shape = ModelShape(
        len(vocabulary),
        dimension=plan.dimension,
        hyperboloids=plan.hyperboloids,
        grid=plan.grid,
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
    taught: tuple[list[str], TeacherVectors] | None = None,
) -> AnthemRanker:
    """Ranker ready to be trained: trigrams stand where a teacher's reading puts them, or the catalogue alone."""
    ranker = build_ranker(titles, queries, plan)
    if taught:
        initialise_from_vectors(ranker, *taught)
    else:
        texts = initialisation_texts(titles, queries, random.Random(plan.seed))
        initialise_from_vectors(ranker, texts, lsa_vectors(titles, texts, plan.dimension))
    return ranker


def _embed_shops(
    shops: Sequence[TrainingShop], teacher: Teacher, plan: TrainingPlan
) -> tuple[list[str], TeacherVectors]:
    """Texts of all shops, and the teacher's vectors."""
    found = [embed_shop(shop, teacher, random.Random(plan.seed)) for shop in shops]
    return [text for texts, _ in found for text in texts], np.concatenate([vectors for _, vectors in found])


def _build_samplers(shops: Sequence[TrainingShop], plan: TrainingPlan) -> list[ListSampler]:
    """Samplers to draw from in turn, each shop's as often as its share."""
    shares = plan.shares or (1,) * len(shops)
    samplers = []
    for place, (shop, share) in enumerate(zip(shops, shares, strict=True)):
        steps = min(plan.pace.steps, 10_000)
        wanted = math.ceil(plan.passes * len(shop.judged) * sum(shares) / share / steps)
        mixture = plan.mixture.limited(wanted)
        samplers += [ListSampler(shop, mixture, plan.seed + 1000 * place + copy) for copy in range(share)]
    return samplers


@torch.no_grad()
def initialise_salience(ranker: AnthemRanker, texts: Sequence[str]) -> None:
    """Start a trigram's salience in the grid at a share of its inverse document frequency, `log(N / (1 + df))`."""
    vocabulary: Vocabulary = ranker.vocabulary
    frequency = torch.zeros(len(vocabulary))
    for text in texts:
        frequency[sorted(set(vocabulary.title_ids(text)))] += 1
    rare = torch.log(len(texts) / (1 + frequency))
    ranker.network.grid.salience.weight[:] = 0.3 * rare[:, None]
