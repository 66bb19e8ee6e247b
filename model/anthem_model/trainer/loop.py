"""The training course of any ranker: seeded, bounded by steps and time, resumable; the best on validation wins."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import geoopt
import torch

from anthem_core.console import progress, stderr
from anthem_core.errors import AnthemError
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.trainer.validation import CandidatePool, build_pools, validate_ranker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.data.training_shop import ShopSplit, TrainingShop
    from anthem_model.ranker import TrainableRanker
    from anthem_model.trainer.resume import ResumeFolder

MAX_VALIDATION_QUERIES = 300  # validation queries a shop during training; calibration takes all


@dataclass(frozen=True)
class TrainingSchedule:
    """How long and how fast: `steps` or seconds of processor time, whichever ends first, validated every so many steps.

    What is kept is the mean of the last steps' parameters, each step forgetting `1 − mean` of it.
    """

    steps: int = 4000
    seconds: float = math.inf
    rate: float = 3e-3
    every: int = 250
    mean: float = 0.99
    warm: float = 0.05

    def done(self, step: int, seconds: float) -> float:
        """Share of the course that lies behind."""
        return min(1.0, max(step / self.steps, seconds / self.seconds))

    def speed(self, done: float) -> float:
        """Share of the full rate: a little while to get going, then half a cosine to 0."""
        return min(1.0, (done + 1e-3) / self.warm) * (1 + math.cos(math.pi * done)) / 2


@dataclass
class TrainingProgress:
    """Where a course stands: steps, processor seconds, the mean of its parameters, and the best of them so far."""

    step: int = 0
    seconds: float = 0.0
    mean: dict[str, torch.Tensor] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_step: int = 0
    quality: dict[str, float] = field(default_factory=dict)

    def offer(self, quality: dict[str, float]) -> None:
        """Keep the mean if nothing before was better on average over shops; without judgments that is the last one."""
        if not self.best or sum(quality.values()) >= sum(self.quality.values()):
            self.best, self.best_step, self.quality = copy.deepcopy(self.mean), self.step, quality


@dataclass(frozen=True)
class ValidationTrial:
    """What a ranker is validated on: a shop and the candidates of its queries."""

    shop: TrainingShop
    asked: list[CandidatePool]

    @classmethod
    def of(cls, shop: TrainingShop) -> ValidationTrial:
        """Trial of a shop's first queries."""
        return cls(shop, build_pools(shop, MAX_VALIDATION_QUERIES))


def train_within_budget(
    ranker: TrainableRanker, parts: ShopSplit, budget_seconds: float, seed: int, mixture: BatchMixture | None = None
) -> TrainableRanker:
    """Train a ranker on one shop within a budget of processor time, by the course that every model gets."""
    torch.manual_seed(seed)
    samplers = [ListSampler(parts.learn, mixture or BatchMixture(), seed)]
    run_training_loop(ranker, samplers, [parts.validate], TrainingSchedule(steps=10**9, seconds=budget_seconds))
    return ranker


def run_training_loop(
    ranker: TrainableRanker,
    samplers: Sequence[ListSampler],
    shops: Sequence[TrainingShop],
    pace: TrainingSchedule,
    resume: ResumeFolder | None = None,
) -> TrainingProgress:
    """Train a ranker on samplers in turn; at the end it has its best parameters and is in inference mode.

    Raises:
        AnthemError: The loss is no number any more.
    """
    trials = [ValidationTrial.of(shop) for shop in shops if shop.judged]
    course = _TrainingLoop(ranker, list(samplers), trials, pace)
    if resume is not None:
        resume.restore(course)
    with progress("training", 1000) as advance:
        shown = int(1000 * course.done)
        advance(shown)  # before the first step, so that a resumed course is no faster for it
        while not course.over:
            value = course.step()
            now = int(1000 * course.done)
            advance(now - shown, course.said(value))
            shown = now
            if course.due:
                course.validate(value)
                if resume is not None:
                    resume.keep(course)
    ranker.load_state_dict(course.progress.best)
    ranker.settle()
    ranker.eval()
    return course.progress


class _TrainingLoop:
    """A course under way: ranker, optimiser and progress, which change with every step."""

    def __init__(
        self,
        ranker: TrainableRanker,
        samplers: list[ListSampler],
        trials: list[ValidationTrial],
        pace: TrainingSchedule,
    ) -> None:
        self.ranker, self.samplers, self.trials, self.pace = ranker, samplers, trials, pace
        self.optimiser = geoopt.optim.RiemannianAdam(ranker.groups(pace.rate), betas=(0.9, 0.99))
        self.rates = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.progress = TrainingProgress(mean=copy.deepcopy(ranker.state_dict()))

    @property
    def done(self) -> float:
        return self.pace.done(self.progress.step, self.progress.seconds)

    @property
    def over(self) -> bool:
        return self.done >= 1

    @property
    def due(self) -> bool:
        return self.over or self.progress.step % self.pace.every == 0

    def state(self) -> dict[str, Any]:
        """All that a resumed course needs."""
        return {
            "ranker": self.ranker.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "progress": vars(self.progress),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken."""
        self.ranker.load_state_dict(state["ranker"])
        self.optimiser.load_state_dict(state["optimiser"])
        for moments in self.optimiser.state.values():
            moments["step"] = int(moments["step"])  # torch makes it a float32 tensor, whose powers round otherwise
        torch.set_rng_state(state["random"])
        self.progress = TrainingProgress(**state["progress"])

    def step(self) -> float:
        """One batch: loss, gradient, parameters, and their mean; the loss is returned."""
        started = time.process_time()
        self.ranker.train()
        place, turns = self.progress.step, len(self.samplers)
        lists = self.samplers[place % turns].lists(place // turns)
        value = self.ranker.loss(lists.to(self.ranker.device))
        if not torch.isfinite(value):
            raise AnthemError("The loss is no number any more. Train again with another --seed, and tell us the data.")
        self.optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
            group["lr"] = rate * self.pace.speed(self.done)
        self.optimiser.step()
        self.ranker.settle()
        self.progress.step += 1
        self._average()
        self.progress.seconds += time.process_time() - started
        return float(value.detach())

    @torch.no_grad()
    def _average(self) -> None:
        """Mean of the parameters, over few steps at first."""
        step = self.progress.step
        share = 1 - min(self.pace.mean, step / (step + 10))
        for name, value in self.ranker.state_dict().items():
            if value.is_floating_point():
                self.progress.mean[name].lerp_(value, share)

    def validate(self, value: float) -> None:
        """Measure the mean of the parameters, not the parameters of the moment, and offer it."""
        now = copy.deepcopy(self.ranker.state_dict())
        self.ranker.load_state_dict(self.progress.mean)
        self.ranker.settle()
        self.ranker.eval()
        quality = {trial.shop.name: validate_ranker(self.ranker, trial.shop, trial.asked) for trial in self.trials}
        self.ranker.load_state_dict(now)
        self.progress.offer(quality)
        shown = ", ".join(f"{name} {found:.4f}" for name, found in quality.items()) or "nothing judged"
        stderr.print(f"step {self.progress.step}: loss {value:.3f}, validation nDCG@10: {shown}")

    def said(self, value: float) -> str:
        """Loss of the moment and the best validation nDCG@10 by now, for the bar."""
        best = ", ".join(f"{found:.3f}" for found in self.progress.quality.values())
        return f"loss {value:.2f}" + (f", nDCG@10 {best}" if best else "")
