"""What moved a hit, in words: the share of its attention grid that each pair of a query and a title word has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anthem_plugin.search.spelling import spelled_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anthem_core.encoding.attention_grid import GridExplainer, TitleGrid
    from anthem_core.encoding.text_rules import TextRules
    from anthem_core.encoding.tokenizer import Entity
    from anthem_core.geometry.lorentz import Array


@dataclass(frozen=True, slots=True)
class WordPair:
    """A word of the query as it was typed, one of the title as it is spelled there, and their share of the grid."""

    query: str
    title: str
    share: float


def strongest_pairs(explainer: GridExplainer, phrases: Iterable[str], title: str, *, limit: int = 2) -> list[WordPair]:
    """Pairs with the largest shares, largest first, in the grid of the phrase that the title answers best.

    Empty if the title, or every phrase, has no letters or digits.
    """
    grids = [(grid, phrase) for phrase in phrases if (grid := explainer.explain_title(phrase, title)) is not None]
    if not grids:
        return []
    grid, phrase = max(grids, key=lambda pair: pair[0].score)
    rules = explainer.bundle.vocabulary.text_rules
    return sorted(word_pairs(grid, phrase, title, rules), key=lambda pair: -pair.share)[:limit]


def word_pairs(grid: TitleGrid, query: str, title: str, rules: TextRules) -> list[WordPair]:
    """Every word of the query with every word of the title; a share is the sum of the cells of their entities.

    A word that occurs twice counts as one, spelled as at its first place.
    """
    query_words, rows = _index_words(grid.query, query, rules)
    title_words, columns = _index_words(grid.title, title, rules)
    shares = _sum_groups(_sum_groups(grid.cells, rows).T, columns).T
    return [
        WordPair(asked, offered, float(shares[i, j]))
        for i, asked in enumerate(query_words)
        for j, offered in enumerate(title_words)
    ]


def _index_words(entities: Sequence[Entity], text: str, rules: TextRules) -> tuple[list[str], list[int]]:
    """The distinct words of a text that have entities, as it spells them, and the index of each entity's word."""
    words, spelled = rules.split_words(text), spelled_words(text, rules)
    firsts = {word: number for number, word in reversed(list(enumerate(words)))}
    distinct = sorted({firsts[words[entity.word]] for entity in entities})
    indices = {number: index for index, number in enumerate(distinct)}
    return [spelled[number] for number in distinct], [indices[firsts[words[entity.word]]] for entity in entities]


def _sum_groups(values: Array, groups: Sequence[int]) -> Array:
    """Sums of the rows of each group, `(R, C)` to `(groups, C)`."""
    sums = np.zeros((max(groups) + 1, values.shape[1]))
    np.add.at(sums, np.asarray(groups), values)
    return sums
