"""Searches that this process ranks: the whole window is fetched, scored with numpy and cut to the page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.opensearch.schema import product_text
from anthem_plugin.rewriter.rescore import build_window_body
from anthem_plugin.rewriter.source_filtering import fetchable_text_fields
from anthem_plugin.scoring.window import none_if_unknown, score_attention
from anthem_plugin.search.request import (
    NO_HITS_REASON,
    RERANK_TIME_SHARE,
    ComputeStep,
    RankedResponse,
    RerankSkipped,
    no_vectors_reason,
    rewritten_body,
)
from anthem_plugin.search.response import check_shards, narrow_to_page, read_point, rerank_hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionScorer
    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.request import PreparedSearch, Response, SearchRequest, Signal, Steps
    from anthem_plugin.search.response import Hit

_TITLES_PER_BUDGET_CHECK = 16


def rank_in_client(
    request: SearchRequest, prepared: PreparedSearch, attention: AttentionScorer | None
) -> Steps[RankedResponse]:
    """Steps of a search that is ranked by every signal that its hits have; without `attention`, by the other two.

    Raises:
        RerankSkipped: There is nothing to rank by, or the body does not allow it.
    """
    if "filter_path" in request.options:
        raise RerankSkipped("`filter_path` may remove what the client ranks by")
    fields = prepared.profile.scoring.fields
    text_fields = fetchable_text_fields(request.body, fields, prepared.profile.text_fields) if attention else ()
    rewritten = build_window_body(request.body, window=request.window, fields=fields, text_fields=text_fields)
    response = yield request.search_step(rewritten_body(rewritten), RERANK_TIME_SHARE)
    response = yield from check_shards(request, response)
    rank = partial(_rank_window, request, prepared, response, text_fields, attention)
    ranked: RankedResponse = yield ComputeStep(rank)
    return ranked


def _rank_window(
    request: SearchRequest,
    prepared: PreparedSearch,
    response: Response,
    text_fields: Sequence[str],
    attention: AttentionScorer | None,
) -> RankedResponse:
    scoring, hits, window = prepared.profile.scoring, response["hits"]["hits"], request.window
    lexical = narrow_to_page(response, request.body, hits, scoring, text_fields)
    if not lexical["hits"]["hits"]:
        raise RerankSkipped(NO_HITS_REASON, lexical)
    attention_scores = _score_within_budget(prepared, hits[:window], text_fields, attention)
    signals = list_signals(hits[:window], scoring, attention_scores)
    if signals == ["lexical"]:
        reason = str(prepared.budget) if prepared.budget.exceeded else no_vectors_reason(request.index)
        raise RerankSkipped(reason, lexical)
    ranked = rerank_hits(hits, prepared.region, scoring, window=window, attention=attention_scores)
    return RankedResponse(narrow_to_page(response, request.body, ranked, scoring, text_fields), "client", signals)


def _score_within_budget(
    prepared: PreparedSearch, hits: Sequence[Hit], text_fields: Sequence[str], attention: AttentionScorer | None
) -> Array | None:
    """Attention score of each hit; None if no hit has a text, or the time budget is used up."""
    if attention is None or not text_fields or not prepared.phrases:
        return None
    titles = [product_text(hit.get("_source", {}), text_fields) for hit in hits]
    step = len(titles) if prepared.budget.seconds is None else _TITLES_PER_BUDGET_CHECK
    parts = []
    for start in range(0, len(titles), step):
        score = partial(score_attention, attention, prepared.phrases, titles[start : start + step])
        parts.append(prepared.budget.spend(score))
        if prepared.budget.exceeded:
            return None
    return none_if_unknown(np.concatenate(parts))


def list_signals(hits: Sequence[Hit], scoring: ScoringParams, attention: Array | None) -> list[Signal]:
    """Signals that distinguish the hits of a window."""
    signals: list[Signal] = ["lexical"]
    if any(read_point(hit, scoring) is not None for hit in hits):
        signals.append("containment")
    return signals if attention is None else [*signals, "attention"]
