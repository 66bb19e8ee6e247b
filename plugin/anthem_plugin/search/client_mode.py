"""Searches that this process ranks: the whole window is fetched, scored with numpy and cut to the page."""

from __future__ import annotations

from functools import partial
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

_TITLES_PER_BUDGET_CHECK = 16


def rank_in_client(
    request: SearchRequest, encoded: EncodedRequest, attention: AttentionScorer | None
) -> Steps[RankedResponse]:
    """Steps of a search that is ranked by every signal that its hits have; without `attention`, by the other two.

    Raises:
        RerankSkipped: There is nothing to rank by, or the body does not allow it.
    """
    if "filter_path" in request.options:
        raise RerankSkipped("`filter_path` may remove what the client ranks by")
    fields = encoded.profile.scoring.fields
    texts = fetchable_texts(request.body, fields, encoded.profile.text_fields) if attention else ()
    body = rewritten_body(build_window_body(request.body, window=request.window, fields=fields, texts=texts))
    response = yield from check_shards(request, (yield request.search_step(body, RERANK_TIME_SHARE)))
    ranked: RankedResponse = yield ComputeStep(partial(_rank_window, request, encoded, response, texts, attention))
    return ranked


def _rank_window(
    request: SearchRequest,
    encoded: EncodedRequest,
    response: Response,
    texts: Sequence[str],
    attention: AttentionScorer | None,
) -> RankedResponse:
    scoring, hits, window = encoded.profile.scoring, response["hits"]["hits"], request.window
    lexical = narrow_to_page(response, request.body, hits, scoring, texts)
    if not lexical["hits"]["hits"]:
        raise RerankSkipped(NO_HITS_REASON, lexical)
    attention_scores = _score_within_budget(encoded, hits[:window], texts, attention)
    signals = list_signals(hits[:window], scoring, attention_scores)
    if signals == ["lexical"]:
        reason = str(encoded.budget) if encoded.budget.exceeded else no_vectors_reason(request.index)
        raise RerankSkipped(reason, lexical)
    ranked = rerank_hits(hits, encoded.region, scoring, window=window, attention=attention_scores)
    return RankedResponse(narrow_to_page(response, request.body, ranked, scoring, texts), "client", signals)


def _score_within_budget(
    encoded: EncodedRequest, hits: Sequence[Hit], texts: Sequence[str], attention: AttentionScorer | None
) -> Array | None:
    """Attention score of each hit; None if no hit has a text, or the time budget is used up."""
    if attention is None or not texts or not encoded.phrases:
        return None
    titles = [product_text(hit.get("_source", {}), texts) for hit in hits]
    step = len(titles) if encoded.budget.seconds is None else _TITLES_PER_BUDGET_CHECK
    parts = []
    for start in range(0, len(titles), step):
        score = partial(best_attention, attention, encoded.phrases, titles[start : start + step])
        parts.append(encoded.budget.spend(score))
        if encoded.budget.exceeded:
            return None
    scores = np.concatenate(parts)
    return scores if np.isfinite(scores).any() else None


def best_attention(attention: AttentionScorer, phrases: Sequence[str], titles: Sequence[str]) -> Array:
    """Highest attention score of each title over the phrases, `(N,)`; NaN if no phrase has one."""
    best: Array = np.fmax.reduce([attention.score_titles(phrase, titles) for phrase in phrases])
    return best


def list_signals(hits: Sequence[Hit], scoring: ScoringParams, attention: Array | None) -> list[Signal]:
    """Signals that distinguish the hits of a window."""
    signals: list[Signal] = ["lexical"]
    if any(read_point(hit, scoring) is not None for hit in hits):
        signals.append("containment")
    return signals if attention is None else [*signals, "attention"]
