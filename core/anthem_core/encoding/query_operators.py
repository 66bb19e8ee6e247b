"""Operators in query texts: `fire OR kindle` searches for either phrase, where the caller enables operators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anthem_core.geometry.regions import Either, Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.regions import EncodedQuery

_OR_OPERATOR = re.compile(r"(?<!\S)OR(?!\S)")


def split_phrases(text: str) -> list[str]:
    """Split a query text at the operator OR, which is in capitals and a word by itself; `or` is an ordinary word.

    `"fire OR kindle"` gives `fire` and `kindle`. An OR with no phrase on one side is dropped; a text of nothing but ORs
    is itself a phrase.
    """
    phrases = [phrase.strip() for phrase in _OR_OPERATOR.split(text)]
    return [phrase for phrase in phrases if phrase] or [phrase for phrase in [text.strip()] if phrase]


def encode_phrases(encoder: Encoder, text: str) -> Region | None:
    """Region of a query text with OR between its phrases; for a single phrase, the encoded query itself.

    Phrases without letters or digits are ignored. None if no phrase is left: such a search is not reranked.
    """
    return unite_queries(map(encoder.encode_query, split_phrases(text)))


def unite_queries(queries: Iterable[EncodedQuery | None]) -> Region | None:
    """Union of the queries that are not None: the query itself if there is only one, None if all are None."""
    regions = [query for query in queries if query is not None]
    if len(regions) > 1:
        return Either(tuple(regions))
    return regions[0] if regions else None
