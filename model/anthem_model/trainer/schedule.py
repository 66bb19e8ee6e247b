"""How long and at which learning rate a ranker is trained; imports no torch, because the command line uses it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSchedule:
    """Length and learning rate of a training.

    It ends after `steps` batches or `seconds` of processor time, whichever comes first, and is validated every
    `validation_interval` steps. An exponential moving average of the parameters is validated and kept.
    """

    steps: int = 4000
    seconds: float = math.inf
    learning_rate: float = 3e-3
    validation_interval: int = 250
    averaging_decay: float = 0.99
    warmup_fraction: float = 0.05

    def fraction_done(self, step: int, seconds: float) -> float:
        """Fraction of the training that is done, in [0, 1]."""
        return min(1.0, max(step / self.steps, seconds / self.seconds))

    def rate_factor(self, fraction_done: float) -> float:
        """Factor of the learning rate: a linear warm-up, then half a cosine to 0."""
        return min(1.0, (fraction_done + 1e-3) / self.warmup_fraction) * (1 + math.cos(math.pi * fraction_done)) / 2
