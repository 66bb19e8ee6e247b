"""`anthem explain`: the attention grid of titles, their places in the query's region, their scores, and a map."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict, Unpack

import click

from anthem_core.console import FiniteFloatRange, bundle_option, handle_errors, json_option, print_result
from anthem_core.files import is_standard_output
from anthem_core.output_files import bundle_files, check_output_files
from anthem_evaluation.explain.outputs import (
    MAP_OPTION,
    PAGE_OPTION,
    MapOptions,
    ReadingOptions,
    check_outputs,
    explain_titles,
    unmapped_note,
    write_outputs,
)

_FILE_PATH = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def _valid_text(text: str) -> str:
    """An argument in which bytes that are not UTF-8 are question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


class OutputOptions(TypedDict):
    """Files that the command writes."""

    png: Path | None
    svg: Path | None
    map_file: Path | None
    html: Path | None


@click.command()
@click.argument("query", type=_valid_text)
@click.argument("titles", nargs=-1, required=True, type=_valid_text)
@bundle_option
@click.option(
    "--lexical",
    type=FiniteFloatRange(min=0),
    multiple=True,
    help="Lexical score of each title, in their order; without them, only the model's factor is shown.",
)
@click.option("--entities", is_flag=True, help="Show the grid by entities (words and trigrams) instead of by words.")
@click.option(
    "--with",
    "others",
    multiple=True,
    type=_valid_text,
    metavar="QUERY",
    help="Show another query on the map; may be repeated.",
)
@click.option(
    "--join",
    type=click.Choice(["union", "intersection"]),
    help="Hatch on the map what lies in any of the queries, or in all of them; needs --with.",
)
@click.option("--png", type=_FILE_PATH, help="Write the grids as a PNG picture.")
@click.option("--svg", type=_FILE_PATH, help="Write the grids as an SVG picture.")
@click.option("--map", "map_file", type=_FILE_PATH, help="Write the map as a picture; the name ends in .png or .svg.")
@click.option("--html", type=_FILE_PATH, help="Write everything as one HTML page that loads no other files.")
@json_option
@handle_errors
def explain(  # noqa: PLR0913 (one argument per option)
    *,
    query: str,
    titles: tuple[str, ...],
    bundle_name: str,
    lexical: tuple[float, ...],
    entities: bool,
    others: tuple[str, ...],
    join: Literal["union", "intersection"] | None,
    as_json: bool,
    **outputs: Unpack[OutputOptions],
) -> None:
    """Show why each of TITLES has its place for QUERY: the attention grid, the query's region and the score.

    The grid has the words of the query as rows and those of the title as columns. A cell is the share of the attention
    that the pair has. The map shows which titles the query's region contains. Needs no cluster. If a file is written to
    standard output (-), the result is printed to standard error. Exit codes: 0 explained, 3 the bundle cannot be used,
    4 QUERY has no letters or digits, or a file cannot be written, 9 the extra `pictures` is not installed.

    \b
    Example:
      anthem explain 'body lotion' 'Aveeno Daily Moisturizer 18 oz' 'Body Wash 12 oz'
      anthem explain 'cordless dril' 'DEWALT Cordless Drill Kit' --lexical 7.1 --png grid.png --html grid.html
      anthem explain drill 'Makita Drill' 'Cordless Phone' --with cordless --join intersection --map map.png
    """
    if lexical and len(lexical) != len(titles):
        raise click.UsageError(f"{len(lexical)} lexical scores for {len(titles)} titles. Give one --lexical per title.")
    if join and not others:
        raise click.UsageError("--join joins QUERY with other queries; name them with --with.")
    files = _files_by_option(outputs)
    check_output_files(files, {"--bundle": bundle_files(bundle_name)})
    check_outputs(files)
    is_mapped = bool(others) or MAP_OPTION in files
    shown: MapOptions | None = {"others": others, "join": join} if is_mapped or PAGE_OPTION in files else None
    explained = explain_titles(bundle_name, query, titles, lexical, shown)
    style: ReadingOptions = {"by_words": not entities, "has_lexical": bool(lexical)}
    write_outputs(explained, files, **style)
    from anthem_plugin.explanation_text import render_explanations, wrap_paragraph

    text = render_explanations(query, explained.titles, explained.weights, **style)
    if is_mapped and explained.map:
        text += f"\n\n{wrap_paragraph(f'{explained.map.description} {unmapped_note(explained)}')}"
    print_result(explained.to_dict(), text, as_json=as_json, to_stderr=any(map(is_standard_output, files.values())))


def _files_by_option(outputs: OutputOptions) -> dict[str, Path]:
    """The files that are written, by the option that names each."""
    names = ("--png", "--svg", MAP_OPTION, PAGE_OPTION)
    paths = (outputs["png"], outputs["svg"], outputs["map_file"], outputs["html"])
    return {option: path for option, path in zip(names, paths, strict=True) if path is not None}
