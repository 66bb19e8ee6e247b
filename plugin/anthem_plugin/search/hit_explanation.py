"""Why a product has its place in one search: its ranks and scores before and after, its title's explanation, notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.opensearch.schema import product_text
from anthem_plugin.search.explain import Explanation, explain_hits, fused_signals, is_below_window
from anthem_plugin.search.hit_notes import KnownValues, write_notes
from anthem_plugin.search.response import read_point
from anthem_plugin.search.title_explanation import TitleExplanation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.regions import Region
    from anthem_plugin.search.request import IndexProfile, Response, Signal
    from anthem_plugin.search.response import Hit
    from anthem_plugin.search.title_explanation import TitleExplainer

_SAME_ATTENTION = 1e-5  # a larger difference of a text's attention score and the stored one's is no rounding


@dataclass(frozen=True, slots=True)
class FoundProduct:
    """What the cluster says about one product and a search.

    Attributes:
        index: The index or pattern that was searched.
        id: Id of the product.
        stored: The product with its text and the model's values; None if the index has none of this id.
        after: Response of the search, from its first hit on, and as many hits as were looked through.
        ranked: The product as a hit of that response, or None.
        rank: Its rank there from 1, or None.
        lexical: Its score by the caller's query alone; None if the query does not match it.
        lexical_rank: Its rank in the plain search from 1, or None if it is not among as many hits.
        from_texts: Whether attention was computed from the texts of the hits.
        dropping: Keys of the body that may have kept the product out of the hits although the query matches it.
        hiding: Options and keys of the body that limit the search to a part of the index.
        namesakes: The other indices that have a product with this id.
    """

    index: str
    id: str
    stored: Hit | None
    after: Response
    ranked: Hit | None
    rank: int | None
    lexical: float | None
    lexical_rank: int | None
    from_texts: bool
    dropping: tuple[str, ...] = ()
    hiding: tuple[str, ...] = ()
    namesakes: tuple[str, ...] = ()

    @property
    def in_window(self) -> bool:
        """Whether the model gave the product its score."""
        if self.ranked is None or not self.after["anthem"]["reranked"] or self.after["anthem"]["mode"] == "filter":
            return False
        score = self.ranked["_score"]
        return score is not None and not is_below_window(score, self.lexical or 0.0)


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """What a search asks for: its text, the phrases in it, and the region that it ranks by; None for what it lacks."""

    text: str | None
    phrases: Sequence[str]
    region: Region | None


@dataclass(frozen=True, slots=True)
class HitExplanation:
    """Why a product has its place in a search.

    Attributes:
        found: What the cluster says about the product.
        query: The query text, or None if the search has none.
        weights: Weights of the query's words and of the intersections of two words in its region, largest first.
        title: The explanation of its title, whose score adds up to the hit's `_score`; None if there is no product.
        notes: What is missing and why, in sentences.
    """

    found: FoundProduct
    query: str | None
    weights: list[tuple[str, float]]
    title: TitleExplanation | None
    notes: list[str]

    @property
    def signals(self) -> list[Signal]:
        """Signals that ranked the search; none if it was not reranked."""
        signals: list[Signal] = self.found.after["anthem"]["signals"]
        return signals

    def to_dict(self) -> dict[str, Any]:
        """Values by name; `titles` has one title, as `anthem explain --json` prints it, or none."""
        titles = [self.title.to_dict()] if self.title else []
        return {"query": self.query, "weights": self.weights, "titles": titles, "hit": self._hit_values()}

    def _hit_values(self) -> dict[str, Any]:
        found, report = self.found, self.found.after["anthem"]
        return {
            "index": found.stored["_index"] if found.stored else found.index,
            "id": found.id,
            "rank": found.rank,
            "score": found.ranked and found.ranked["_score"],
            "lexical_rank": found.lexical_rank,
            "lexical": found.lexical,
            "matches": found.lexical is not None,
            "in_window": found.in_window,
            **{name: report[name] for name in ("reranked", "mode", "signals", "reason")},
            "notes": self.notes,
        }


def explain_product(
    found: FoundProduct,
    asked: AskedQuery,
    profile: IndexProfile,
    explainer: TitleExplainer,
) -> HitExplanation:
    """The explanation of a product that was looked up for a search."""
    weights = explainer.phrase_weights(asked.phrases)
    if found.stored is None:
        return HitExplanation(found, asked.text, weights, None, write_notes(found, profile, None, KnownValues()))
    shown = product_text(found.stored.get("_source", {}), profile.text_fields)
    attention = explainer.explain_attention(asked.phrases, shown)
    attended = explainer.stored_attention(asked.phrases, found.stored, profile.scoring)
    is_stale = bool(attention) and abs(attended - (attention.score if attention else 0)) > _SAME_ATTENTION
    if found.from_texts:
        attended = attention.score if attention else np.nan
    part = _explain_stored(found, asked.region, profile, attended)
    title = TitleExplanation(shown, attention, part.region, part.score)
    known = KnownValues(
        has_words=asked.region is not None,
        has_point=read_point(found.stored, profile.scoring) is not None,
        is_stale=is_stale and not found.from_texts,
    )
    notes = write_notes(found, profile, title, known)
    return HitExplanation(found, asked.text, weights, title, notes)


def _explain_stored(found: FoundProduct, region: Region | None, profile: IndexProfile, attention: float) -> Explanation:
    """Where the product lies, and the parts of its score if the model gave it one."""
    if region is None or found.stored is None:
        return Explanation(None, None)
    signals = fused_signals(found.after["anthem"], profile, from_texts=found.from_texts)
    hit = {**found.stored, "_score": found.ranked and found.ranked["_score"]}
    lexical = (found.lexical or 0.0) if found.in_window else None  # of retrieved products, the query matches no word
    (part,) = explain_hits([hit], [lexical], region, profile.scoring, signals, np.array([attention]))
    return part
