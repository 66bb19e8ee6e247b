"""Explanations of titles as text for a terminal: readable without colour, at most 80 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from anthem_core.console import printable, stderr
from anthem_plugin.grid_table import GridTable, grid_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anthem_plugin.search.explain import RegionPart, ScoreParts, SignalPart
    from anthem_plugin.search.title_explanation import TitleAttention, TitleExplanation

LINE_WIDTH = 80
MAX_NAME_WIDTH = 14  # characters of a word; a longer one is cut, so that several columns fit
MAX_SHOWN_WEIGHTS = 8
SMALLEST_SHOWN_SHARE = 0.005  # a smaller share would read .00


def render_explanations(
    query: str,
    explanations: Sequence[TitleExplanation],
    weights: Sequence[tuple[str, float]],
    *,
    by_words: bool,
    has_lexical: bool,
) -> str:
    """All explanations of a query, and the words and intersections that its region is made of."""
    blocks = [
        "\n".join(_explanation_lines(explanation, by_words=by_words, has_lexical=has_lexical))
        for explanation in explanations
    ]
    region = "\n".join(wrap_text(weights_line(query, weights), indent="")) if weights else ""
    return "\n\n".join(filter(None, [*blocks, region]))


def weights_line(query: str, weights: Sequence[tuple[str, float]]) -> str:
    """The words of a query and the intersections of two words with the largest weights, in a sentence."""
    parts = ", ".join(f"{printable(name)} {_share(weight)}" for name, weight in weights[:MAX_SHOWN_WEIGHTS])
    return f"The region of '{printable(query)}' is made of: {parts}"


def _explanation_lines(explanation: TitleExplanation, *, by_words: bool, has_lexical: bool) -> Iterator[str]:
    yield from wrap_text(printable(explanation.title) or "(empty title)", indent="")
    if explanation.attention is None:
        yield "  no attention: the title has no words, or the bundle has no attention"
    else:
        for block in grid_blocks(grid_table(explanation.attention, by_words=by_words)):
            yield from ["", *block]
        yield ""
        yield from wrap_text(_attention_line(explanation.attention))
    if explanation.region:
        yield from wrap_text(_region_line(explanation.region))
    if explanation.score:
        yield from wrap_text(_factor_line(explanation.score))
        if has_lexical:
            yield from wrap_text(_score_line(explanation.score))


def wrap_text(text: str, indent: str = "  ") -> list[str]:
    """Lines of a text that fit; those after the first are indented by two more columns."""
    lines = Text(text.replace(" -", " −")).wrap(stderr, LINE_WIDTH - len(indent) - 2)
    return [f"{indent}{'  ' if number else ''}{line.plain.rstrip()}" for number, line in enumerate(lines)]


def wrap_paragraph(text: str) -> str:
    """A text in lines that fit."""
    return "\n".join(wrap_text(printable(text), indent=""))


def grid_blocks(table: GridTable) -> Iterator[list[str]]:
    """The grid in blocks of as many columns as fit into a line, each with the names of the rows."""
    names, columns = ([_cut(name) for name in side] for side in (table.query, table.title))
    margin = max(map(cell_len, names)) + 2
    widths = [max(cell_len(name), 3) + 1 for name in columns]
    for start, end in _fitting_columns(widths, LINE_WIDTH - margin):
        header = _line("", margin, columns[start:end], widths[start:end])
        rows = zip(names, table.cells[:, start:end].tolist(), strict=True)
        yield [header, *(_line(name, margin, map(_share, row), widths[start:end]) for name, row in rows)]


def _fitting_columns(widths: Sequence[int], available: int) -> Iterator[tuple[int, int]]:
    """Start and end of each block of columns; a block has at least one column."""
    start = used = 0
    for number, width in enumerate(widths):
        if number > start and used + width > available:
            yield start, number
            start, used = number, 0
        used += width
    yield start, len(widths)


def _line(name: str, margin: int, cells: Iterable[str], widths: Iterable[int]) -> str:
    return _pad(name, margin) + "".join(_pad(cell, width) for cell, width in zip(cells, widths, strict=True))


def _pad(text: str, width: int) -> str:
    """Text at the right of `width` columns of the terminal, of which a Chinese character takes two."""
    return " " * (width - cell_len(text)) + text


def _cut(name: str) -> str:
    text = printable(name)
    return text if cell_len(text) <= MAX_NAME_WIDTH else f"{set_cell_size(text, MAX_NAME_WIDTH - 1).rstrip()}…"


def _share(share: float) -> str:
    return "·" if share < SMALLEST_SHOWN_SHARE else f"{share:.2f}".removeprefix("0")


def _attention_line(attention: TitleAttention) -> str:
    answers = zip(attention.words.query, attention.answers, strict=True)
    terms = [*(f"{printable(word)} {value:.3f}" for word, value in answers), f"title {attention.coverage:.3f}"]
    return f"attention {attention.score:.3f} = {' + '.join(terms)}"


def _region_line(region: RegionPart) -> str:
    margins = ", ".join(f"{margin.value:+.3f} (dimension {margin.dimension})" for margin in region.margins)
    slack = f"the query's region with its slack of {region.slack:.3f}"
    side = f"inside {slack}" if region.contained else f"outside {slack} by {region.outside_by:.3f}"
    return f"distance {region.distance:.3f}, {side}; tightest margins {margins}"


def _factor_line(score: ScoreParts) -> str:
    signals = (("attention", score.attention), ("distance", score.distance))
    terms = [f"{name} {_contribution(part)}" for name, part in signals if part]
    return f"factor {score.factor:.3f}, from m {score.shift:+.3f}: {', '.join(terms)}"


def _contribution(part: SignalPart) -> str:
    return "unknown" if part.value is None else f"{part.contribution:+.3f}"


def _score_line(score: ScoreParts) -> str:
    return f"score {score.score:.4f} = (lexical {score.lexical:.4f} + {score.offset:.4f})·{score.factor:.4f}"
