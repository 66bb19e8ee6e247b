"""Searches that this process ranks: the whole window is fetched, scored with numpy and cut to the page."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.opensearch.schema import product_text
from anthem_plugin.rewriter.rescore import build_window_body, page_bounds
from anthem_plugin.rewriter.source_filtering import fetchable_text_fields
from anthem_plugin.scoring.window import given_signals, none_if_unknown, score_attention
from anthem_plugin.search.missing_values import indices_of, missing_values_reason, unread_values_reason
from anthem_plugin.search.request import (
    NOT_TOLD_APART_REASON,
    ONE_HIT_REASON,
    RERANK_TIME_SHARE,
    ComputeStep,
    NoValuesFound,
    RankedResponse,
    RerankSkipped,
    list_signals,
    no_hits_reason,
    rewritten_body,
)
from anthem_plugin.search.response import (
    check_shards,
    has_model,
    hit_distances,
    narrow_to_page,
    read_trigrams,
    rerank_hits,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionScorer
    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.scoring.params import ModelSignal, ScoringParams, Signals
    from anthem_plugin.search.request import PreparedSearch, Response, SearchRequest, Steps
    from anthem_plugin.search.response import Hit

SMALLEST_DIFFERENCE = 1e-6  # of two values of a signal: what is below it may be rounding
NO_TEXTS_NOTE = "no hit has text in {}, so attention is left out; name the fields of the product text (text_fields)"
_NO_TEXTS_REMEDY = (
    "; client mode ranks by texts too, but no hit has text in {}: name the fields of the product text (text_fields)"
)
_TEXTS_PER_BUDGET_CHECK = 16


def rank_in_client(
    request: SearchRequest, prepared: PreparedSearch, attention: AttentionScorer | None
) -> Steps[RankedResponse]:
    """Steps of a search that is ranked by the values of its hits; without any, by the attention score of their texts.

    Raises:
        RerankSkipped: There is nothing to rank by, or the body does not allow it.
    """
    if "filter_path" in request.options:
        raise RerankSkipped("`filter_path` may remove what the client ranks by")
    request = replace(request, window=prepared.refusals.fit_result(request.window))
    if not prepared.profile.signals and not prepared.profile.text_fields:
        raise NoValuesFound(missing_values_reason(request.index, prepared.profile))
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
    profile, hits = prepared.profile, response["hits"]["hits"]
    cut = partial(narrow_to_page, response, request.body, scoring=profile.scoring, text_fields=text_fields)
    start, size = page_bounds(request.body)
    if not hits[start : start + size]:
        raise RerankSkipped(no_hits_reason(response), cut(hits))
    window = hits[: request.window]
    if len(window) == 1:
        raise RerankSkipped(ONE_HIT_REASON)
    distance, attended = measure_signals(prepared, window, text_fields, attention)
    if not distinguishing_signals(distance, attended, profile.scoring):
        raise _unranked(request, prepared, window, (distance, attended), text_fields if prepared.tables else ())
    ranked = rerank_hits(hits, profile.scoring, window=request.window, distance=distance, attention=attended)
    from_trigrams = _reads_trigrams(profile.scoring, window)
    lacks_texts = attended is None and bool(text_fields) and not from_trigrams
    is_told = lacks_texts and bool(prepared.tables) and not prepared.budget.exceeded
    note = profile.client_note(from_texts=attended is not None and not from_trigrams)
    notes = (note, NO_TEXTS_NOTE.format(", ".join(text_fields)) if is_told else None)
    signals = list_signals(valued_signals(distance, attended))
    return RankedResponse(cut(ranked), "client", signals, "; ".join(filter(None, notes)) or None)


def measure_signals(
    prepared: PreparedSearch, hits: Sequence[Hit], text_fields: Sequence[str], attention: AttentionScorer | None
) -> tuple[Array | None, Array | None]:
    """Distance and attention score of each hit of a window body, `(N,)` each, NaN if unknown.

    None for a signal that is not used. Attention is that of `text_fields` if no hit has stored trigrams.
    """
    scoring = prepared.profile.scoring
    distance = hit_distances(hits, prepared.region, scoring) if "containment" in scoring.signals else None
    return distance, _score_attention(prepared, hits, text_fields, attention)


def _reads_trigrams(scoring: ScoringParams, hits: Sequence[Hit]) -> bool:
    """Whether attention is computed from stored trigrams, rather than from texts."""
    return "attention" in scoring.signals and any(has_model(hit, scoring) for hit in hits)


def _score_attention(
    prepared: PreparedSearch, hits: Sequence[Hit], text_fields: Sequence[str], attention: AttentionScorer | None
) -> Array | None:
    """Attention score of each hit, NaN if unknown; None if the signal is not used, or the time budget is used up.

    It is that of the stored trigrams, as in the cluster. Texts are read only if the index has no trigrams, or none of
    the hits was ingested with this model.
    """
    scoring, budget = prepared.profile.scoring, prepared.budget
    if attention is None or not prepared.tables:
        return None
    if _reads_trigrams(scoring, hits):
        scores: Array = budget.spend(partial(score_attention, prepared.tables, read_trigrams(hits, scoring)))
        return None if budget.exceeded else scores
    return _score_texts(prepared, hits, text_fields, attention) if text_fields else None


def _score_texts(
    prepared: PreparedSearch, hits: Sequence[Hit], text_fields: Sequence[str], attention: AttentionScorer
) -> Array | None:
    """Attention score of the text of each hit; None if no hit has a text, or the time budget is used up."""
    texts = [product_text(hit.get("_source", {}), text_fields) for hit in hits]

    def score(texts: Sequence[str]) -> Array:
        return score_attention(prepared.tables, attention.encode_titles(texts))

    step = len(texts) if prepared.budget.seconds is None else _TEXTS_PER_BUDGET_CHECK
    parts = []
    for start in range(0, len(texts), step):
        parts.append(prepared.budget.spend(partial(score, texts[start : start + step])))
        if prepared.budget.exceeded:
            return None
    return none_if_unknown(np.concatenate(parts))


def valued_signals(distance: Array | None, attention: Array | None) -> Signals:
    """Signals that a hit has a value of: each of them counts in the scores, whether or not it tells hits apart."""
    values: dict[ModelSignal, Array | None] = {"containment": distance, "attention": attention}
    return frozenset(signal for signal, scores in values.items() if scores is not None and np.isfinite(scores).any())


def distinguishing_signals(distance: Array | None, attention: Array | None, scoring: ScoringParams) -> Signals:
    """Signals that tell at least two hits apart; a hit without a value counts as the median."""
    fusion = scoring.fusion_for(signals) if (signals := given_signals(distance, attention)) else None
    if fusion is None:
        return signals
    medians: dict[ModelSignal, tuple[Array | None, float]] = {
        "containment": (distance, fusion.median_distance),
        "attention": (attention, fusion.median_attention),
    }
    return frozenset(signal for signal in signals if _are_distinct(*medians[signal]))


def _are_distinct(values: Array | None, median: float) -> bool:
    if values is None or not len(values):
        return False
    return bool(np.ptp(np.where(np.isfinite(values), values, median)) > SMALLEST_DIFFERENCE)


def _unranked(
    request: SearchRequest,
    prepared: PreparedSearch,
    hits: Sequence[Hit],
    scores: Sequence[Array | None],
    text_fields: Sequence[str],
) -> RerankSkipped:
    """The decision not to rerank hits that no signal tells apart; `text_fields` are those that were read in vain."""
    if prepared.budget.exceeded:
        return RerankSkipped(str(prepared.budget))
    if any(values is not None and np.isfinite(values).any() for values in scores):
        return RerankSkipped(NOT_TOLD_APART_REASON)
    reason = unread_values_reason(request.index, prepared.profile, indices_of(hits))
    remedy = _NO_TEXTS_REMEDY.format(", ".join(text_fields)) if text_fields else ""
    return NoValuesFound(f"{reason}{remedy}")
