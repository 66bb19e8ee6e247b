"""The two tables of docs/quality.md, and their places in the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_evaluation.metrics import SIGNIFICANCE_LEVEL, correct_by_holm, paired_t_test
from rankers.registry import RANKER_BUILDERS
from significance import mean_values_per_query
from tables import format_table, group_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from significance import Array, SeedLines

    Column = tuple[str, str]  # dataset and task

MEASURE = "nDCG@10"
DATASETS = {"esci": "ESCI", "crowdflower": "CrowdFlower", "home_depot": "Home Depot"}
TASKS = ("judged", "window")
BASELINE = ("bm25", "alone")
NOT_MEASURED = "–"
BETTER, WORSE = "*", "†"  # than BM25, significantly
BEST_BASELINE_LABEL = "best of nine baselines from the literature"


@dataclass(frozen=True)
class PageRow:
    """A row of a table: its label, and the names of its model and way of ranking in the results.

    Without a model, the row shows the best of `LITERATURE`.
    """

    label: str
    model: str
    way: str


@dataclass(frozen=True)
class PageCell:
    """Value of every query `(Q,)`, and the model if the row has no model of its own."""

    values: Array
    model: str


UNSEEN_ROWS = (
    PageRow("BM25", *BASELINE),
    PageRow("BM25 + all-MiniLM-L6-v2, 91 MB", "bm25_minilm", "alone"),
    PageRow("BM25 + bge-small-en-v1.5, 133 MB", "bge_small", "fused"),
    PageRow("BM25 + e5-small-v2, 133 MB", "e5_small", "fused"),
    PageRow("`general`, two signals", "general", "without_attention"),
    PageRow("`general`, three signals", "general", "fused"),
    PageRow("`general` adapted to the catalogue, two signals", "adapted", "without_attention"),
    PageRow("`general` adapted to the catalogue, three signals", "adapted", "fused"),
)
TRAINED_ROWS = (
    PageRow("BM25", *BASELINE),
    PageRow("LambdaMART", "lambdamart", "alone"),
    PageRow(BEST_BASELINE_LABEL, "", "fused"),
    PageRow("E-ANTHEM (boxes)", "e_anthem", "fused"),
    PageRow("ANTHEM", "anthem", "fused"),
    PageRow("ANTHEM with a teacher", "anthem_taught", "fused"),
)
LITERATURE = tuple(name for name in RANKER_BUILDERS if name not in ("anthem", "e_anthem"))


def render_page_tables(lines: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The tables of the page by name, in Markdown."""
    groups = group_lines(lines)
    return {"unseen": _build_table(groups, UNSEEN_ROWS), "trained": _build_table(groups, TRAINED_ROWS)}


def insert_tables(page: str, tables: Mapping[str, str]) -> str:
    """Replace the text between `<!-- table NAME -->` and `<!-- end -->` in a page.

    Raises:
        ValueError: The page has no such place.
    """
    for name, table in tables.items():
        start, end = f"<!-- table {name} -->\n", "<!-- end -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"The page has no place for the table {name}.")
        page = f"{before}{start}\n{table}\n\n{end}{after}"
    return page


def _build_table(groups: Mapping[tuple[str, str], SeedLines], rows: Sequence[PageRow]) -> str:
    """A row per model, a column per dataset and task; p-values are corrected over the whole table."""
    columns = [(data, task) for data in DATASETS for task in TASKS]
    cells = {(row, column): _find_cell(groups, row, *column) for row in rows for column in columns}
    measured = {key: cell for key, cell in cells.items() if cell is not None}
    baselines = {column: measured.get((rows[0], column)) for column in columns}
    p_values = {
        key: paired_t_test(cell.values - baseline.values)[1]
        for key, cell in measured.items()
        if key[0] is not rows[0] and (baseline := baselines[key[1]]) is not None
    }
    corrected = correct_by_holm(p_values)
    body = []
    for row in rows:
        values = [
            _format_cell(cells[row, column], baselines[column], corrected.get((row, column))) for column in columns
        ]
        body.append([row.label, *values, _format_gains(cells, baselines, row)])
    heads = [f"{DATASETS[data]}, {task}" for data, task in columns]
    return format_table(["", *heads, "mean gain, judged / window"], body)


def _format_gains(
    cells: Mapping[tuple[PageRow, Column], PageCell | None], baselines: Mapping[Column, PageCell | None], row: PageRow
) -> str:
    """Mean gain of a row over BM25 in each task, over the datasets; empty for BM25, and if something is missing."""
    gains: dict[str, list[float]] = {task: [] for task in TASKS}
    for (data, task), baseline in baselines.items():
        cell = cells[row, (data, task)]
        if cell is None or baseline is None:
            return NOT_MEASURED
        gains[task].append(float(cell.values.mean() - baseline.values.mean()))
    return "" if (row.model, row.way) == BASELINE else " / ".join(f"{np.mean(gains[task]):+.3f}" for task in TASKS)


def _find_cell(groups: Mapping[tuple[str, str], SeedLines], row: PageRow, data: str, task: str) -> PageCell | None:
    """Values of a row for a dataset and a task; None if they are not measured."""
    key = f"{task}/{row.way}"
    models = (row.model,) if row.model else LITERATURE
    measured = {
        model: mean_values_per_query(lines, key, MEASURE)
        for model in models
        if (lines := groups.get((data, model))) and all(key in line["mean"] for line in lines)
    }
    if not measured:
        return None
    best = max(measured, key=lambda model: measured[model].mean())
    return PageCell(measured[best], "" if row.model else best)


def _format_cell(cell: PageCell | None, baseline: PageCell | None, p: float | None) -> str:
    """The mean and, in brackets, the corrected p-value; a sign says that it is significantly better or worse."""
    if cell is None:
        return NOT_MEASURED
    mean, sign, details = float(cell.values.mean()), "", [cell.model] * bool(cell.model)
    if p is not None and baseline is not None:
        is_better = mean > baseline.values.mean()
        sign = (BETTER if is_better else WORSE) * (p < SIGNIFICANCE_LEVEL)
        details.append(f"p = {p:.2g}")
    return f"{mean:.3f}{sign}" + (f" ({', '.join(details)})" if details else "")
