"""Builds the body of a search that calls the script: chooses the builder that belongs to the mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_plugin.modes import DEFAULT_WINDOW, Filter, mode_name
from anthem_plugin.rewriter.rescore import (
    TOP_HITS_REASON,
    RewrittenBody,
    build_filter_body,
    build_rescore_body,
    cluster_refusal_reason,
    query_refusal_reason,
    requests_no_hits,
    rescore_refusal_reason,
    window_refusal_reason,
)
from anthem_plugin.rewriter.retrieve import build_retrieve_body
from anthem_plugin.scoring.painless import build_filter_script, build_score_script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.geometry.regions import Region
    from anthem_plugin.modes import ResolvedMode, ScriptMode
    from anthem_plugin.scoring.params import ScoringParams


def body_refusal_reason(body: Mapping[str, Any], mode: ResolvedMode) -> str | None:
    """Why a mode leaves a body unchanged whatever its query text is, or None if the body does not rule the mode out."""
    if mode == "client":
        return window_refusal_reason(body)
    if mode == "cluster":
        return cluster_refusal_reason(body)
    return query_refusal_reason(body) if isinstance(mode, Filter) else rescore_refusal_reason(body)


def hides_values_unranked(body: Mapping[str, Any], mode: ResolvedMode) -> bool:
    """Whether the model's values are hidden in a body that a mode leaves unranked, for the products beside its hits."""
    return requests_no_hits(body) or body_refusal_reason(body, mode) == TOP_HITS_REASON


def build_script_body(
    body: Mapping[str, Any],
    region: Region | None,
    scoring: ScoringParams,
    mode: ScriptMode,
    *,
    tables: Sequence[AttentionTable] = (),
    text: str | None = None,
    window: int = DEFAULT_WINDOW,
) -> RewrittenBody:
    """Build the body of a mode that calls the stored script: `cluster`, `filter` or `retrieve`.

    `region` is an encoded query, or several joined as in `a | b`; None leaves containment out, which only `cluster`
    mode allows. `tables` has the attention table of each phrase; without any, attention is left out. `text` is the
    query text as the user typed it, which `retrieve` mode separates from the filters of the query.
    """
    if mode == "cluster":
        script = build_score_script(region, scoring, tables)
        return build_rescore_body(body, script, window=window, fields=scoring.fields)
    if region is None:
        return RewrittenBody.unchanged(body, f"{mode_name(mode)} mode needs vectors")
    if isinstance(mode, Filter):
        return build_filter_body(body, build_filter_script(region, scoring, mode), fields=scoring.fields)
    script = build_score_script(region, scoring, tables)
    return build_retrieve_body(body, script, region, scoring, text, mode, window=window)
