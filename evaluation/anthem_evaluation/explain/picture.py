"""Attention grids as a picture: the query's words down, the title's across, darker for a larger share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from anthem_core.console import printable
from anthem_core.files import atomic_write
from anthem_evaluation.explain.figures import figure_bytes, figure_style, plain
from anthem_plugin.grid_table import grid_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.grid_table import GridTable
    from anthem_plugin.search.title_explanation import TitleExplanation

COLOURS = "Blues"  # one hue: shades differ for people who are colour-blind, and in grey
CELL_INCHES = 0.42
MAX_DRAWN_TITLES = 20  # more grids below each other nobody reads, and drawing them takes minutes
SMALLEST_LABELLED_SHARE = 0.01
LIGHT_TEXT_FROM = 0.55  # of the largest share, where the cell is too dark for dark text


def write_grid_picture(
    query: str, explanations: Sequence[TitleExplanation], path: Path, kind: str, *, by_words: bool
) -> None:
    """Write the grids of the first titles below each other as `png` or `svg`; titles without a grid are left out.

    Raises:
        DataError: The file cannot be written.
    """
    drawn = explanations[:MAX_DRAWN_TITLES]
    grids = [(each.title, grid_table(each.attention, by_words=by_words)) for each in drawn if each.attention]
    part = f" (the first {len(drawn)} of {len(explanations)} titles)" if len(drawn) < len(explanations) else ""
    with figure_style():
        figure = draw_grids(f"Attention: “{_label(query, 80)}”{part}", grids)
        picture = figure_bytes(figure, kind, describe_grids(query, grids))
    with atomic_write(path) as file:
        file.write(picture)


def draw_grids(heading: str, grids: Sequence[tuple[str, GridTable]]) -> Figure:
    """The grids of titles below each other; a darker cell is a larger share, on one scale."""
    heights = [_height(table) for _, table in grids] or [1.0]
    width = max((len(table.title) for _, table in grids), default=4) * CELL_INCHES + 2.5
    figure = Figure(figsize=(max(width, 5), sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    largest = max((float(table.cells.max()) for _, table in grids), default=1.0)
    for axis, (title, table) in zip(axes, grids, strict=False):
        _draw_grid(axis, title, table, largest)
    if not grids:
        axes[0].set_axis_off()
    figure.suptitle(heading, fontsize=11)
    return figure


def describe_grids(query: str, shown: Sequence[tuple[str, GridTable]]) -> str:
    """What the picture shows, in words: for each title the pair of words with the largest share."""
    sentences = [f"{title}: {_largest_pair(table)}." for title, table in shown]
    return " ".join([f"Attention grids of the query {query}.", *sentences])


def _largest_pair(table: GridTable) -> str:
    row, column = divmod(int(table.cells.argmax()), len(table.title))
    return f"{table.query[row]} with {table.title[column]} {table.cells[row, column]:.2f}"


def _height(table: GridTable) -> float:
    longest = max(map(len, table.title))
    return len(table.query) * CELL_INCHES + 0.09 * min(longest, 30) + 0.7


def _draw_grid(axis: Any, title: str, table: GridTable, largest: float) -> None:  # noqa: ANN401 (matplotlib's axes)
    axis.set_anchor("W")
    axis.imshow(table.cells, cmap=COLOURS, vmin=0, vmax=largest, aspect="equal")
    axis.set_xticks(
        range(len(table.title)), [_label(name) for name in table.title], rotation=60, ha="right", fontsize=8
    )
    axis.set_yticks(range(len(table.query)), [_label(name) for name in table.query], fontsize=8)
    axis.set_title(_label(title, 80), fontsize=9, loc="left")
    for row, column, share in _labelled(table.cells):
        colour = "white" if share > LIGHT_TEXT_FROM * largest else "black"
        axis.text(column, row, f"{share:.2f}".removeprefix("0"), ha="center", va="center", fontsize=7, color=colour)


def _labelled(cells: Array) -> list[tuple[int, int, float]]:
    return [
        (row, column, float(cells[row, column]))
        for row in range(cells.shape[0])
        for column in range(cells.shape[1])
        if cells[row, column] >= SMALLEST_LABELLED_SHARE
    ]


def _label(text: str, longest: int = 30) -> str:
    shown = printable(text)
    return plain(shown if len(shown) <= longest else f"{shown[: longest - 1]}…")
