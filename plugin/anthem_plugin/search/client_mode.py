"""The part of a course that reranks in this process: the whole window is fetched, scored and cut to the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.opensearch.schema import product_text
from anthem_plugin.rewriter.rescore import build_window_body
from anthem_plugin.rewriter.source_filtering import fetchable_texts
from anthem_plugin.search.request import (
    NO_HITS_REASON,
    RERANK_TIME_SHARE,
    ComputeStep,
    RankedResponse,
    RerankSkipped,
    check_shards,
    no_vectors_reason,
    rewritten_body,
)
from anthem_plugin.search.response import narrow_to_page, read_point, rerank_hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionScorer
    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.request import EncodedRequest, Response, SearchRequest, Signal, Steps
    from anthem_plugin.search.response import Hit

_STEP = 16  # titles that attention sees between two looks at the budget


class ClientMode:
    """Reranks by all signals there are: what scores hits, and the fields of their texts."""

    def __init__(self, scoring: ScoringParams, attention: AttentionScorer | None, text_fields: Sequence[str]) -> None:
        self.attention = attention
        self._scoring = scoring
        self._text_fields = tuple(text_fields)

    def ranked(self, request: SearchRequest, asked: EncodedRequest) -> Steps[RankedResponse]:
        """Course of a search that is reranked here."""
        if "filter_path" in request.options:
            raise RerankSkipped("`filter_path` may keep from the client what it ranks by")
        fields = self._scoring.fields
        texts = fetchable_texts(request.body, fields, self._text_fields) if self.attention else ()
        wide = rewritten_body(build_window_body(request.body, window=request.window, fields=fields, texts=texts))
        response = yield from check_shards(request, (yield request.search(wide, RERANK_TIME_SHARE)))
        ranked: RankedResponse = yield ComputeStep(lambda: self._scored(request, asked, response, texts))
        return ranked

    def _scored(
        self, request: SearchRequest, asked: EncodedRequest, response: Response, texts: Sequence[str]
    ) -> RankedResponse:
        hits, window = response["hits"]["hits"], request.window
        lexical = narrow_to_page(response, request.body, hits, self._scoring, texts)
        if not lexical["hits"]["hits"]:
            raise RerankSkipped(NO_HITS_REASON, lexical)
        attention = self._attended(asked, hits[:window], texts)
        signals = informative_signals(hits[:window], self._scoring, attention)
        if signals == ["lexical"]:
            raise RerankSkipped(str(asked.budget) if asked.budget.over else no_vectors_reason(request.index), lexical)
        ranked = rerank_hits(hits, asked.query, self._scoring, window=window, attention=attention)
        return RankedResponse(narrow_to_page(response, request.body, ranked, self._scoring, texts), "client", signals)

    def _attended(self, asked: EncodedRequest, hits: Sequence[Hit], texts: Sequence[str]) -> Array | None:
        """Attention of the hits in the window; None where not one of them has a text, or the budget is used up."""
        attention = self.attention
        if attention is None or not texts or not asked.phrases:
            return None
        titles = [product_text(hit.get("_source", {}), texts) for hit in hits]
        step = len(titles) if asked.budget.seconds is None else _STEP
        found = []
        for start in range(0, len(titles), step):
            some = titles[start : start + step]
            found.append(asked.budget.spend(lambda some=some: attention_scores(attention, asked.phrases, some)))  # type: ignore[misc]
            if asked.budget.over:
                return None
        values = np.concatenate(found)
        return values if np.isfinite(values).any() else None


def informative_signals(hits: Sequence[Hit], scoring: ScoringParams, attention: Array | None) -> list[Signal]:
    """Signals that can tell one hit of the window from another."""
    contained = any(read_point(hit, scoring) is not None for hit in hits)
    signals: list[Signal] = ["lexical"]
    signals += ["containment"] if contained else []
    return signals + (["attention"] if attention is not None else [])


def attention_scores(attention: AttentionScorer, asked: Sequence[str], texts: Sequence[str]) -> Array:
    """Attention scores `(N,)` of texts, each from the phrase that looks at it most; NaN where none does."""
    most: Array = np.fmax.reduce([attention.scores(phrase, texts) for phrase in asked])
    return most
