"""Chooses weights and a window on some queries, and measures the choice on others: repeated cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from anthem_evaluation.metrics import SIGNIFICANCE_LEVEL, paired_t_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.tune.quality_grid import QualityGrid

GIVEN_UP_GAIN_SHARE = 0.05  # of the largest gain, for a smaller window and smaller weights: it is often chance
SPLIT_REPEATS = 10  # a single split into folds would decide by chance
DETECTION_POWER = 0.8


@dataclass(frozen=True)
class ChosenSetting:
    """Positions of weights and window in a `QualityGrid`."""

    weights: int
    window: int


@dataclass(frozen=True)
class PairedGain:
    """Mean difference of nDCG@10 over the same queries.

    Attributes:
        name: What it is compared with.
        baseline: Mean of what it is compared with.
        mean: Mean of the difference.
        interval: Its 95 % confidence interval; None for fewer than two queries.
        p: Two-sided p-value of the paired t-test.
        wins: Queries that are better.
        losses: Queries that are worse.
        detectable: The smallest mean difference that a test on so many queries, whose differences spread like these,
            finds significant with a probability of 80 %; None if no query differs.
    """

    name: str
    baseline: float
    mean: float
    interval: tuple[float, float] | None
    p: float
    wins: int
    losses: int
    detectable: float | None

    @property
    def is_significant(self) -> bool:
        """Whether it is unlikely to be due to chance."""
        return self.p < SIGNIFICANCE_LEVEL


def choose_setting(
    grid: QualityGrid, queries: NDArray[np.intp], effort: Array, current: ChosenSetting
) -> ChosenSetting:
    """The current setting, or one that gains more than a standard error over it on these queries.

    It is the smallest window, and for it the smallest weights, with 95 % of the largest mean gain over the lexical
    order. `effort (C,)` is how much each set of weights changes.
    """
    best = _best_setting(grid, queries, effort)
    gains = grid.values[queries, best.weights, best.window] - grid.values[queries, current.weights, current.window]
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    return best if gains.mean() > error else current


def _best_setting(grid: QualityGrid, queries: NDArray[np.intp], effort: Array) -> ChosenSetting:
    gain = grid.values[queries].mean(axis=0) - grid.lexical[queries].mean()
    good = gain >= gain.max() - GIVEN_UP_GAIN_SHARE * abs(gain.max())
    window = int(np.argmax(good.any(axis=0)))
    weights = min(np.flatnonzero(good[:, window]), key=lambda number: (effort[number], -gain[number, window]))
    return ChosenSetting(int(weights), window)


def split_folds(queries: int, folds: int, seed: int) -> NDArray[np.intp]:
    """Fold of each query at random, `(Q,)`; the sizes of folds differ by one at most."""
    fold: NDArray[np.intp] = np.random.default_rng(seed).permutation(queries) % folds
    return fold


def held_out_quality(grid: QualityGrid, effort: Array, current: ChosenSetting, folds: int) -> Array:
    """nDCG@10 of each query under what the other folds choose, `(Q,)`; the mean over ten splits into folds."""
    total = np.zeros(len(grid.lexical))
    for repeat in range(SPLIT_REPEATS):
        fold = split_folds(len(total), folds, seed=repeat)
        for number in range(folds):
            held_out = fold == number
            chosen = choose_setting(grid, np.flatnonzero(~held_out), effort, current)
            total[held_out] += grid.values[held_out, chosen.weights, chosen.window]
    return total / SPLIT_REPEATS


def compare_quality(name: str, baseline: Array, changed: Array) -> PairedGain:
    """Gain of one order over another, query by query, `(Q,)` each."""
    differences = np.where(np.abs(changed - baseline) > 1e-12, changed - baseline, 0.0)
    interval, p = paired_t_test(differences)
    return PairedGain(
        name,
        float(baseline.mean()),
        float(differences.mean()),
        interval,
        p,
        int((differences > 0).sum()),
        int((differences < 0).sum()),
        smallest_detectable_gain(differences),
    )


def smallest_detectable_gain(differences: Array) -> float | None:
    """`(t_(n−1; 0.975) + t_(n−1; 0.8))·s/√n`, with the standard deviation s of the n differences; None if s is 0."""
    count = len(differences)
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if not deviation:
        return None
    quantiles = np.asarray(stats.t.ppf([1 - SIGNIFICANCE_LEVEL / 2, DETECTION_POWER], count - 1))
    return float(quantiles.sum() * deviation / np.sqrt(count))
