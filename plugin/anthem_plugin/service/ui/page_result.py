"""What the page shows of one search: every product with the numbers that its place is computed from."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.opensearch.schema import product_text
from anthem_plugin.rewriter.query_text import value_at_path
from anthem_plugin.scoring.params import FUSION_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.scoring.params import ScoringParams, Signals
    from anthem_plugin.search.response import Hit

MAX_TITLE_CHARACTERS = 300
MAX_TEXT_CHARACTERS = 2000  # the model reads the first 128 entities of a title
_WORD = re.compile(r"\w+")
_SIMILARITY = 0.6  # of a word of the query and a word of a title, as difflib measures it


@dataclass(frozen=True, slots=True)
class PageProduct:
    """A product of the lexical list and its signals; None for a signal that it lacks or that did not rank.

    Attributes:
        id: Its id in the index.
        title: What the page shows.
        text: What the model compares with the query.
        lexical: Its lexical score.
        distance: Its distance to the query's region.
        attention: Its attention score.
    """

    id: str
    title: str
    text: str
    lexical: float
    distance: float | None
    attention: float | None


def page_products(
    hits: Sequence[Hit], field: str, text_fields: Sequence[str], distance: Array | None, attention: Array | None
) -> list[PageProduct]:
    """The hits of a lexical search as the page shows them; `distance` and `attention` are `(N,)`, NaN if unknown."""
    products = []
    for number, hit in enumerate(hits):
        source = hit.get("_source", {})
        text = product_text(source, text_fields)
        title = value_at_path(source, field)
        shown = title if isinstance(title, str) else product_text(source, (field,)) or text
        signals = (_value(distance, number), _value(attention, number))
        products.append(
            PageProduct(
                hit["_id"],
                _clean(shown, MAX_TITLE_CHARACTERS),
                _clean(text, MAX_TEXT_CHARACTERS),
                hit["_score"],
                *signals,
            )
        )
    return products


def describe_fusion(scoring: ScoringParams, signals: Signals) -> dict[str, Any] | None:
    """The weights that ranked a search, and their name in the bundle; None if the model did not rank it."""
    if not signals:
        return None
    return {"name": FUSION_NAMES[signals], "weights": scoring.fusion_for(signals).to_dict()}


def page_order(before: Sequence[Hit], after: Sequence[Hit]) -> list[int]:
    """The places in the lexical list of the hits in their new order; a hit that it lacks is left out."""
    places = {(hit["_index"], hit["_id"]): place for place, hit in enumerate(before)}
    order = [places[key] for hit in after if (key := (hit["_index"], hit["_id"])) in places]
    return order + sorted({*places.values()} - {*order})


def products_to_json(products: Sequence[PageProduct]) -> list[dict[str, Any]]:
    """Products as the page reads them."""
    return [asdict(product) for product in products]


def suggest_query(query: str, titles: Sequence[str]) -> str | None:
    """The query with the words of titles that its words resemble; None if that changes nothing."""
    known = sorted({word for title in titles for word in _WORD.findall(title.casefold())})

    def mend(found: re.Match[str]) -> str:
        word = found[0].casefold()
        return found[0] if word in known else next(iter(get_close_matches(word, known, 1, _SIMILARITY)), found[0])

    mended = _WORD.sub(mend, query)
    return None if mended == query else mended


def _value(values: Array | None, number: int) -> float | None:
    return None if values is None or not np.isfinite(values[number]) else float(values[number])


def _clean(text: str, limit: int) -> str:
    """The start of a text; a lone surrogate, which UTF-8 cannot encode, becomes a question mark."""
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return shown.encode("utf-8", "replace").decode()
