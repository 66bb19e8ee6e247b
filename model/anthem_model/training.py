"""The training loop: seeded, bounded by steps or minutes; the best model on the validation part wins."""

from __future__ import annotations

import copy
import math
import random
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any

import geoopt
import torch

from anthem_core.console import err, progress
from anthem_core.errors import AnthemError
from anthem_core.text import build_vocabulary
from anthem_model.batches import Sampler
from anthem_model.losses import loss
from anthem_model.network import Anthem, Shape
from anthem_model.validation import pool_ndcg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.text import Vocabulary
    from anthem_model.batches import Batch
    from anthem_model.shop import Parts, Shop

MOST_JUDGED = 16


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    `steps` decides, `minutes` only cuts short; no judged query is seen much more than `passes` times: there are few of
    them, and the model would learn them by heart. Several `threads` round sums otherwise, which changes the model.
    """

    seed: int = 0
    steps: int = 4000
    minutes: float = math.inf
    rate: float = 5e-3
    passes: int = 30
    every: int = 250
    known: int = 6000
    buckets: int = 2192
    dimension: int = 64
    hyperboloids: int = 2
    threads: int = 1
    shares: tuple[int, ...] = ()  # how often each shop is drawn from, in their order; all alike where none are given


@dataclass
class Best:
    """The best model so far by mean validation nDCG@10: its weights, its quality by shop, and when it was met."""

    mean: float = -1.0
    step: int = 0
    quality: dict[str, float] = field(default_factory=dict)
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def offer(self, model: Anthem, quality: dict[str, float], step: int) -> None:
        """Keep the model if nothing before was better; without judgments that is the last one."""
        mean = sum(quality.values()) / max(len(quality), 1)
        if mean >= self.mean:
            self.mean, self.step, self.quality = mean, step, quality
            self.state = copy.deepcopy(model.state_dict())


@dataclass(frozen=True)
class Trained:
    """A trained model with its vocabulary, its validation nDCG@10 by shop, and the steps and seconds it took."""

    model: Anthem
    vocabulary: Vocabulary
    quality: dict[str, float]
    steps: int
    seconds: float


def train(parts: Sequence[Parts], plan: Plan) -> Trained:
    """Train ANTHEM on shops; the same seed on the same machine gives the same model."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    shops, trials = [part.learn for part in parts], [part.validate for part in parts if part.validate.judged]
    texts = [title for shop in shops for title in shop.titles]
    queries = [query.text for shop in shops for query in shop.judged]
    vocabulary = build_vocabulary(texts + queries, plan.known, plan.buckets)
    model = Anthem(Shape(len(vocabulary), plan.dimension, plan.hyperboloids))
    rarity(model, vocabulary, texts)
    started = time.monotonic()
    batches = cycle(_streams(shops, vocabulary, plan))
    best = _learn(model, vocabulary, batches, trials, plan, started + 60 * plan.minutes)
    model.load_state_dict(best.state)
    model.eval()
    return Trained(model, vocabulary, best.quality, best.step, time.monotonic() - started)


def _learn(
    model: Anthem,
    vocabulary: Vocabulary,
    streams: Iterator[Iterator[Batch]],
    trials: Sequence[Shop],
    plan: Plan,
    until: float,
) -> Best:
    groups = parameter_groups(model, plan.rate)
    optimiser = geoopt.optim.RiemannianAdam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pace(step / plan.steps))
    best = Best()
    with progress("training", plan.steps) as advance:
        for step in range(1, plan.steps + 1):
            value = _step(model, next(next(streams)), optimiser)
            schedule.step()
            advance(1)
            last = step == plan.steps or time.monotonic() > until
            if last or step % plan.every == 0:
                best.offer(model, _validated(model, vocabulary, trials, step, value), step)
            if last:
                break
    return best


def _step(model: Anthem, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    model.train()
    value = loss(model, batch)
    optimiser.zero_grad()
    if not torch.isfinite(value):
        raise AnthemError("The loss is no number any more. Train again with another --seed, and tell us the data.")
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    model.entities.settle()
    return float(value.detach())


def _validated(
    model: Anthem, vocabulary: Vocabulary, trials: Sequence[Shop], step: int, value: float
) -> dict[str, float]:
    model.eval()
    quality = {shop.name: pool_ndcg(model, vocabulary, shop) for shop in trials}
    shown = ", ".join(f"{name} {found:.4f}" for name, found in quality.items()) or "nothing judged"
    err.print(f"step {step}: loss {value:.3f}, validation nDCG@10: {shown}")
    return quality


def pace(done: float, warm: float = 0.1) -> float:
    """Share of the full step size when a share of the steps is done: a tenth to get going, then half a cosine to 0."""
    return min(1.0, (done + 1e-2) / warm) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def parameter_groups(model: Anthem, rate: float) -> list[dict[str, Any]]:
    """Entities on the manifold apart from all else: RiemannianAdam moves a point by its rate, not each coordinate.

    Twice the rate of the rest, not √D times: faster, the table learns its titles by heart.
    """
    entities = model.entities.points
    others = [parameter for parameter in model.parameters() if parameter is not entities]
    return [{"params": [entities], "lr": rate * 2}, {"params": others, "lr": rate}]


def _streams(shops: Sequence[Shop], vocabulary: Vocabulary, plan: Plan) -> list[Iterator[Batch]]:
    """Streams of batches to draw from in turn, each shop's as often as its share."""
    shares = plan.shares or (1,) * len(shops)
    streams = []
    for place, (shop, share) in enumerate(zip(shops, shares, strict=True)):
        wanted = math.ceil(plan.passes * len(shop.judged) * sum(shares) / share / plan.steps)
        sampler = Sampler(shop, vocabulary, random.Random(plan.seed + place), judged=min(MOST_JUDGED, wanted))
        streams += [sampler.batches()] * share
    return streams


@torch.no_grad()
def rarity(model: Anthem, vocabulary: Vocabulary, texts: Sequence[str]) -> None:
    """Start every trigram's salience at half its inverse document frequency, `½·log(N / (1 + df))`."""
    frequency = torch.zeros(len(vocabulary))
    for text in texts:
        frequency[sorted(set(vocabulary.title_ids(text)))] += 1
    model.entities.salience.weight[:, 0] = 0.5 * torch.log(len(texts) / (1 + frequency))
