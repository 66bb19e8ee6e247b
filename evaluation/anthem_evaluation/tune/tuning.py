"""The tuning of an index: what is measured, and whether other weights than the current ones are worth it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from anthem_core.errors import DataError
from anthem_evaluation.tune.choice import ChosenSetting, choose_setting, compare_quality, held_out_quality
from anthem_evaluation.tune.grid import WEIGHT_RATIOS, SignalSpread, weight_grid
from anthem_evaluation.tune.quality_grid import NDCG_DEPTH, QualityGrid, measure_grid
from anthem_plugin.search.request import list_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthem_core.fusion import FusionWeights
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.tune.candidates import CandidateList
    from anthem_evaluation.tune.choice import PairedGain
    from anthem_plugin.scoring.params import ScoringParams, Signals

TRIED_WINDOWS = (10, 20, 50, 100, 200, 500, 1000)
MIN_INFORMATIVE_QUERIES = 20


@dataclass(frozen=True)
class WindowPoint:
    """Gain over the lexical order in a window: of weights chosen for it, held out, and of the current weights."""

    window: int
    gain: float
    interval: tuple[float, float] | None
    current: float


@dataclass(frozen=True)
class WeightPoint:
    """Gain of weights over the lexical order on all queries, those that they were chosen on included.

    `containment` and `attention` are weights per standard deviation of the signal; of the offsets the best one counts.
    """

    containment: float
    attention: float
    gain: float


@dataclass(frozen=True)
class TuningResult:
    """What `anthem tune` found; the field names are keys of its JSON.

    Attributes:
        decision: `tuned` if the chosen weights and window are worth a new bundle, otherwise `kept`.
        signals: Signals of the index, the lexical score included.
        queries: Number of judged queries.
        informative: Number of those that can show a difference, see `is_informative`.
        judged_only: Whether unjudged products were left out of the lists.
        judged_share: Share of the first ten lexical hits that are judged.
        folds: Number of folds of each split.
        against_lexical: Held-out gain of the tuned weights and window over the lexical order.
        against_current: Held-out gain over the current weights and window.
        current_against_lexical: Gain of the current weights and window over the lexical order.
        weights: The chosen weights.
        window: The chosen window.
        ratios: The chosen weights of containment and attention per standard deviation of the signal.
        expected: nDCG@10 of all queries with the chosen weights and window, as `anthem evaluate` measures it.
        current_weights: The bundle's weights.
        current_window: The bundle's window.
        window_curve: Gain by window.
        weight_map: Gain by weights in the chosen window.
    """

    decision: Literal["tuned", "kept"]
    signals: tuple[str, ...]
    queries: int
    informative: int
    judged_only: bool
    judged_share: float
    folds: int
    against_lexical: PairedGain
    against_current: PairedGain
    current_against_lexical: PairedGain
    weights: FusionWeights
    window: int
    ratios: tuple[float, float]
    expected: float
    current_weights: FusionWeights
    current_window: int
    window_curve: tuple[WindowPoint, ...]
    weight_map: tuple[WeightPoint, ...]


@dataclass(frozen=True)
class TuningPlan:
    """The candidates, how they are scored now, and what is tried."""

    candidates: Sequence[CandidateList]
    scoring: ScoringParams
    signals: Signals
    current_window: int
    windows: tuple[int, ...]
    folds: int
    judged_only: bool = False


def tuning_windows(current: int, largest: int) -> tuple[int, ...]:
    """The windows that are tried, ascending: the current one, and usual ones up to the largest."""
    return tuple(sorted({current, *(window for window in TRIED_WINDOWS if window <= largest)}))


def is_informative(candidates: CandidateList) -> bool:
    """Whether the order of the hits counts: two hits or more, with a relevant one and one of another grade."""
    gains = np.maximum(np.nan_to_num(candidates.grades), 0)
    return bool(len(gains) > 1 and gains.max() > gains.min())


def tune_candidates(plan: TuningPlan, advance: Callable[[int], object] = lambda _: None) -> TuningResult:
    """Choose weights and window, and decide by held-out queries whether to change the current ones.

    They change only if the gain over the current ones is significant, and if they do not lose to the lexical order.

    Raises:
        DataError: There are too few informative queries to choose by.
    """
    informative = sum(map(is_informative, plan.candidates))
    _check_number(informative, len(plan.candidates), max(plan.windows))
    spread = SignalSpread.of(plan.candidates)
    current = plan.scoring.fusion_for(plan.signals)
    fusions = weight_grid(spread, plan.signals, current)
    grid = measure_grid(
        plan.candidates,
        plan.scoring,
        plan.signals,
        fusions,
        plan.windows,
        judged_only=plan.judged_only,
        advance=advance,
    )
    effort = np.array([sum(spread.ratios(fusion)) for fusion in fusions])
    return _summarise(plan, grid, spread, effort, informative)


def is_worth_changing(against_current: PairedGain, against_lexical: PairedGain) -> bool:
    """Whether held-out queries gain significantly over the current setting, and do not lose to the lexical order."""
    return against_current.is_significant and against_current.mean > 0 and against_lexical.mean >= 0


def _check_number(informative: int, queries: int, depth: int) -> None:
    if informative < MIN_INFORMATIVE_QUERIES:
        raise DataError(
            f"Too few judgments to choose by: {informative} of {queries} judged queries have a relevant product and "
            f"another one among their first {depth} hits; expected {MIN_INFORMATIVE_QUERIES} or more. Judge more "
            "queries, or keep the weights of the bundle."
        )


def _summarise(
    plan: TuningPlan, grid: QualityGrid, spread: SignalSpread, effort: Array, informative: int
) -> TuningResult:
    now = ChosenSetting(weights=0, window=plan.windows.index(plan.current_window))
    held_out = held_out_quality(grid, effort, now, plan.folds)
    chosen = choose_setting(grid, np.arange(len(plan.candidates)), effort, now)
    current = grid.values[:, now.weights, now.window]
    against_lexical = compare_quality("the lexical order", grid.lexical, held_out)
    against_current = compare_quality("the current weights and window", current, held_out)
    weights = grid.fusions[chosen.weights]
    return TuningResult(
        decision="tuned" if chosen != now and is_worth_changing(against_current, against_lexical) else "kept",
        signals=tuple(list_signals(plan.signals)),
        queries=len(plan.candidates),
        informative=informative,
        judged_only=plan.judged_only,
        judged_share=float(np.mean([_judged_share(each) for each in plan.candidates])),
        folds=plan.folds,
        against_lexical=against_lexical,
        against_current=against_current,
        current_against_lexical=compare_quality("the lexical order", grid.lexical, current),
        weights=weights,
        window=grid.windows[chosen.window],
        ratios=spread.ratios(weights),
        expected=float(grid.values[:, chosen.weights, chosen.window].mean()),
        current_weights=grid.fusions[0],
        current_window=plan.current_window,
        window_curve=_window_curve(plan, grid, effort),
        weight_map=_weight_map(grid, spread, chosen),
    )


def _judged_share(candidates: CandidateList) -> float:
    shown = candidates.grades[:NDCG_DEPTH]
    return float(np.isfinite(shown).mean()) if len(shown) else 0.0


def _window_curve(plan: TuningPlan, grid: QualityGrid, effort: Array) -> tuple[WindowPoint, ...]:
    points = []
    for number, window in enumerate(grid.windows):
        only = replace(grid, values=grid.values[:, :, [number]], windows=(window,))
        held_out = held_out_quality(only, effort, ChosenSetting(0, 0), plan.folds)
        gain = compare_quality("", grid.lexical, held_out)
        current = float((grid.values[:, 0, number] - grid.lexical).mean())
        points.append(WindowPoint(window, gain.mean, gain.interval, current))
    return tuple(points)


def _weight_map(grid: QualityGrid, spread: SignalSpread, chosen: ChosenSetting) -> tuple[WeightPoint, ...]:
    """The best gain of each pair of weights of the grid; the current weights, which are first, are not part of it."""
    gains = grid.values[:, :, chosen.window].mean(axis=0) - grid.lexical.mean()
    best: dict[tuple[float, float], float] = {}
    for fusion, gain in list(zip(grid.fusions, gains, strict=True))[1:]:
        ratios = spread.ratios(fusion)
        pair = _nearest_ratio(ratios[0]), _nearest_ratio(ratios[1])
        best[pair] = max(best.get(pair, -np.inf), float(gain))
    return tuple(WeightPoint(*pair, gain) for pair, gain in best.items())


def _nearest_ratio(value: float) -> float:
    return min(WEIGHT_RATIOS, key=lambda ratio: abs(ratio - value))
