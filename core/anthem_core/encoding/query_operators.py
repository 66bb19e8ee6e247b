"""Query texts of several phrases: `fire OR kindle` asks for either, where the caller says that OR is no word."""

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
    """Phrases between which a query text has the word OR, in capitals and apart from others; `or` is a word.

    `"fire OR kindle"` gives `fire` and `kindle`. An OR with nothing to one side joins nothing and falls out; a text of
    ORs alone is a phrase itself, for it joins nothing at all.
    """
    found = [phrase.strip() for phrase in _OR_OPERATOR.split(text)]
    return [phrase for phrase in found if phrase] or [phrase for phrase in [text.strip()] if phrase]


def encode_phrases(encoder: Encoder, text: str) -> Region | None:
    """Region of a query text with OR between its phrases, the query itself where there is but one.

    Phrases without letters or digits are left out; None where no other is left, a search left to OpenSearch.
    """
    return unite_queries(map(encoder.query, split_phrases(text)))


def unite_queries(queries: Iterable[EncodedQuery | None]) -> Region | None:
    """Either of the queries, the query itself where there is but one; None is left out, and None where no other is."""
    regions = [query for query in queries if query is not None]
    if len(regions) > 1:
        return Either(tuple(regions))
    return regions[0] if regions else None
