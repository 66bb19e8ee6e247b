"""What moved a hit, in words: the share of its attention grid that each pair of a query and a title word has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import regex

from anthem_core.encoding.tokenizer import TOKENIZER_RULES, split_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anthem_core.encoding.attention_grid import GridExplainer, TitleGrid
    from anthem_core.geometry.lorentz import Array

_WORD = regex.compile(str(TOKENIZER_RULES["word"]))


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
    return sorted(word_pairs(grid, phrase, title), key=lambda pair: -pair.share)[:limit]


def word_pairs(grid: TitleGrid, query: str, title: str) -> list[WordPair]:
    """Every word of the query with every word of the title; a share is the sum of the cells of their trigrams.

    A word that occurs twice counts as one, spelled as at its first place.
    """
    query_words, rows = _index_words(query, len(grid.query))
    title_words, columns = _index_words(title, len(grid.title))
    shares = _sum_groups(_sum_groups(grid.cells, rows).T, columns).T
    return [
        WordPair(asked, offered, float(shares[i, j]))
        for i, asked in enumerate(query_words)
        for j, offered in enumerate(title_words)
    ]


def spelled_words(text: str) -> list[str]:
    """Words of a text as it spells them, one for each word of `split_words`; normalised where they do not correspond.

    They do not correspond where normalising splits or joins words, as in `½`.
    """
    words, spelled = split_words(text), _WORD.findall(text)
    return spelled if [split_words(word) for word in spelled] == [[word] for word in words] else words


def _index_words(text: str, trigrams: int) -> tuple[list[str], Sequence[int]]:
    """The distinct words of a text that its first trigrams belong to, and the index of each trigram's word."""
    words: dict[str, int] = {}
    spellings: list[str] = []
    numbers: list[int] = []
    for word, spelling in zip(split_words(text), spelled_words(text), strict=True):
        if len(numbers) >= trigrams:
            break
        if word not in words:
            words[word] = len(words)
            spellings.append(spelling)
        numbers += [words[word]] * len(word)  # a word of n characters has n trigrams
    return spellings, numbers[:trigrams]


def _sum_groups(values: Array, groups: Sequence[int]) -> Array:
    """Sums of the rows of each group, `(R, C)` to `(groups, C)`."""
    sums = np.zeros((max(groups) + 1, values.shape[1]))
    np.add.at(sums, np.asarray(groups), values)
    return sums
