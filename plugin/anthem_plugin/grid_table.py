"""The attention grid of a title as a table of names and shares, by words or by entities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.search.title_explanation import TitleAttention


@dataclass(frozen=True, slots=True)
class GridTable:
    """Names of the rows (query) and columns (title) of a grid, and its shares, `(rows, columns)`."""

    query: list[str]
    title: list[str]
    cells: Array

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GridTable:
        """The grid in `TitleAttention.to_dict`, under `words` or `entities`."""
        return cls(values["query"], values["title"], np.array(values["cells"], np.float64))


def grid_table(attention: TitleAttention, *, by_words: bool) -> GridTable:
    """The grid by words as they are spelled, or by entities as the vocabulary names them."""
    if by_words:
        return GridTable(attention.words.query, attention.words.title, attention.words.cells)
    query, title = ([entity.name for entity in side] for side in (attention.grid.query, attention.grid.title))
    return GridTable(query, title, attention.grid.cells)
