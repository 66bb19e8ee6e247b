"""The result of `anthem tune` as text for a terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anthem_evaluation.formatting import (
    MISSING_VALUE,
    format_interval,
    format_p_value,
    format_percent,
    format_signed,
    text_table,
)
from anthem_evaluation.tune.choice import SPLIT_REPEATS

if TYPE_CHECKING:
    from anthem_core.fusion import FusionWeights
    from anthem_evaluation.tune.choice import PairedGain
    from anthem_evaluation.tune.tuning import TuningResult


def result_to_json(result: TuningResult) -> dict[str, Any]:
    """The result as JSON values, with its sentences as `verdict`."""
    value: dict[str, Any] = json.loads(json.dumps({**asdict(result), "verdict": verdict(result)}, allow_nan=False))
    return value


def render_result(index: str, result: TuningResult) -> str:
    """The result as plain text; it also says what the picture shows."""
    counts = f"{result.queries} judged queries, {result.informative} of them informative"
    share = format_percent(result.judged_share)
    unjudged = "left out" if result.judged_only else "counted as irrelevant"
    rows = (
        ("index", f"{index}, ranked by {', '.join(result.signals)}"),
        ("queries", counts),
        ("judged", f"{share} of the first ten lexical hits; the others are {unjudged}"),
        ("held out", f"{SPLIT_REPEATS} splits into {result.folds} folds"),
    )
    parts = (
        "\n".join(f"{name:<10}{value}" for name, value in rows),
        _gains_table(result),
        _settings_table(result),
        _windows_table(result),
        _map_table(result),
        "\n".join(verdict(result)),
    )
    return "\n\n".join(parts)


def verdict(result: TuningResult) -> list[str]:
    """The decision and its reasons, in sentences."""
    return [_decision_sentence(result), *_lexical_sentence(result)]


def _decision_sentence(result: TuningResult) -> str:
    gain, lexical = result.against_current, result.against_lexical
    change = f"{format_signed(gain.mean, 4)} nDCG@10 on held-out queries, p {format_p_value(gain.p, '= ')}"
    if result.decision == "tuned":
        return f"Tuned: better than the current weights and window ({change})."
    if gain.detectable is None:
        return "Kept: on held-out queries the tuned weights and window give the same order as the current ones."
    if gain.is_significant and gain.mean > 0:
        return f"Kept: tuned weights and window lose to the lexical order ({format_signed(lexical.mean, 4)} nDCG@10)."
    if gain.mean <= 0:
        return f"Kept: tuned weights and window are not better than the current ones ({change})."
    return (
        f"Kept: the gain over the current weights and window may be due to chance ({change}). With these "
        f"{result.queries} queries, a gain of {gain.detectable:.3f} would be found in 80 % of the cases; to find a "
        "smaller one, judge more queries."
    )


def _lexical_sentence(result: TuningResult) -> list[str]:
    current = result.current_against_lexical
    if current.is_significant and current.mean < 0:
        change = f"{format_signed(current.mean, 4)} nDCG@10, p {format_p_value(current.p, '= ')}"
        return [f"The current weights lose to the lexical order on these judgments ({change})."]
    return []


def _gains_table(result: TuningResult) -> str:
    heads = ("nDCG@10", "before", "after", "change", "95 % interval", "p", "better", "worse", "detectable")
    rows = (
        ("current against lexical", result.current_against_lexical),
        ("tuned against lexical, held out", result.against_lexical),
        ("tuned against current, held out", result.against_current),
    )
    return text_table(heads, *((name, *_gain_cells(gain)) for name, gain in rows), left=0)


def _gain_cells(gain: PairedGain) -> tuple[str, ...]:
    return (
        f"{gain.baseline:.4f}",
        f"{gain.baseline + gain.mean:.4f}",
        format_signed(gain.mean, 4),
        format_interval(gain.interval),
        format_p_value(gain.p),
        str(gain.wins),
        str(gain.losses),
        MISSING_VALUE if gain.detectable is None else f"{gain.detectable:.4f}",
    )


def _settings_table(result: TuningResult) -> str:
    heads = ("setting", "window", "lexical offset", "containment", "attention")
    rows = (
        ("current", str(result.current_window), *_weight_cells(result.current_weights)),
        ("tuned, on all queries", str(result.window), *_weight_cells(result.weights)),
    )
    return text_table(heads, *rows, left=0)


def _weight_cells(weights: FusionWeights) -> tuple[str, ...]:
    return tuple(f"{value:.4g}" for value in (weights.lexical_offset, weights.containment, weights.attention))


def _windows_table(result: TuningResult) -> str:
    heads = ("window", "tuned, held out", "95 % interval", "current weights")
    rows = (
        (str(p.window), format_signed(p.gain, 4), format_interval(p.interval), format_signed(p.current, 4))
        for p in result.window_curve
    )
    return f"Gain in nDCG@10 over the lexical order by window\n{text_table(heads, *rows)}"


def _map_table(result: TuningResult) -> str:
    """Gains by weights, containment down and attention across; a signal that is not used has one row or column."""
    gains = {(point.containment, point.attention): point.gain for point in result.weight_map}
    down, across = (sorted({pair[side] for pair in gains}) for side in (0, 1))
    heads = ("containment \\ attention", *(f"{ratio:g}" for ratio in across))
    rows = ((f"{ratio:g}", *(format_signed(gains[ratio, other], 3) for other in across)) for ratio in down)
    title = f"Gain in nDCG@10 over the lexical order by weights per standard deviation, window {result.window},"
    return f"{title}\non all queries (not held out)\n{text_table(heads, *rows)}"
