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
    from anthem_core.encoding.tokenizer import Entity, Vocabulary
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery


@dataclass(frozen=True, slots=True)
class WordGrid:
    """An attention grid by words: `cells (Q, L)` for the words of the query, as typed, and of the title, as spelled.

    `rows (T,)` has the index of the word of each query entity.
    """

    query: list[str]
    title: list[str]
    cells: Array
    rows: list[int]


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
    """Every word of the query with every word of the title; a share is a cell of their `word_grid`."""
    merged = word_grid(grid, query, title, rules)
    return [
        WordPair(asked, offered, float(merged.cells[i, j]))
        for i, asked in enumerate(merged.query)
        for j, offered in enumerate(merged.title)
    ]


def word_grid(grid: TitleGrid, query: str, title: str, rules: TextRules) -> WordGrid:
    """Merge the entities of a grid into words: a cell is the sum of the cells of the entities of both words.

    A word that occurs twice counts as one, spelled as at its first place.
    """
    query_words, rows = _index_words(grid.query, query, rules)
    title_words, columns = _index_words(grid.title, title, rules)
    cells = _sum_groups(_sum_groups(grid.cells, rows).T, columns).T
    return WordGrid(query_words, title_words, cells, rows)


def region_weights(query: EncodedQuery, text: str, vocabulary: Vocabulary) -> list[tuple[str, float]]:
    """Weights in a query's region of its words and of the intersections of two words, `red × TV`, largest first.

    They add up to 1: a word has its entities and their intersections with each other.
    """
    words, rows = _index_words(vocabulary.entities(text, vocabulary.query_limit), text, vocabulary.text_rules)
    pairs = _sum_groups(_sum_groups(np.triu(query.intersections, 1).astype(np.float64), rows).T, rows)
    pairs = np.triu(pairs + pairs.T, 1) + np.diag(np.diag(pairs))
    single = np.diag(pairs) + np.bincount(rows, query.entities, minlength=len(words))
    named = [(name, float(weight)) for name, weight in zip(words, single, strict=True)]
    crossed = [
        (f"{words[i]} × {words[j]}", float(pairs[i, j])) for i, j in zip(*np.triu_indices(len(words), 1), strict=True)
    ]
    return sorted(named + crossed, key=lambda pair: -pair[1])


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
