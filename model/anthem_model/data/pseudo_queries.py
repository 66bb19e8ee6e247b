"""Pseudo-queries: what a shopper might have typed to find a title, made from the title alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.encoding.tokenizer import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

MAX_PSEUDO_QUERY_WORDS = 5
MAX_PSEUDO_QUERIES = 20_000  # pseudo-queries a shop at most
MAX_QUERIES_PER_TITLE = 4  # a title at most
MAX_INITIALISATION_TEXTS = 100_000  # texts of a shop that a reader reads, by chance where there are more


def sample_pseudo_query(title: list[str], random: Random) -> list[str]:
    """One to five words of a title: a span three times of four, else a random choice in random order."""
    count = min(len(title), random.choice((1, 1, 2, 2, 3, 3, 4, MAX_PSEUDO_QUERY_WORDS)))
    if random.random() < 0.75:
        start = random.randrange(len(title) - count + 1)
        return title[start : start + count]
    return random.sample(title, count)


def sample_pseudo_queries(titles: Sequence[str], random: Random, count: int = MAX_PSEUDO_QUERIES) -> list[str]:
    """So many pseudo-queries of some titles, fewer where there are few titles; words as they stand there."""
    found = [read for read in map(split_words, titles) if read]
    count = min(count, MAX_QUERIES_PER_TITLE * len(titles)) if found else 0
    return [" ".join(sample_pseudo_query(random.choice(found), random)) for _ in range(count)]


def initialisation_texts(
    titles: Sequence[str], queries: Sequence[str], random: Random, count: int = MAX_PSEUDO_QUERIES
) -> list[str]:
    """What a reader reads of a shop: its titles, so many pseudo-queries and its queries, some where they are many."""
    texts = [*titles, *sample_pseudo_queries(titles, random, count), *queries]
    return texts if len(texts) <= MAX_INITIALISATION_TEXTS else random.sample(texts, MAX_INITIALISATION_TEXTS)


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


def add_typing_errors(query: list[str], random: Random) -> str:
    """Words as somebody types them: one of five queries has a slip, one of ten runs two words together."""
    shown = list(query)
    if random.random() < 0.2:
        place = random.randrange(len(shown))
        shown[place] = misspell(shown[place], random)
    if len(shown) > 1 and random.random() < 0.1:
        place = random.randrange(len(shown) - 1)
        shown[place : place + 2] = [shown[place] + shown[place + 1]]
    return " ".join(shown)
