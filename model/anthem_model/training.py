"""From shops to a trained ANTHEM: vocabulary, network, samplers, course."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from anthem_core.text import build_vocabulary
from anthem_model.anthem import AnthemRanker
from anthem_model.course import Pace, run
from anthem_model.latent import latent
from anthem_model.lists import Mixture, Sampler
from anthem_model.network import Anthem, Shape
from anthem_model.pseudo import readable
from anthem_model.sizing import fit_sizes
from anthem_model.start import start
from anthem_model.teacher import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.text import Vocabulary
    from anthem_model.resume import Resume
    from anthem_model.shop import Parts, Shop
    from anthem_model.teacher import Teacher, Vectors


@dataclass(frozen=True)
class Plan:
    """What decides which model a training gives, and how long it takes.

    No judged query is seen much more than `passes` times: where there are few, the model would learn them by heart.
    Several `threads` round sums otherwise, which changes the model.
    """

    seed: int = 0
    pace: Pace = field(default_factory=Pace)
    mixture: Mixture = field(default_factory=Mixture)
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
class Trained:
    """A trained ranker, its validation nDCG@10 by shop, and the steps and seconds it took."""

    ranker: AnthemRanker
    quality: dict[str, float]
    steps: int
    seconds: float


def train(parts: Sequence[Parts], plan: Plan, teacher: Teacher | None = None, resume: Resume | None = None) -> Trained:
    """Train ANTHEM on shops; the same seed on the same machine gives the same model."""
    began = time.monotonic()
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    shops = [part.learn for part in parts]
    titles = [title for shop in shops for title in shop.titles]
    queries = [query.text for shop in shops for query in shop.judged]
    ranker = started(titles, queries, plan, _taught(shops, teacher, plan) if teacher else None)
    if torch.cuda.is_available():
        ranker = ranker.cuda()
    samplers = _samplers(shops, plan)
    course = run(ranker, samplers, [part.validate for part in parts], plan.pace, resume)
    fit_sizes(ranker.cpu(), shops)
    ranker.network.round()
    return Trained(ranker, course.quality, course.best_step, time.monotonic() - began)


def fresh(titles: Sequence[str], queries: Sequence[str], plan: Plan) -> AnthemRanker:
    """Ranker with the vocabulary of some texts at random places; salience in the grid is rarity in the titles."""
    vocabulary = build_vocabulary([*titles, *queries], plan.known, plan.buckets)
    shape = Shape(
        len(vocabulary),
        dimension=plan.dimension,
        hyperboloids=plan.hyperboloids,
        grid=plan.grid,
        places=vocabulary.title_limit,
        geometry=plan.geometry,
    )
    ranker = AnthemRanker(vocabulary, Anthem(shape))
    rarity(ranker, titles)
    return ranker


def started(
    titles: Sequence[str], queries: Sequence[str], plan: Plan, taught: tuple[list[str], Vectors] | None = None
) -> AnthemRanker:
    """Ranker ready to be trained: trigrams stand where a teacher's reading puts them, or the catalogue alone."""
    ranker = fresh(titles, queries, plan)
    if taught:
        start(ranker, *taught)
    else:
        texts = readable(titles, queries, random.Random(plan.seed))
        start(ranker, texts, latent(titles, texts, plan.dimension))
    return ranker


def _taught(shops: Sequence[Shop], teacher: Teacher, plan: Plan) -> tuple[list[str], Vectors]:
    """Texts of all shops, and the teacher's vectors."""
    found = [read(shop, teacher, random.Random(plan.seed)) for shop in shops]
    return [text for texts, _ in found for text in texts], np.concatenate([vectors for _, vectors in found])


def _samplers(shops: Sequence[Shop], plan: Plan) -> list[Sampler]:
    """Samplers to draw from in turn, each shop's as often as its share."""
    shares = plan.shares or (1,) * len(shops)
    samplers = []
    for place, (shop, share) in enumerate(zip(shops, shares, strict=True)):
        steps = min(plan.pace.steps, 10_000)
        wanted = math.ceil(plan.passes * len(shop.judged) * sum(shares) / share / steps)
        mixture = plan.mixture.limited(wanted)
        samplers += [Sampler(shop, mixture, plan.seed + 1000 * place + copy) for copy in range(share)]
    return samplers


@torch.no_grad()
def rarity(ranker: AnthemRanker, texts: Sequence[str]) -> None:
    """Start a trigram's salience in the grid at a share of its inverse document frequency, `log(N / (1 + df))`."""
    vocabulary: Vocabulary = ranker.vocabulary
    frequency = torch.zeros(len(vocabulary))
    for text in texts:
        frequency[sorted(set(vocabulary.title_ids(text)))] += 1
    rare = torch.log(len(texts) / (1 + frequency))
    ranker.network.grid.salience.weight[:] = 0.3 * rare[:, None]
