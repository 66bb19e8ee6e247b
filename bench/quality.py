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
from cells import MINUTES, MODELS, RESULTS, Cell, append, cells, fill, missing, read_lines
from tables import markdown

from anthem_core.console import emit, ends_cleanly, err, json_option, progress

results_option = click.option(
    "--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, help="File with a line a cell."
)


@click.group()
def main() -> None:
    """Train and measure cells (data set, model, seed), and print what is known of them.

    Example: python bench/quality.py run --all --seeds 3
    """


@main.command()
@click.option("--data", multiple=True, type=click.Choice(list(MINUTES)), help="Data set; all if left out.")
@click.option("--model", multiple=True, type=click.Choice(MODELS), help="Model; all if left out.")
@click.option("--seed", type=click.IntRange(0), help="This seed alone.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="So many seeds from 0.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="CPU minutes of training, if not the usual.")
@click.option("--all", "every", is_flag=True, help="All data sets and models; those that are done are skipped.")
@results_option
@json_option
@ends_cleanly
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
    wanted = cells(data or MINUTES, model or MODELS, seeds if seed is None else seed + 1, minutes)
    chosen = [cell for cell in wanted if seed is None or cell.minutes == 0 or cell.seed == seed]
    todo = missing(chosen, read_lines(results))
    with progress("cells", len(todo)) as advance:
        for cell in todo:
            err.print(f"{cell.data}, {cell.model}, seed {cell.seed}")
            _in_a_process(cell, results)
            advance(1)
    done = {"cells": len(chosen), "filled": len(todo), "results": str(results)}
    emit(done, f"{len(todo)} of {len(chosen)} cells filled, in {results}", as_json=as_json)


def _in_a_process(cell: Cell, results: Path) -> None:
    words = [cell.data, cell.model, str(cell.seed), str(cell.minutes), str(results)]
    subprocess.run([sys.executable, __file__, "fill", *words], check=True)


@main.command("fill", hidden=True)
@click.argument("data")
@click.argument("model")
@click.argument("seed", type=int)
@click.argument("minutes", type=float)
@click.argument("results", type=click.Path(path_type=Path))
@ends_cleanly
def fill_one(data: str, model: str, seed: int, minutes: float, results: Path) -> None:
    """Fill one cell in this process.

    Example: python bench/quality.py fill esci knrm 0 2 results.jsonl
    """
    append(fill(Cell(data, model, seed, minutes)), results)


@main.command("table")
@click.option("--against", default="anthem", show_default=True, help="Model the others are tested against.")
@results_option
@json_option
@ends_cleanly
def print_tables(*, against: str, results: Path, as_json: bool) -> None:
    """Print the tables in markdown; a star marks a difference with p < 0.05.

    Example: python bench/quality.py table > results.md
    """
    lines = read_lines(results)
    means = [{name: value for name, value in line.items() if name != "per_query"} for line in lines]
    emit({"cells": means}, markdown(lines, against), as_json=as_json)


if __name__ == "__main__":
    main()
