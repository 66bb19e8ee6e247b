"""How fingers slip: one error a word, each kind a function of the word and the place of the slip."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2] for row in KEYS for place, key in enumerate(row)
}


def neighbour(word: str, place: int) -> str:
    """The key beside the one meant: `sofa`, 3 -> `sofs`."""
    return word[:place] + NEIGHBOURS.get(word[place], word[place])[-1] + word[place + 1 :]


def transposed(word: str, place: int) -> str:
    """Two letters change places: `sofa`, 2 -> `soaf`."""
    return word[:place] + word[place : place + 2][::-1] + word[place + 2 :]


def dropped(word: str, place: int) -> str:
    """A letter left out: `sofa`, 1 -> `sfa`."""
    return word[:place] + word[place + 1 :]


def doubled(word: str, place: int) -> str:
    """A letter twice: `sofa`, 2 -> `soffa`."""
    return word[: place + 1] + word[place:]


SLIPS: dict[str, Callable[[str, int], str]] = {
    "neighbour": neighbour,
    "transposed": transposed,
    "dropped": dropped,
    "doubled": doubled,
}


def misspelled(text: str, rng: random.Random) -> tuple[str, str]:
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
    chosen, kind = rng.choice(long), rng.choice(sorted(SLIPS))
    words[chosen] = SLIPS[kind](words[chosen], rng.randrange(1, len(words[chosen]) - 1))
    return " ".join(words), kind
