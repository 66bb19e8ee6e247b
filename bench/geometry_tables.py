"""Markdown tables of the comparison of geometries."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tables import format_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Line: TypeAlias = "dict[str, Any]"

GEOMETRY_NAMES = {"lorentz": "hyperboloids", "euclid": "boxes"}
QUALITY_COLUMNS = {
    "judged, alone": "judged/alone",
    "window, alone": "window/alone",
    "judged, with BM25": "judged/fused",
    "window, with BM25": "window/fused",
}
TREE_COLUMNS = {
    "correlation with the tree": "tree_correlation",
    "distortion of the tree": "tree_distortion",
    "radius and depth of categories": "radius_depth",
    "size and generality of queries": "size_generality",
    "nearness and generality of queries": "nearness_generality",
}
# Of the table on the page: values are of hyperboloids / boxes.
SUMMARY_COLUMNS = {
    "judged": "judged/alone",
    "window": "window/alone",
    "window with BM25": "window/fused",
    "tree distortion": "tree_distortion",
}


def render_geometry_tables(lines: Iterable[Line]) -> str:
    """For each dataset and number of steps, nDCG@10 by dimension and geometry, and measures of its tree, if any."""
    groups: dict[tuple[str, int], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["data"], line["steps"]].append(line)
    parts = []
    for (data, steps), group in groups.items():
        first = group[0]
        bm25 = " / ".join(f"{first[f'{task}/bm25']:.3f}" for task in ("judged", "window"))
        parts.append(f"**{data}**, {steps} steps; BM25 {bm25}")
        parts += [_build_table(group, columns) for columns in (QUALITY_COLUMNS, TREE_COLUMNS)]
    return "\n\n".join(part for part in parts if part)


def render_geometry_summary(lines: Iterable[Line]) -> str:
    """One table for the page: a row per dimension, means over seeds of hyperboloids / boxes."""
    groups: dict[tuple[str, int, str], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["data"], line["dimension"], line["geometry"]].append(line)
    columns = {
        f"{data}, {title}": (data, name)
        for data in dict.fromkeys(data for data, _, _ in groups)
        for title, name in SUMMARY_COLUMNS.items()
        if name in groups[next(key for key in groups if key[0] == data)][0]
    }
    rows = [
        [str(dimension), *(_format_pair(groups, data, dimension, name) for data, name in columns.values())]
        for dimension in sorted({dimension for _, dimension, _ in groups})
    ]
    return format_table(["D", *columns], rows) if rows else "Not measured yet."


def _format_pair(groups: Mapping[tuple[str, int, str], Sequence[Line]], data: str, dimension: int, name: str) -> str:
    """Means of both geometries; a dash for what is not measured."""
    values = [[line[name] for line in groups.get((data, dimension, geometry), ())] for geometry in GEOMETRY_NAMES]
    return " / ".join(f"{np.mean(group):.3f}" if group else "–" for group in values)


def _build_table(lines: Sequence[Line], columns: Mapping[str, str]) -> str:
    """A row per dimension and geometry, means over seeds ± standard deviation; empty if nothing was measured."""
    if next(iter(columns.values())) not in lines[0]:
        return ""
    groups: dict[tuple[int, str], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["dimension"], line["geometry"]].append(line)
    order = sorted(groups, key=lambda key: (key[0], list(GEOMETRY_NAMES).index(key[1])))
    rows = [
        [str(dimension), GEOMETRY_NAMES[geometry], str(len(groups[dimension, geometry]))]
        + [_format_mean([line[name] for line in groups[dimension, geometry]]) for name in columns.values()]
        for dimension, geometry in order
    ]
    return format_table(["D", "regions", "seeds", *columns], rows)


def _format_mean(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"
