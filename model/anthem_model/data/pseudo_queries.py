"""Pseudo-queries: queries that a shopper could have typed to find a title, generated from the title alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.encoding.tokenizer import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

MAX_PSEUDO_QUERY_WORDS = 5
MAX_PSEUDO_QUERIES = 20_000  # per catalogue
MAX_QUERIES_PER_TITLE = 4
MAX_MISSPELLED_WORDS = 6  # longer texts are titles, which have few typing errors
MISSPELLED_FRACTION = 0.6
MAX_INITIALISATION_TEXTS = 100_000  # per catalogue; larger ones are sampled


def sample_pseudo_query(title: list[str], random: Random) -> list[str]:
    """One to five words of a title: in three of four cases a span, otherwise a random selection in random order."""
    count = min(len(title), random.choice((1, 1, 2, 2, 3, 3, 4, MAX_PSEUDO_QUERY_WORDS)))
    if random.random() < 0.75:
        start = random.randrange(len(title) - count + 1)
        return title[start : start + count]
    return random.sample(title, count)


def sample_pseudo_queries(titles: Sequence[str], random: Random, count: int = MAX_PSEUDO_QUERIES) -> list[str]:
    """Up to `count` pseudo-queries of random titles, at most four per title on average, without typing errors."""
    title_words = [words for words in map(split_words, titles) if words]
    count = min(count, MAX_QUERIES_PER_TITLE * len(titles)) if title_words else 0
    return [" ".join(sample_pseudo_query(random.choice(title_words), random)) for _ in range(count)]


def initialisation_texts(
    titles: Sequence[str], queries: Sequence[str], random: Random, count: int = MAX_PSEUDO_QUERIES
) -> list[str]:
    """Texts that initialise a model: titles, then up to `count` pseudo-queries, then queries.

    If they are more than 100,000 texts, a random sample of them in random order.
    """
    texts = [*titles, *sample_pseudo_queries(titles, random, count), *queries]
    return texts if len(texts) <= MAX_INITIALISATION_TEXTS else random.sample(texts, MAX_INITIALISATION_TEXTS)


def misspell(word: str, random: Random) -> str:
    """The word with one typing error: a letter dropped, doubled, swapped with the next or replaced.

    The first letter and words of fewer than four letters are not changed.
    """
    if len(word) < 4:
        return word
    at = random.randrange(1, len(word) - 1)
    misspelled = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + random.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :],
    )
    return random.choice(misspelled)


def misspell_text(text: str, random: Random) -> str | None:
    """A text of two to six words in which three words of five have a typing error; None if it has fewer or more."""
    words = split_words(text)
    if not 2 <= len(words) <= MAX_MISSPELLED_WORDS:
        return None
    return " ".join(misspell(word, random) if random.random() < MISSPELLED_FRACTION else word for word in words)


def add_typing_errors(query: list[str], random: Random) -> str:
    """Words joined to a query: one in five queries has a misspelled word, one in ten has two words run together."""
    typed = list(query)
    if random.random() < 0.2:
        at = random.randrange(len(typed))
        typed[at] = misspell(typed[at], random)
    if len(typed) > 1 and random.random() < 0.1:
        at = random.randrange(len(typed) - 1)
        typed[at : at + 2] = [typed[at] + typed[at + 1]]
    return " ".join(typed)
