"""Operators in query texts: `fire OR kindle` searches for either phrase, where the caller enables operators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anthem_core.geometry.regions import Either, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.geometry.regions import EncodedQuery

_OR_OPERATOR = re.compile(r"(?<!\S)OR(?!\S)")


def split_phrases(text: str) -> list[str]:
    """Split a query text at the operator OR, which is in capitals and a word by itself; `or` is an ordinary word.

    `"fire OR kindle"` gives `fire` and `kindle`. An OR with no phrase on one side is dropped; a text of nothing but ORs
    is itself a phrase.
    """
    phrases = [phrase.strip() for phrase in _OR_OPERATOR.split(text)]
    return [phrase for phrase in phrases if phrase] or [phrase for phrase in [text.strip()] if phrase]


def split_query_text(text: str, *, operators: bool) -> list[str]:
    """Phrases of a query text: split at OR if operators are enabled, otherwise the text itself."""
    return split_phrases(text) if operators else [text]


def encode_phrases(encode_query: Callable[[str], EncodedQuery | None], phrases: Iterable[str]) -> Region | None:
    """Union of the regions of some phrases; for a single phrase, the encoded query itself.

    `encode_query` is `Encoder.encode_query` or a cached version of it. Phrases without letters or digits are ignored.
    None if no phrase is left: such a search is not reranked.
    """
    queries = [query for phrase in phrases if (query := encode_query(phrase)) is not None]
    if len(queries) > 1:
        return Either(tuple(queries))
    return queries[0] if queries else None


def encode_tables(
    encode_table: Callable[[str], AttentionTable | None], phrases: Iterable[str]
) -> tuple[AttentionTable, ...]:
    """Attention tables of the phrases that have letters or digits.

    `encode_table` is `AttentionScorer.encode_query` or a cached version of it.
    """
    return tuple(table for phrase in phrases if (table := encode_table(phrase)) is not None)
