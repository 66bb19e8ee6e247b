"""`anthem explain`: the attention grid of titles, their places in the query's region, and their scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import FiniteFloatRange, bundle_option, handle_errors, json_option, print_result, stderr
from anthem_core.errors import DataError, require_extra
from anthem_core.files import check_writable, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_plugin.search.title_explanation import TitleExplanation

_FILE_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("query")
@click.argument("titles", nargs=-1, required=True)
@bundle_option
@click.option(
    "--lexical",
    type=FiniteFloatRange(min=0),
    multiple=True,
    help="Lexical score of each title, in their order; without them, only the model's factor is shown.",
)
@click.option("--entities", is_flag=True, help="Show the grid by entities (words and trigrams) instead of by words.")
@click.option("--png", type=_FILE_PATH, help="Write the grids as a PNG picture.")
@click.option("--svg", type=_FILE_PATH, help="Write the grids as an SVG picture.")
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
    png: Path | None,
    svg: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show why each of TITLES has its place for QUERY: the attention grid, the query's region and the score.

    The grid has the words of the query as rows and those of the title as columns. A cell is the share of the attention
    that the pair has. Needs no cluster. Exit codes: 0 explained, 3 the bundle cannot be used, 4 QUERY has no letters or
    digits, or a file cannot be written.

    \b
    Example:
      anthem explain 'body lotion' 'Aveeno Daily Moisturizer 18 oz' 'Body Wash 12 oz'
      anthem explain 'cordless dril' 'DEWALT Cordless Drill Kit' --lexical 7.1 --png grid.png --html grid.html
    """
    if lexical and len(lexical) != len(titles):
        raise click.UsageError(f"{len(lexical)} lexical scores for {len(titles)} titles. Give one --lexical per title.")
    for picture in (png, svg):
        if picture:
            require_extra("pictures", "matplotlib")
            check_writable(picture)
    if html:
        require_extra("pictures", "jinja2")
        check_writable(html)
    weights, explanations = _explain_titles(bundle_name, query, titles, lexical)
    for kind, path in (("png", png), ("svg", svg)):
        if path:
            _write_picture(query, explanations, path, kind, by_words=not entities)
    if html:
        _write_page(query, explanations, weights, html, has_lexical=bool(lexical))
    from anthem_evaluation.explain.text import render_explanations

    value = {"query": query, "weights": weights, "titles": [explanation.to_dict() for explanation in explanations]}
    text = render_explanations(query, explanations, weights, by_words=not entities, has_lexical=bool(lexical))
    print_result(value, text, as_json=as_json)


def _explain_titles(
    bundle_name: str, query: str, titles: Sequence[str], lexical: Sequence[float]
) -> tuple[list[tuple[str, float]], list[TitleExplanation]]:
    from anthem_core.encoding.bundle import load_bundle
    from anthem_plugin.search.title_explanation import TitleExplainer

    bundle = load_bundle(bundle_name)
    if not bundle.vocabulary.has_words(query):
        raise DataError(f"The query {query!r} has no letters or digits, so there is nothing to explain.")
    explainer = TitleExplainer(bundle)
    return explainer.query_weights(query), explainer.explain_all(query, titles, lexical)


def _write_picture(
    query: str, explanations: Sequence[TitleExplanation], path: Path, kind: str, *, by_words: bool
) -> None:
    from anthem_evaluation.explain.picture import write_grid_picture

    write_grid_picture(query, explanations, path, kind, by_words=by_words)
    stderr.print(f"Picture: {path}")


def _write_page(
    query: str,
    explanations: Sequence[TitleExplanation],
    weights: Sequence[tuple[str, float]],
    path: Path,
    *,
    has_lexical: bool,
) -> None:
    from anthem_evaluation.explain.page import render_page

    write_text(path, render_page(query, explanations, weights, has_lexical=has_lexical))
    stderr.print(f"Page: {path.resolve().as_uri()}")
