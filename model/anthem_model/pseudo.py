"""Pseudo-queries: what a shopper might have typed to find a title, made from the title alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

LONGEST = 5


def pseudo_query(words: list[str], random: Random) -> list[str]:
    """One to five words of a title: a span three times of four, else a random choice in random order."""
    count = min(len(words), random.choice((1, 1, 2, 2, 3, 3, 4, LONGEST)))
    if random.random() < 0.75:
        start = random.randrange(len(words) - count + 1)
        return words[start : start + count]
    return random.sample(words, count)


def misspell(word: str, random: Random) -> str:
    """The word with one slip of the fingers: a letter dropped, doubled, exchanged with the next, or another one."""
    if len(word) < 4:
        return word
    place = random.randrange(1, len(word) - 1)
    slips = (
        word[:place] + word[place + 1 :],
        word[:place] + word[place] + word[place:],
        word[:place] + word[place + 1] + word[place] + word[place + 2 :],
        word[:place] + random.choice("abcdefghijklmnopqrstuvwxyz") + word[place + 1 :],
    )
    return random.choice(slips)


def typed(words: list[str], random: Random) -> str:
    """Words as somebody types them: one of five queries has a slip, one of ten runs two words together."""
    shown = list(words)
    if random.random() < 0.2:
        place = random.randrange(len(shown))
        shown[place] = misspell(shown[place], random)
    if len(shown) > 1 and random.random() < 0.1:
        place = random.randrange(len(shown) - 1)
        shown[place : place + 2] = [shown[place] + shown[place + 1]]
    return " ".join(shown)
