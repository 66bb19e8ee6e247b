"""Misspells queries: typing errors, each a function of a word and the index of a letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KEYBOARD_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURING_KEYS = {
    key: row[max(index - 1, 0) : index] + row[index + 1 : index + 2]
    for row in KEYBOARD_ROWS
    for index, key in enumerate(row)
}


def replace_with_neighbour(word: str, index: int) -> str:
    """Replace a letter with a neighbouring key: `sofa`, 3 -> `sofs`."""
    return word[:index] + NEIGHBOURING_KEYS.get(word[index], word[index])[-1] + word[index + 1 :]


def transpose_letters(word: str, index: int) -> str:
    """Swap a letter with the next one: `sofa`, 2 -> `soaf`."""
    return word[:index] + word[index : index + 2][::-1] + word[index + 2 :]


def drop_letter(word: str, index: int) -> str:
    """Omit a letter: `sofa`, 1 -> `sfa`."""
    return word[:index] + word[index + 1 :]


def double_letter(word: str, index: int) -> str:
    """Repeat a letter: `sofa`, 2 -> `soffa`."""
    return word[: index + 1] + word[index:]


# The keys are written to the metadata of misspelled queries.
TYPING_ERRORS: dict[str, Callable[[str, int], str]] = {
    "neighbour": replace_with_neighbour,
    "transposed": transpose_letters,
    "dropped": drop_letter,
    "doubled": double_letter,
}


def misspell_query(text: str, rng: random.Random) -> tuple[str, str]:
    """Misspell one word of at least four letters, or join two words; the text is unchanged if neither is possible.

    Returns:
        The misspelled text and the kind of error.
    """
    words = text.split()
    long_words = [index for index, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    if len(words) > 1 and (not long_words or rng.random() < 0.15):
        index = rng.randrange(len(words) - 1)
        return " ".join([*words[:index], words[index] + words[index + 1], *words[index + 2 :]]), "run together"
    if not long_words:
        return text, "none"
    chosen, kind = rng.choice(long_words), rng.choice(sorted(TYPING_ERRORS))
    words[chosen] = TYPING_ERRORS[kind](words[chosen], rng.randrange(1, len(words[chosen]) - 1))
    return " ".join(words), kind
