"""The part of a course that reranks in this process: the whole window is fetched, scored and cut to the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.text import text_of
from anthem_plugin.rerank import narrow, rerank, stored_point
from anthem_plugin.rewrite import widen
from anthem_plugin.sources import readable
from anthem_plugin.steps import NO_HITS, SHARE, LeftAloneError, Ranked, Work, accepted, no_vectors, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.attention import Attention
    from anthem_core.lorentz import Array
    from anthem_plugin.rerank import Hit
    from anthem_plugin.scoring import Scoring
    from anthem_plugin.steps import Asked, Course, Request, Response, Signal

_STEP = 16  # titles that attention sees between two looks at the budget


class InClient:
    """Reranks by all signals there are: what scores hits, and the fields of their texts."""

    def __init__(self, scoring: Scoring, attention: Attention | None, text_fields: Sequence[str]) -> None:
        self.attention = attention
        self._scoring = scoring
        self._text_fields = tuple(text_fields)

    def ranked(self, request: Request, asked: Asked) -> Course[Ranked]:
        """Course of a search that is reranked here."""
        if "filter_path" in request.options:
            raise LeftAloneError("`filter_path` may keep from the client what it ranks by")
        fields = self._scoring.fields
        texts = readable(request.body, fields, self._text_fields) if self.attention else ()
        wide = accepted(widen(request.body, window=request.window, fields=fields, texts=texts))
        response = yield from whole(request, (yield request.search(wide, SHARE)))
        ranked: Ranked = yield Work(lambda: self._scored(request, asked, response, texts))
        return ranked

    def _scored(self, request: Request, asked: Asked, response: Response, texts: Sequence[str]) -> Ranked:
        hits, window = response["hits"]["hits"], request.window
        lexical = narrow(response, request.body, hits, self._scoring, texts)
        if not lexical["hits"]["hits"]:
            raise LeftAloneError(NO_HITS, lexical)
        attention = self._attended(asked, hits[:window], texts)
        signals = signals_of(hits[:window], self._scoring, attention)
        if signals == ["lexical"]:
            raise LeftAloneError(str(asked.budget) if asked.budget.over else no_vectors(request.index), lexical)
        ranked = rerank(hits, asked.query, self._scoring, window=window, attention=attention)
        return Ranked(narrow(response, request.body, ranked, self._scoring, texts), "client", signals)

    def _attended(self, asked: Asked, hits: Sequence[Hit], texts: Sequence[str]) -> Array | None:
        """Attention of the hits in the window; None where not one of them has a text, or the budget is used up."""
        attention = self.attention
        if attention is None or not texts or not asked.phrases:
            return None
        titles = [text_of(hit.get("_source", {}), texts) for hit in hits]
        step = len(titles) if asked.budget.seconds is None else _STEP
        found = []
        for start in range(0, len(titles), step):
            some = titles[start : start + step]
            found.append(asked.budget.spend(lambda some=some: _most_attended(attention, asked.phrases, some)))  # type: ignore[misc]
            if asked.budget.over:
                return None
        values = np.concatenate(found)
        return values if np.isfinite(values).any() else None


def signals_of(hits: Sequence[Hit], scoring: Scoring, attention: Array | None) -> list[Signal]:
    """Signals that can tell one hit of the window from another."""
    contained = any(stored_point(hit, scoring) is not None for hit in hits)
    signals: list[Signal] = ["lexical"]
    signals += ["containment"] if contained else []
    return signals + (["attention"] if attention is not None else [])


def _most_attended(attention: Attention, asked: Sequence[str], texts: Sequence[str]) -> Array:
    """Attention scores `(N,)` of texts, each from the phrase that looks at it most; NaN where none does."""
    most: Array = np.fmax.reduce([attention.scores(phrase, texts) for phrase in asked])
    return most
