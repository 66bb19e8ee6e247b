"""Explanations of titles as one HTML page that loads nothing."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from anthem_evaluation.explain.map_picture import bare_map_svg
from anthem_evaluation.explain.outputs import ExplainedTitles, unmapped_note
from anthem_evaluation.templates import load_template
from anthem_plugin.grid_table import grid_table
from anthem_plugin.search.map_words import describe_projection

if TYPE_CHECKING:
    from anthem_plugin.search.disk_map import DiskMap


def render_page(explained: ExplainedTitles, *, has_lexical: bool) -> str:
    """The page; every text in it is escaped. Shares are shown as numbers and as shades of one colour."""
    explanations = explained.titles
    grids = [
        {name: grid_table(e.attention, by_words=name == "words") for name in ("words", "entities")}
        if e.attention
        else {}
        for e in explanations
    ]
    largest = max((float(grid["words"].cells.max()) for grid in grids if grid), default=1.0) or 1.0
    return load_template("explain/page.html.j2").render(
        query=explained.query,
        titles=list(zip(explanations, grids, strict=True)),
        weights=explained.weights,
        map=explained.map,
        map_data=_picture_data(explained.map) if explained.map else "",
        unmapped=unmapped_note(explained),
        map_errors=describe_projection(explained.map.projection) if explained.map else "",
        largest=largest,
        has_lexical=has_lexical,
        pairs=zip,
    )


def _picture_data(shown: DiskMap) -> str:
    """The picture of the map as an address that contains it: scripts in it would not run, and it can load nothing."""
    return f"data:image/svg+xml;base64,{b64encode(bare_map_svg(shown)).decode()}"
