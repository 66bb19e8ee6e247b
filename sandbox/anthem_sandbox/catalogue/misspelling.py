"""How fingers slip: one error a word, each kind a function of the word and the place of the slip."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KEYBOARD_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURING_KEYS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in KEYBOARD_ROWS
    for place, key in enumerate(row)
}


def replace_with_neighbour(word: str, place: int) -> str:
    """The key beside the one meant: `sofa`, 3 -> `sofs`."""
    return word[:place] + NEIGHBOURING_KEYS.get(word[place], word[place])[-1] + word[place + 1 :]


def transpose_letters(word: str, place: int) -> str:
    """Two letters change places: `sofa`, 2 -> `soaf`."""
    return word[:place] + word[place : place + 2][::-1] + word[place + 2 :]


def drop_letter(word: str, place: int) -> str:
    """A letter left out: `sofa`, 1 -> `sfa`."""
    return word[:place] + word[place + 1 :]


def double_letter(word: str, place: int) -> str:
    """A letter twice: `sofa`, 2 -> `soffa`."""
    return word[: place + 1] + word[place:]


TYPING_ERRORS: dict[str, Callable[[str, int], str]] = {
    "neighbour": replace_with_neighbour,
    "transposed": transpose_letters,
    "dropped": drop_letter,
    "doubled": double_letter,
}


def misspell(text: str, rng: random.Random) -> tuple[str, str]:
    """Misspell one word of four letters or more, or run two words together; the text unchanged where neither can be.

    Returns:
        The misspelled text and the kind of error.
    """
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    if len(words) > 1 and (not long or rng.random() < 0.15):
        place = rng.randrange(len(words) - 1)
        return " ".join([*words[:place], words[place] + words[place + 1], *words[place + 2 :]]), "run together"
    if not long:
        return text, "none"
    chosen, kind = rng.choice(long), rng.choice(sorted(TYPING_ERRORS))
    words[chosen] = TYPING_ERRORS[kind](words[chosen], rng.randrange(1, len(words[chosen]) - 1))
    return " ".join(words), kind
