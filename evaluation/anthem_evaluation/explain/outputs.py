"""What `anthem explain` found out, and the files that it writes: pictures of the grids, the map, and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import click

from anthem_core.console import stderr
from anthem_core.errors import DataError, require_extra
from anthem_core.files import check_writable, is_standard_output, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anthem_plugin.search.disk_map import DiskMap
    from anthem_plugin.search.title_explanation import TitleExplanation

GRID_OPTIONS = {"--png": "png", "--svg": "svg"}  # and the kind of picture that each writes
MAP_OPTION, PAGE_OPTION = "--map", "--html"
_MAP_KINDS = {".png": "png", ".svg": "svg"}


class MapOptions(TypedDict):
    """Options of the command that say what the map shows beside QUERY."""

    others: tuple[str, ...]
    join: Literal["union", "intersection"] | None


class ReadingOptions(TypedDict):
    """How explanations are shown: grids by words or by entities, and scores only if lexical scores are known."""

    by_words: bool
    has_lexical: bool


@dataclass(frozen=True, slots=True)
class ExplainedTitles:
    """Explanations of titles, the weights of the query's region, and the map if an output shows it."""

    query: str
    weights: list[tuple[str, float]]
    titles: list[TitleExplanation]
    map: DiskMap | None = None

    def to_dict(self) -> dict[str, Any]:
        """Values by name."""
        titles = [title.to_dict() for title in self.titles]
        shown = {"map": self.map.to_dict()} if self.map else {}
        return {"query": self.query, "weights": self.weights, "titles": titles, **shown}


def check_outputs(files: Mapping[str, Path]) -> None:
    """Check the files by option before the work: what writes them is installed, and each can be written.

    Raises:
        click.UsageError: The map's name ends in another way.
        DataError: A file cannot be written.
        ExtraError: The extra `pictures` is not installed.
    """
    for option, path in files.items():
        if option == MAP_OPTION and path.suffix.lower() not in _MAP_KINDS:
            raise click.UsageError(f"{option} names {path}; expected a name that ends in .png or .svg.")
        require_extra("pictures", "matplotlib")
        if option == PAGE_OPTION:
            require_extra("pictures", "jinja2")
        check_writable(path, option)


def explain_titles(
    bundle_name: str, query: str, titles: Sequence[str], lexical: Sequence[float], shown: MapOptions | None
) -> ExplainedTitles:
    """Explanations of the titles; with options of a map, the map of the first titles.

    Raises:
        BundleError: The bundle cannot be used.
        DataError: A query has no letters or digits.
    """
    from anthem_core.encoding.bundle import load_bundle
    from anthem_plugin.search.disk_map import MAX_MAP_PRODUCTS, map_titles
    from anthem_plugin.search.title_explanation import TitleExplainer

    bundle = load_bundle(bundle_name)
    if not bundle.vocabulary.has_words(query):
        raise DataError(f"The query {query!r} has no letters or digits, so there is nothing to explain.")
    explainer, drawn = TitleExplainer(bundle), None
    if shown is not None:
        drawn = map_titles(explainer, [query, *shown["others"]], titles[:MAX_MAP_PRODUCTS], join=shown["join"])
    return ExplainedTitles(query, explainer.query_weights(query), explainer.explain_all(query, titles, lexical), drawn)


def unmapped_note(explained: ExplainedTitles) -> str:
    """Which titles the map leaves out, in a sentence; empty if it shows all."""
    from anthem_plugin.search.disk_map import MAX_MAP_PRODUCTS

    count = len(explained.titles)
    if explained.map is None or len(explained.map.points) == count:
        return ""
    first = f" among the first {MAX_MAP_PRODUCTS}" if count > MAX_MAP_PRODUCTS else ""
    return f"The map shows {len(explained.map.points)} of {count} titles: those with letters or digits{first}."


def write_outputs(explained: ExplainedTitles, files: Mapping[str, Path], *, by_words: bool, has_lexical: bool) -> None:
    """Write the files by option.

    Raises:
        DataError: A file cannot be written.
    """
    for option, path in files.items():
        if option in GRID_OPTIONS:
            from anthem_evaluation.explain.picture import MAX_DRAWN_TITLES, write_grid_picture

            write_grid_picture(explained.query, explained.titles, path, GRID_OPTIONS[option], by_words=by_words)
            part = f" (the first {MAX_DRAWN_TITLES} titles)" if len(explained.titles) > MAX_DRAWN_TITLES else ""
            stderr.print(f"Picture: {path}{part}")
        elif option == MAP_OPTION and explained.map:
            from anthem_evaluation.explain.map_picture import write_map_picture

            write_map_picture(explained.map, path, _MAP_KINDS[path.suffix.lower()])
            stderr.print(f"Map: {path}")
        elif option == PAGE_OPTION:
            from anthem_evaluation.explain.page import render_page

            write_text(path, render_page(explained, has_lexical=has_lexical))
            stderr.print("Page: standard output" if is_standard_output(path) else f"Page: {path.resolve().as_uri()}")
