"""The training loop of any ranker: bounded by steps and processor time, resumable; the best validated average wins."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from anthem_core.console import progress, stderr
from anthem_core.errors import AnthemError
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.geometry.riemannian import build_optimiser
from anthem_model.torch_settings import torch_seed
from anthem_model.trainer.schedule import TrainingSchedule
from anthem_model.trainer.validation import CandidatePool, build_pools, validate_ranker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_model.data.training_shop import ShopSplit, TrainingShop
    from anthem_model.ranker import TrainableRanker
    from anthem_model.trainer.resume import ResumeFolder

MAX_VALIDATION_QUERIES = 300  # per shop during training; calibration uses more
AVERAGING_WARMUP_STEPS = 10  # the average forgets faster while it contains few steps
PROGRESS_BAR_STEPS = 1000


@dataclass
class TrainingProgress:
    """Steps and processor seconds so far, and the best validated parameters with their step and nDCG@10 by shop."""

    step: int = 0
    seconds: float = 0.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_step: int = 0
    quality: dict[str, float] = field(default_factory=dict)

    def offer(self, quality: dict[str, float], parameters: Mapping[str, torch.Tensor]) -> None:
        """Keep a copy of the parameters unless earlier ones have a better mean quality; without judgments, always."""
        if not self.best or sum(quality.values()) >= sum(self.quality.values()):
            self.best, self.best_step, self.quality = copy.deepcopy(dict(parameters)), self.step, quality


@dataclass(frozen=True)
class ValidationTrial:
    """A shop and the candidates of the queries that a ranker is validated on."""

    shop: TrainingShop
    pools: list[CandidatePool]

    @classmethod
    def for_shop(cls, shop: TrainingShop) -> ValidationTrial:
        """Trial of the first judged queries of a shop."""
        return cls(shop, build_pools(shop, MAX_VALIDATION_QUERIES))


def train_within_budget(
    ranker: TrainableRanker, split: ShopSplit, budget_seconds: float, seed: int, *, may_keep_start: bool = False
) -> TrainableRanker:
    """Train a ranker on one shop for a number of processor seconds, with the default schedule."""
    with torch_seed(seed):
        samplers = [ListSampler(split.train, BatchMixture(), seed)]
        schedule = TrainingSchedule(steps=10**9, seconds=budget_seconds)
        run_training_loop(ranker, samplers, [split.validation], schedule, may_keep_start=may_keep_start)
    return ranker


def run_training_loop(
    ranker: TrainableRanker,
    samplers: Sequence[ListSampler],
    validation_shops: Sequence[TrainingShop],
    schedule: TrainingSchedule,
    resume: ResumeFolder | None = None,
    *,
    may_keep_start: bool = False,
) -> TrainingProgress:
    """Train a ranker on batches from the samplers in turn; afterwards it has its best parameters, in inference mode.

    With `may_keep_start`, these are the initial ones unless some later ones validate better.

    Raises:
        AnthemError: The loss is NaN or infinite.
    """
    trials = [ValidationTrial.for_shop(shop) for shop in validation_shops if shop.judged_queries]
    loop = _TrainingLoop(ranker, list(samplers), trials, schedule)
    if resume is not None:
        resume.restore(loop)
    if may_keep_start and loop.progress.step == 0:
        loop.offer_start()
    with progress("training", PROGRESS_BAR_STEPS) as advance:
        bar = int(PROGRESS_BAR_STEPS * loop.fraction_done)
        advance(bar)  # before the first step, so that the estimate of the remaining time ignores resumed steps
        while not loop.is_over:
            loss = loop.step()
            reached = int(PROGRESS_BAR_STEPS * loop.fraction_done)
            advance(reached - bar, loop.status(loss))
            bar = reached
            if loop.is_validation_due:
                loop.validate(loss)
                if resume is not None:
                    resume.save(loop)
    ranker.load_state_dict(loop.progress.best)
    ranker.project_parameters()
    ranker.eval()
    return loop.progress


def average_parameters(ranker: TrainableRanker, decay: float) -> AveragedModel:
    """Moving average of a ranker's parameters, `mean ← w·mean + (1 − w)·value`, at step n `w = min(decay, n/(n + 10))`.

    A parameter that several modules share, like ANTHEM's entities, is averaged once per module and step. It therefore
    forgets faster than the others; the shipped bundle was trained this way.
    """
    averaged = AveragedModel(ranker)
    uses = Counter(mean.data_ptr() for _, mean in averaged.module.named_parameters(remove_duplicate=False))

    def update(means: Sequence[torch.Tensor], values: Sequence[torch.Tensor], count: torch.Tensor | int) -> None:
        step = int(count)
        weight = 1 - min(decay, step / (step + AVERAGING_WARMUP_STEPS))
        for mean, value in zip(means, values, strict=True):
            for _ in range(uses[mean.data_ptr()]):
                mean.lerp_(value, weight)

    averaged.multi_avg_fn = update
    averaged.update_parameters(ranker)  # the first call copies the parameters
    return averaged


class _TrainingLoop:
    """A training in progress: ranker, optimiser, scheduler, averaged parameters and progress change with every step."""

    def __init__(
        self,
        ranker: TrainableRanker,
        samplers: list[ListSampler],
        trials: list[ValidationTrial],
        schedule: TrainingSchedule,
    ) -> None:
        self.ranker, self.samplers, self.trials, self.schedule = ranker, samplers, trials, schedule
        self.progress = TrainingProgress()
        self.optimiser = build_optimiser(ranker.parameter_groups(schedule.learning_rate))
        # The factor depends on steps and processor time, so the scheduler's own count of steps is ignored.
        self.scheduler = LambdaLR(self.optimiser, lambda _: schedule.rate_factor(self.fraction_done))
        self.averaged = average_parameters(ranker, schedule.averaging_decay)

    @property
    def fraction_done(self) -> float:
        return self.schedule.fraction_done(self.progress.step, self.progress.seconds)

    @property
    def is_over(self) -> bool:
        return self.fraction_done >= 1

    @property
    def is_validation_due(self) -> bool:
        return self.is_over or self.progress.step % self.schedule.validation_interval == 0

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training needs."""
        return {
            "ranker": self.ranker.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "averaged": self.averaged.state_dict(),
            "random": torch.get_rng_state(),
            "progress": vars(self.progress),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.ranker.load_state_dict(state["ranker"])
        self.optimiser.load_state_dict(state["optimiser"])
        for moments in self.optimiser.state.values():
            moments["step"] = int(moments["step"])  # torch makes it a float32 tensor, whose powers round differently
        self.scheduler.load_state_dict(state["scheduler"])
        self.averaged.load_state_dict(state["averaged"])
        torch.set_rng_state(state["random"])
        self.progress = TrainingProgress(**state["progress"])

    def step(self) -> float:
        """Train on one batch and return its loss."""
        started = time.process_time()
        self.ranker.train()
        turn, sampler = divmod(self.progress.step, len(self.samplers))
        batch = self.samplers[sampler].batch(turn)
        loss = self.ranker.loss(batch.to(self.ranker.device))
        if not torch.isfinite(loss):
            raise AnthemError("The loss is NaN or infinite. Retry with another --seed and report the problem.")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
        self.optimiser.step()
        self.ranker.project_parameters()
        self.averaged.update_parameters(self.ranker)
        self.progress.step += 1
        self.progress.seconds += time.process_time() - started
        self.scheduler.step()
        return float(loss.detach())

    def offer_start(self) -> None:
        """Keep the initial parameters as the best so far, so that a training does not end worse than it starts."""
        if self.trials:
            self.progress.offer(self._measure(), self.ranker.state_dict())

    def validate(self, loss: float) -> None:
        """Validate the averaged parameters and keep them if they are the best so far."""
        current = copy.deepcopy(self.ranker.state_dict())
        averaged = self.averaged.module.state_dict()
        self.ranker.load_state_dict(averaged)
        self.ranker.project_parameters()
        quality = self._measure()
        self.ranker.load_state_dict(current)
        self.progress.offer(quality, averaged)
        values = ", ".join(f"{name} {ndcg:.4f}" for name, ndcg in quality.items()) or "no judgments"
        stderr.print(f"step {self.progress.step}: loss {loss:.3f}, validation nDCG@10: {values}")

    def _measure(self) -> dict[str, float]:
        """Validation nDCG@10 by shop."""
        self.ranker.eval()
        return {trial.shop.name: validate_ranker(self.ranker, trial.shop, trial.pools) for trial in self.trials}

    def status(self, loss: float) -> str:
        """Current loss and best validation nDCG@10 so far, for the progress bar."""
        best = ", ".join(f"{ndcg:.3f}" for ndcg in self.progress.quality.values())
        return f"loss {loss:.2f}" + (f", nDCG@10 {best}" if best else "")
