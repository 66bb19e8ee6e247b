"""Whether hyperbolic space helps: ANTHEM against the same model in flat space (E-ANTHEM), by dimension.

python bench/geometry.py run --data catalogue --dimension 4 --dimension 8
python bench/geometry.py run
python bench/geometry.py table
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click
import torch

from anthem_core.console import handle_errors, json_option, print_result, progress, stderr
from cells import GEOMETRY_RESULTS_FILE, append_result, read_results
from geometry_measures import measure_category_tree, measure_containment_quality, measure_sizes
from geometry_tables import render_geometry_tables
from geometry_training import (
    DATASETS,
    DIMENSIONS,
    GEOMETRIES,
    TRAINING_STEPS,
    GeometryCell,
    geometry_cell_of_line,
    load_shop_split,
    train_containment,
)

results_option = click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=GEOMETRY_RESULTS_FILE,
    help="JSONL file with one line per cell; defaults to bench/results/geometry.jsonl.",
)


@click.group()
def main() -> None:
    """Compare hyperboloids with boxes in low dimensions.

    Example: python bench/geometry.py run --data catalogue
    """


@main.command("run")
@click.option("--data", multiple=True, type=click.Choice(DATASETS), help="Dataset; defaults to all.")
@click.option("--geometry", multiple=True, type=click.Choice(GEOMETRIES), help="Geometry; defaults to both.")
@click.option("--dimension", multiple=True, type=click.IntRange(2), help="Dimension; defaults to 4, 8, 16, 32, 64.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Number of seeds, starting at 0.")
@click.option("--steps", default=TRAINING_STEPS, show_default=True, type=click.IntRange(1), help="Steps of training.")
@results_option
@json_option
@handle_errors
def run_sweep(
    *,
    data: tuple[str, ...],
    geometry: tuple[str, ...],
    dimension: tuple[int, ...],
    seeds: int,
    steps: int,
    results: Path,
    as_json: bool,
) -> None:
    """Measure the cells that the results lack, one seed after the other, so that an interrupted run has complete seeds.

    Example: python bench/geometry.py run --data catalogue --dimension 4
    """
    cells = [
        GeometryCell(name, space, size, seed, steps)
        for seed in range(seeds)
        for name in data or DATASETS
        for size in dimension or DIMENSIONS
        for space in geometry or GEOMETRIES
    ]
    measured = {geometry_cell_of_line(line) for line in read_results(results)}
    missing = [cell for cell in cells if cell not in measured]
    torch.set_num_threads(1)
    with progress("cells", len(missing)) as advance:
        for cell in missing:
            stderr.print(f"{cell.data}, {cell.geometry}, D = {cell.dimension}, seed {cell.seed}")
            append_result(measure_geometry(cell), results)
            advance(1)
    summary = {"cells": len(cells), "filled": len(missing), "results": str(results)}
    print_result(summary, f"measured {len(missing)} of {len(cells)} cells: {results}", as_json=as_json)


def measure_geometry(cell: GeometryCell) -> dict[str, object]:
    """Train and measure one cell; returns its line of results."""
    dataset, parts = load_shop_split(cell.data)
    started = time.process_time()
    ranker = train_containment(cell, parts)
    seconds = round(time.process_time() - started)
    measures = measure_containment_quality(ranker, parts.validation)
    measures |= measure_category_tree(ranker, dataset) | measure_sizes(ranker, dataset)
    return asdict(cell) | {"seconds": seconds} | {name: round(value, 4) for name, value in measures.items()}


@main.command("table")
@results_option
@json_option
@handle_errors
def print_geometry_tables(*, results: Path, as_json: bool) -> None:
    """Print the tables in Markdown: means over seeds, and the difference between both geometries.

    Example: python bench/geometry.py table
    """
    lines = read_results(results)
    print_result({"cells": lines}, render_geometry_tables(lines), as_json=as_json)


if __name__ == "__main__":
    main()
