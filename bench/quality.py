"""The comparison: every model trained under the same conditions, and measured on the same candidates from OpenSearch.

python bench/quality.py run --data esci --model knrm --seed 0
python bench/quality.py run --all --seeds 3
python bench/quality.py table > docs/quality-tables.md
python bench/quality.py page docs/quality.md
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from anthem_core.console import FiniteFloatRange, handle_errors, json_option, print_result, progress, stderr
from anthem_core.encoding.bundle import load_bundle
from cell_measurement import measure_cell
from cells import (
    GEOMETRY_RESULTS_FILE,
    MODEL_NAMES,
    RESULTS_FILE,
    TRAINING_MINUTES,
    BenchmarkCell,
    append_result,
    list_cells,
    list_missing_cells,
    read_results,
)
from geometry_tables import render_geometry_summary, render_geometry_tables
from page_tables import insert_tables, render_page_tables
from tables import render_tables

results_option = click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=RESULTS_FILE,
    help="JSONL file with one line per cell; defaults to bench/results/quality.jsonl.",
)


@click.group()
def main() -> None:
    """Train and measure the cells (dataset, model, seed) of the comparison, and print the tables.

    Example: python bench/quality.py run --all --seeds 3
    """


@main.command()
@click.option(
    "--data",
    multiple=True,
    type=click.Choice(list(TRAINING_MINUTES)),
    help="Dataset; defaults to all, may be repeated.",
)
@click.option("--model", multiple=True, type=click.Choice(MODEL_NAMES), help="Model; defaults to all, may be repeated.")
@click.option("--seed", type=click.IntRange(0), help="Run only this seed.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Number of seeds, starting at 0.")
@click.option(
    "--minutes",
    type=FiniteFloatRange(0, min_open=True),
    help="CPU minutes of training; defaults to 3 for home_depot and 1 for the others.",
)
@click.option("--all", "all_cells", is_flag=True, help="Run all datasets and models.")
@click.option(
    "--again", is_flag=True, help="Measure cells again that have results; of two such lines, the last counts."
)
@results_option
@json_option
@handle_errors
def run(  # noqa: PLR0913 (one argument per option)
    *,
    data: tuple[str, ...],
    model: tuple[str, ...],
    seed: int | None,
    seeds: int,
    minutes: float | None,
    all_cells: bool,
    again: bool,
    results: Path,
    as_json: bool,
) -> None:
    """Measure the cells that are missing from the results, each in its own process.

    Cells that already have a line with the same settings are skipped. Exit code 0: all cells have a line.

    \b
    Example:
      python bench/quality.py run --data esci --model knrm --seed 0
      python bench/quality.py run --all --seeds 3
    """
    if not (all_cells or data or model):
        raise click.UsageError("No cell selected. Pass --data, --model or --all.")
    cells = list_cells(data or TRAINING_MINUTES, model or MODEL_NAMES, seeds if seed is None else seed + 1, minutes)
    selected = [cell for cell in cells if seed is None or cell.minutes == 0 or cell.seed == seed]
    lines = [] if again else read_results(results)
    missing = list_missing_cells(selected, lines, load_bundle("general").model_id)
    with progress("cells", len(missing)) as advance:
        for cell in missing:
            stderr.print(f"{cell.data}, {cell.model}, seed {cell.seed}")
            _measure_in_subprocess(cell, results)
            advance(1)
    summary = {"cells": len(selected), "filled": len(missing), "results": str(results)}
    print_result(summary, f"measured {len(missing)} of {len(selected)} cells: {results}", as_json=as_json)


def _measure_in_subprocess(cell: BenchmarkCell, results: Path) -> None:
    arguments = [cell.data, cell.model, str(cell.seed), str(cell.minutes), str(results)]
    subprocess.run([sys.executable, __file__, "fill", *arguments], check=True)


@main.command("fill", hidden=True)
@click.argument("data")
@click.argument("model")
@click.argument("seed", type=int)
@click.argument("minutes", type=FiniteFloatRange(0, min_open=True))
@click.argument("results", type=click.Path(path_type=Path))
@handle_errors
def fill_cell(data: str, model: str, seed: int, minutes: float, results: Path) -> None:
    """Measure one cell in this process and append its line to the results.

    Example: python bench/quality.py fill esci knrm 0 2 results.jsonl
    """
    append_result(measure_cell(BenchmarkCell(data, model, seed, minutes)), results)


@main.command("table")
@click.option("--against", default="anthem", show_default=True, help="Model that the others are tested against.")
@results_option
@json_option
@handle_errors
def print_tables(*, against: str, results: Path, as_json: bool) -> None:
    """Print all tables in Markdown; a star marks a difference with p < 0.05, corrected over its table.

    Example: python bench/quality.py table > docs/quality-tables.md
    """
    lines = read_results(results)
    means = [{name: value for name, value in line.items() if name != "per_query"} for line in lines]
    text = render_tables(lines, against)
    if geometry := render_geometry_tables(read_results(GEOMETRY_RESULTS_FILE)):
        text += f"\n\n## Hyperboloids and boxes\n\n{geometry}"
    print_result({"cells": means}, text, as_json=as_json)


@main.command("page")
@click.argument("page", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@results_option
@json_option
@handle_errors
def print_page_tables(*, page: Path | None, results: Path, as_json: bool) -> None:
    """Print the tables of docs/quality.md; with PAGE, replace them in that file.

    Example: python bench/quality.py page docs/quality.md
    """
    rendered = render_all_page_tables(results)
    if page:
        page.write_text(insert_tables(page.read_text(encoding="utf-8"), rendered), encoding="utf-8")
    print_result(rendered, "\n\n".join(rendered.values()), as_json=as_json)


def render_all_page_tables(results: Path) -> dict[str, str]:
    """The tables of docs/quality.md by name, in Markdown."""
    summary = render_geometry_summary(read_results(GEOMETRY_RESULTS_FILE))
    return render_page_tables(read_results(results)) | {"geometry": summary}


if __name__ == "__main__":
    main()
