"""The comparison: every model trained alike on every data set, and measured on the same candidates of OpenSearch.

python bench/quality.py run --data esci --model knrm --seed 0
python bench/quality.py run --all --seeds 3
python bench/quality.py table
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from anthem_core.console import handle_errors, json_option, print_result, progress, stderr
from cell_measurement import measure_cell
from cells import (
    MODEL_NAMES,
    RESULTS_FILE,
    TRAINING_MINUTES,
    BenchmarkCell,
    append_result,
    list_cells,
    list_missing_cells,
    read_results,
)
from tables import render_tables

results_option = click.option(
    "--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS_FILE, help="File with a line a cell."
)


@click.group()
def main() -> None:
    """Train and measure cells (data set, model, seed), and print what is known of them.

    Example: python bench/quality.py run --all --seeds 3
    """


@main.command()
@click.option("--data", multiple=True, type=click.Choice(list(TRAINING_MINUTES)), help="Data set; all if left out.")
@click.option("--model", multiple=True, type=click.Choice(MODEL_NAMES), help="Model; all if left out.")
@click.option("--seed", type=click.IntRange(0), help="This seed alone.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="So many seeds from 0.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="CPU minutes of training, if not the usual.")
@click.option("--all", "every", is_flag=True, help="All data sets and models; those that are done are skipped.")
@results_option
@json_option
@handle_errors
def run(  # noqa: PLR0913 (an argument an option)
    *,
    data: tuple[str, ...],
    model: tuple[str, ...],
    seed: int | None,
    seeds: int,
    minutes: float | None,
    every: bool,
    results: Path,
    as_json: bool,
) -> None:
    """Fill the cells that are missing, each in a process of its own; exit code 0 when all are there.

    \b
    Example:
      python bench/quality.py run --data esci --model knrm --seed 0
      python bench/quality.py run --all --seeds 3
    """
    if not (every or data or model):
        raise click.UsageError("Name --data or --model, or say --all.")
    wanted = list_cells(data or TRAINING_MINUTES, model or MODEL_NAMES, seeds if seed is None else seed + 1, minutes)
    chosen = [cell for cell in wanted if seed is None or cell.minutes == 0 or cell.seed == seed]
    todo = list_missing_cells(chosen, read_results(results))
    with progress("cells", len(todo)) as advance:
        for cell in todo:
            stderr.print(f"{cell.data}, {cell.model}, seed {cell.seed}")
            _measure_in_subprocess(cell, results)
            advance(1)
    done = {"cells": len(chosen), "filled": len(todo), "results": str(results)}
    print_result(done, f"{len(todo)} of {len(chosen)} cells filled, in {results}", as_json=as_json)


def _measure_in_subprocess(cell: BenchmarkCell, results: Path) -> None:
    words = [cell.data, cell.model, str(cell.seed), str(cell.minutes), str(results)]
    subprocess.run([sys.executable, __file__, "fill", *words], check=True)


@main.command("fill", hidden=True)
@click.argument("data")
@click.argument("model")
@click.argument("seed", type=int)
@click.argument("minutes", type=float)
@click.argument("results", type=click.Path(path_type=Path))
@handle_errors
def fill_cell(data: str, model: str, seed: int, minutes: float, results: Path) -> None:
    """Fill one cell in this process.

    Example: python bench/quality.py fill esci knrm 0 2 results.jsonl
    """
    append_result(measure_cell(BenchmarkCell(data, model, seed, minutes)), results)


@main.command("table")
@click.option("--against", default="anthem", show_default=True, help="Model the others are tested against.")
@results_option
@json_option
@handle_errors
def print_tables(*, against: str, results: Path, as_json: bool) -> None:
    """Print the tables in markdown; a star marks a difference with p < 0.05.

    Example: python bench/quality.py table > results.md
    """
    lines = read_results(results)
    means = [{name: value for name, value in line.items() if name != "per_query"} for line in lines]
    print_result({"cells": means}, render_tables(lines, against), as_json=as_json)


if __name__ == "__main__":
    main()
