"""The map of queries and products as a picture: regions, numbered products, their titles, and how true the map is."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from anthem_core.console import printable
from anthem_core.files import atomic_write
from anthem_evaluation.explain.figures import figure_bytes, figure_style, plain
from anthem_evaluation.explain.map_geometry import intersect_convex, place_labels, place_name
from anthem_plugin.search.map_words import describe_projection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.search.disk_map import DiskMap, MapJoin, MapPoint, MapRegion

WIDTH_INCHES = 5.4  # read on a phone without zooming
MAP_INCHES = 5.2
TITLE_INCHES = 0.25
LINE_INCHES = 0.235
MARGIN_INCHES = 0.1
PAGE_MAP_INCHES = 3.6  # of the map alone, beside which a page has its texts: smaller, so that numbers look larger
LABEL_INCHES = 0.27  # that a number takes
LETTER_INCHES = 0.04  # half of a letter of a name
MAX_LISTED = 40
TEXT_COLUMNS = 70
FIGURE_SPACE = "\u2007"  # as wide as a digit
REGION_COLOURS = ("#0072B2", "#CC79A7", "#E69F00", "#56B4E9", "#009E73")  # of Okabe and Ito
REGION_INKS = ("#005A8C", "#98406E", "#8A5D00", "#1F6F9C", "#00694D")  # the same colours, darker, for text
HATCHES = ("////", "\\\\\\\\")
REGION_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True, slots=True)
class MarkStyle:
    """How a product is drawn: its colour, whether it is filled, and what the legend says."""

    colour: str
    is_filled: bool
    meaning: str
    edge: str | None = None


# Each differs in more than its colour: relevant is filled, irrelevant is hollow, what moved up has a thick edge.
MARK_STYLES = {
    "product": MarkStyle("#4D4D4D", is_filled=True, meaning="product"),
    "relevant": MarkStyle("#00755A", is_filled=True, meaning="relevant"),
    "irrelevant": MarkStyle("#B34700", is_filled=False, meaning="irrelevant"),
    "moved up": MarkStyle("#0072B2", is_filled=True, meaning="moved up ↑", edge="black"),
}


def write_map_picture(shown: DiskMap, path: Path, kind: str) -> None:
    """Write the map and the texts below it as `png` or `svg`; its description is its text alternative.

    Raises:
        DataError: The file cannot be written.
    """
    with figure_style():
        picture = figure_bytes(draw_map(shown), kind, shown.description)
    with atomic_write(path) as file:
        file.write(picture)


def bare_map_svg(shown: DiskMap) -> bytes:
    """The map without the texts below it, for a page that has them."""
    with figure_style():
        figure = Figure(figsize=(PAGE_MAP_INCHES, PAGE_MAP_INCHES), facecolor="white")
        _draw_disk(figure.add_axes((0, 0, 1, 1)), shown, PAGE_MAP_INCHES)
        return figure_bytes(figure, "svg", shown.description)


def draw_map(shown: DiskMap) -> Figure:
    """The map with a title above it, and the legend, the products and the errors below it."""
    lines = _text_lines(shown)
    height = TITLE_INCHES + MAP_INCHES + LINE_INCHES * len(lines) + 3 * MARGIN_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="white")
    left, top = (WIDTH_INCHES - MAP_INCHES) / 2, TITLE_INCHES + MARGIN_INCHES
    axis = figure.add_axes(
        (left / WIDTH_INCHES, 1 - (top + MAP_INCHES) / height, MAP_INCHES / WIDTH_INCHES, MAP_INCHES / height)
    )
    title = f"What “{_cut((shown.joins or shown.regions)[0].name, 40)}” contains"
    figure.text(left / WIDTH_INCHES, 1 - top / 2 / height, plain(title), fontsize=11, weight="bold", va="center")
    _draw_disk(axis, shown, MAP_INCHES)
    for number, line in enumerate(lines):
        _draw_line(figure, 1 - (top + MAP_INCHES + MARGIN_INCHES + (number + 0.5) * LINE_INCHES) / height, line)
    return figure


@dataclass(frozen=True, slots=True)
class _Line:
    """A line below the map: a sign, and a text."""

    text: str
    sign: dict[str, Any] | None = None


def _text_lines(shown: DiskMap) -> list[_Line]:
    lines = [_Line(_region_text(shown, region), _region_sign(number)) for number, region in enumerate(shown.regions)]
    lines += [_Line(f"hatched: {_cut(join.name, 46)}, {len(join.inside)} of {len(shown.points)} products")
              for join in shown.joins]  # fmt: skip
    lines += _legend_lines(shown)
    for point in shown.points[:MAX_LISTED]:
        mark = "" if point.mark == "product" else f"  ({MARK_STYLES[point.mark].meaning})"
        number = _number(point, shown).rjust(2, FIGURE_SPACE)
        lines.append(_Line(f"{number}  {_cut(point.title, 58 - len(mark))}{mark}", _point_sign(point)))
    if len(shown.points) > MAX_LISTED:
        lines.append(_Line(f"and {len(shown.points) - MAX_LISTED} more products"))
    closing = f"Filled spots: the queries' limits; outlines: limits plus slack. {describe_projection(shown.projection)}"
    return lines + [_Line(text) for text in textwrap.wrap(closing, TEXT_COLUMNS)]


def _region_text(shown: DiskMap, region: MapRegion) -> str:
    return (
        f"{_cut(region.name, 36)}: size {region.size:.4f}, {len(region.inside)} of {len(shown.points)} products inside"
    )


def _legend_lines(shown: DiskMap) -> list[_Line]:
    name = _cut(shown.regions[0].name, 40)
    grey = {"color": "#4D4D4D", "markersize": 7, "linestyle": "none"}
    return [
        _Line(f"round: inside “{name}”", {**grey, "marker": "o"}),
        _Line(f"square: outside “{name}”", {**grey, "marker": "s"}),
    ]


def _region_sign(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "linestyle": REGION_STYLES[number % len(REGION_STYLES)], "linewidth": 2}


def _point_sign(point: MapPoint) -> dict[str, Any]:
    style = MARK_STYLES[point.mark]
    return {
        "marker": "o" if point.inside else "s",
        "markersize": 7,
        "linestyle": "none",
        "markeredgecolor": style.edge or style.colour,
        "markerfacecolor": style.colour if style.is_filled else "white",
        "markeredgewidth": 1.5,
    }


def _draw_line(figure: Figure, y: float, line: _Line) -> None:
    left = MARGIN_INCHES / WIDTH_INCHES
    text_left = left if line.sign is None else left + 0.34 / WIDTH_INCHES
    if line.sign is not None:
        is_point = "marker" in line.sign
        places = [left + 0.14 / WIDTH_INCHES] if is_point else [left, left + 0.28 / WIDTH_INCHES]
        figure.add_artist(Line2D(places, [y] * len(places), **line.sign))
    figure.text(text_left, y, plain(line.text), fontsize=9.5, va="center", color="#1B2027")


def _draw_disk(axis: Any, shown: DiskMap, inches: float) -> None:  # noqa: ANN401 (matplotlib's axes)
    """Regions, then joins, then products, in a view of everything that is drawn, so many inches wide."""
    points = np.array([[point.x, point.y] for point in shown.points]).reshape(-1, 2)
    corners = np.vstack([points, *(np.array(region.outline) for region in shown.regions)])
    middle, half = (corners.min(0) + corners.max(0)) / 2, float(np.ptp(corners, axis=0).max()) / 2 * 1.08
    axis.set(xlim=middle[0] + half * np.array([-1, 1]), ylim=middle[1] + half * np.array([-1, 1]), xticks=[], yticks=[])
    axis.set_aspect("equal")
    for spine in axis.spines.values():
        spine.set_color("#D5D9DF")
    for number, region in enumerate(shown.regions):
        _draw_region(axis, number, region)
    for join in shown.joins:
        _draw_join(axis, join, shown.regions)
    _draw_points(axis, shown, points, 2 * half / inches)


def _draw_region(axis: Any, number: int, region: MapRegion) -> None:  # noqa: ANN401
    colour, style = _colour(number), REGION_STYLES[number % len(REGION_STYLES)]
    outline, core = np.array(region.outline), np.array(region.core)
    axis.add_patch(Polygon(outline, closed=True, facecolor=colour, alpha=0.10, edgecolor="none", zorder=1))
    axis.add_patch(
        Polygon(outline, closed=True, fill=False, edgecolor=colour, linestyle=style, linewidth=1.8, zorder=2)
    )
    axis.add_patch(Polygon(core, closed=True, facecolor=colour, alpha=0.45, edgecolor=colour, linewidth=1, zorder=2))


def _draw_join(axis: Any, join: MapJoin, regions: Sequence[MapRegion]) -> None:  # noqa: ANN401
    for number, places in enumerate(join.alternatives):
        first, *others = (np.array(regions[place].outline) for place in places)
        common = intersect_convex(first, others)
        if len(common):
            hatched = {"hatch": HATCHES[number % 2], "edgecolor": "#8A94A0", "linewidth": 0, "zorder": 1.5}
            axis.add_patch(Polygon(common, closed=True, fill=False, **hatched))


def _draw_names(axis: Any, shown: DiskMap, labels: Array, outlines: Sequence[Array], inch: float) -> None:  # noqa: ANN401
    """Write the name of each query on its outline, where nothing else is."""
    view, taken = np.stack([axis.get_xlim(), axis.get_ylim()], axis=-1), labels
    for number, (region, outline) in enumerate(zip(shown.regions, outlines, strict=True)):
        name = _cut(region.name, 30)
        box = inch * np.array([LETTER_INCHES * len(name) + 0.08, 0.18])
        others = [corners for other, corners in enumerate(outlines) if other != number]
        place = place_name(outline, np.vstack([taken, *others]), box, view)
        frame = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        style = {"fontsize": 9, "weight": "bold", "color": _ink(number), "bbox": frame, "zorder": 6}
        axis.text(*place, plain(name), ha="center", va="center", **style)
        taken = np.vstack([taken, place, place + box * [1, 0], place - box * [1, 0]])


def _draw_points(axis: Any, shown: DiskMap, points: Array, inch: float) -> None:  # noqa: ANN401
    outlines = [np.array(region.outline) for region in shown.regions]
    labels = place_labels(points, LABEL_INCHES * inch, outlines)
    _draw_names(axis, shown, labels, outlines, inch)
    for point, place, label in zip(shown.points, points, labels, strict=True):
        style = MARK_STYLES[point.mark]
        axis.plot(*np.stack([place, label]).T, color=style.colour, linewidth=0.8, zorder=3)
        axis.plot(*place, marker=".", color=style.colour, markersize=4, zorder=3)
        sign = _point_sign(point) | {"markersize": 13}
        axis.plot(*label, **sign, zorder=4)
        ink = "white" if style.is_filled else style.colour
        number = _number(point, shown)
        axis.text(*label, number, fontsize=7, color=ink, ha="center", va="center_baseline", zorder=5, weight="bold")


def _number(point: MapPoint, shown: DiskMap) -> str:
    """Number of a product in the picture and in the list: its place among the products, from 1."""
    return str(1 + next(number for number, each in enumerate(shown.points) if each is point))


def _colour(number: int) -> str:
    return REGION_COLOURS[number % len(REGION_COLOURS)]


def _ink(number: int) -> str:
    """The colour of a region, dark enough for text on white."""
    return REGION_INKS[number % len(REGION_INKS)]


def _cut(text: str, longest: int) -> str:
    words = printable(text)
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
