"""The curve of a tuning as a picture: gain by window, and by weights."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from anthem_core.console import printable
from anthem_core.files import atomic_write
from anthem_evaluation.formatting import format_signed
from anthem_evaluation.tune.text import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from anthem_evaluation.tune.tuning import TuningResult

# Two colours and markers that differ for people who are colour-blind, and in grey.
TUNED_COLOUR, CURRENT_COLOUR = "#0072B2", "#D55E00"
GAIN_COLOURS = "PuOr"  # white at no gain; both ends differ for people who are colour-blind
LIGHT_TEXT_FROM_SHARE = 0.5  # of the largest gain, where the cell is too dark for dark text


def write_tuning_picture(index: str, result: TuningResult, path: Path, kind: str) -> None:
    """Write the picture as `png` or `svg`.

    Raises:
        DataError: The file cannot be written.
    """
    picture = draw_tuning(index, result, kind)
    with atomic_write(path) as file:
        file.write(picture)


def draw_tuning(index: str, result: TuningResult, kind: str) -> bytes:
    """The picture as bytes; its description is its text alternative."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    curve, weights = figure.subplots(1, 2)
    _draw_windows(curve, result)
    _draw_weights(weights, result)
    outcome = "better weights found" if result.decision == "tuned" else "current weights kept"
    figure.suptitle(f"{printable(index)}: {outcome}".replace("$", r"\$"), fontsize=12)
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=160, metadata={"Description": describe_tuning(index, result)})
    return content.getvalue()


def describe_tuning(index: str, result: TuningResult) -> str:
    """What the picture shows, in words."""
    windows = ", ".join(f"{p.window}: {format_signed(p.gain)}" for p in result.window_curve)
    best = max(result.weight_map, key=lambda point: point.gain)
    parts = (
        f"Gain in nDCG@10 over the lexical order of {index}.",
        f"By window, on held-out queries: {windows}.",
        f"By weights, on all queries: at most {format_signed(best.gain)}.",
        f"It has containment {best.containment:g} and attention {best.attention:g} per standard deviation.",
        *verdict(result),
    )
    return printable(" ".join(parts))


def _draw_windows(axis: Any, result: TuningResult) -> None:  # noqa: ANN401 (matplotlib's axes)
    points = result.window_curve
    windows = [point.window for point in points]
    intervals = np.array([point.interval or (point.gain, point.gain) for point in points])
    axis.fill_between(windows, intervals[:, 0], intervals[:, 1], color=TUNED_COLOUR, alpha=0.15, linewidth=0)
    axis.plot(windows, [p.gain for p in points], marker="o", color=TUNED_COLOUR, label="tuned, on held-out queries")
    axis.plot(
        windows, [p.current for p in points], marker="s", linestyle="--", color=CURRENT_COLOUR, label="current weights"
    )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xticks(windows, [str(window) for window in windows])
    axis.minorticks_off()
    axis.set_xlabel("window (lexical hits that are reranked)")
    axis.set_ylabel("gain in nDCG@10 over the lexical order")
    axis.set_title("By window, with the 95 % interval", fontsize=10, loc="left")
    axis.legend(fontsize=8)


def _draw_weights(axis: Any, result: TuningResult) -> None:  # noqa: ANN401 (matplotlib's axes)
    gains = {(point.containment, point.attention): point.gain for point in result.weight_map}
    down, across = (sorted({pair[side] for pair in gains}) for side in (0, 1))
    cells = np.array([[gains[ratio, other] for other in across] for ratio in down])
    reach = max(float(np.abs(cells).max()), 1e-9)
    axis.imshow(cells, cmap=GAIN_COLOURS, vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    for (row, column), gain in np.ndenumerate(cells):
        is_dark = abs(gain) > LIGHT_TEXT_FROM_SHARE * reach
        axis.text(
            column,
            row,
            format_signed(gain),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if is_dark else "black",
        )
    axis.set_xticks(range(len(across)), [f"{ratio:g}" for ratio in across])
    axis.set_yticks(range(len(down)), [f"{ratio:g}" for ratio in down])
    axis.set_xlabel("weight of attention, per standard deviation")
    axis.set_ylabel("weight of containment, per standard deviation")
    axis.set_title(f"By weights, window {result.window}, on all queries (not held out)", fontsize=10, loc="left")
