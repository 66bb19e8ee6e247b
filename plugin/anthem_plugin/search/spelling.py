"""Words as a text spells them, `Pokémon` for `pokemon`: found in the text again, whatever the text rules change."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.text_rules import TextRules

_MAX_JOINED = 3  # pieces, between spaces, that may be one word
_CONTEXT = 2  # earlier pieces that decide which words a piece has, as in `12 Volt`
_MAX_SEARCHED = 64  # characters of a piece; longer ones are not searched for their words
_HAS_LETTER = regex.compile(r"[\p{L}\p{N}]")
_EDGES = regex.compile(r"^[^\p{L}\p{N}]+|[^\p{L}\p{N}\p{M}]+$")


def spelled_words(text: str, rules: TextRules) -> list[str]:
    """Words of a text as it spells them, one for each word of `rules.split_words`; normalised if unknown.

    HTML entities are decoded where the rules decode them.
    """
    words = rules.split_words(text)
    decoded = html.unescape(text)
    pieces = (decoded if rules.split_words(decoded) == words else text).split()
    spelled: list[str] = []
    start = 0
    while start < len(pieces):
        context = " ".join(pieces[max(0, start - _CONTEXT) : start])
        end, found = _find_next(context, pieces[start : start + _MAX_JOINED], words[len(spelled) :], rules)
        if not end:
            break
        spelled += _spell(context, " ".join(pieces[start : start + end]), found, rules)
        start += end
    return spelled + words[len(spelled) :]


def _find_next(context: str, pieces: Sequence[str], words: Sequence[str], rules: TextRules) -> tuple[int, list[str]]:
    """How many of the first pieces together have exactly the next words, and these words; 0 if no number does."""
    for end in range(1, len(pieces) + 1):
        found = _words_after(context, " ".join(pieces[:end]), rules)
        if found is not None and found == words[: len(found)]:
            return end, found
    return 0, []


def _words_after(context: str, piece: str, rules: TextRules) -> list[str] | None:
    """Words of a piece after its context; None if the piece changes the words of the context."""
    before, both = rules.split_words(context), rules.split_words(f"{context} {piece}")
    return both[len(before) :] if both[: len(before)] == before else None


def _spell(context: str, piece: str, words: list[str], rules: TextRules) -> list[str]:
    """Spelling of each word of a piece: the part between the end of the word before it and its own end."""
    ends = {0: 0, len(words): len(piece)}
    if len(words) > 1 and len(piece) <= _MAX_SEARCHED:
        for end in range(1, len(piece)):
            found = _words_after(context, piece[:end], rules)
            if found and found == words[: len(found)] != words:
                ends[len(found)] = end
    return [
        _trim(piece[ends[number] : ends[number + 1]], word, rules) if {number, number + 1} <= ends.keys() else word
        for number, word in enumerate(words)
    ]


def _trim(spelling: str, word: str, rules: TextRules) -> str:
    """A spelling without the punctuation around it; the word itself where there is only punctuation."""
    if not _HAS_LETTER.search(spelling):
        return word
    trimmed = _EDGES.sub("", spelling)
    return trimmed if rules.split_words(trimmed) == rules.split_words(spelling) else spelling.strip()
