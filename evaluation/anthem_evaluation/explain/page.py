"""Explanations of titles as one HTML page that loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_evaluation.explain.grid import grid_table
from anthem_evaluation.templates import load_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_plugin.search.title_explanation import TitleExplanation


def render_page(
    query: str, explanations: Sequence[TitleExplanation], weights: Sequence[tuple[str, float]], *, has_lexical: bool
) -> str:
    """The page; every text in it is escaped. Shares are shown as numbers and as shades of one colour."""
    grids = [
        {name: grid_table(e.attention, by_words=name == "words") for name in ("words", "entities")}
        if e.attention
        else {}
        for e in explanations
    ]
    largest = max((float(grid["words"].cells.max()) for grid in grids if grid), default=1.0) or 1.0
    return load_template("explain/page.html.j2").render(
        query=query,
        titles=list(zip(explanations, grids, strict=True)),
        weights=weights,
        largest=largest,
        has_lexical=has_lexical,
        pairs=zip,
    )
