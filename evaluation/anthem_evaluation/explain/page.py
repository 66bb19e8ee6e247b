"""Explanations of titles as one HTML page that loads nothing."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import jinja2

from anthem_evaluation.explain.grid import grid_table

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
    return _template().render(
        query=query,
        titles=list(zip(explanations, grids, strict=True)),
        weights=weights,
        largest=largest,
        has_lexical=has_lexical,
        pairs=zip,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files("anthem_evaluation").joinpath("explain/page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)
