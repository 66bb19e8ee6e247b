"""The body of a search in each mode that the script in the cluster does: which rewriter belongs to which mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_plugin.modes import DEFAULT_WINDOW, Filter, Retrieve
from anthem_plugin.rewriter.rescore import RewrittenBody, build_filter_body, build_rescore_body
from anthem_plugin.rewriter.retrieve import build_retrieve_body
from anthem_plugin.scoring.painless import build_filter_script, build_score_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.geometry.regions import Region
    from anthem_plugin.scoring.params import ScoringParams


def build_script_body(
    body: Mapping[str, Any],
    query: Region,
    scoring: ScoringParams,
    how: Filter | Retrieve | None = None,
    *,
    text: str | None = None,
    window: int = DEFAULT_WINDOW,
) -> RewrittenBody:
    """Body that filters or retrieves as `how` says, and reranks where it says nothing; `text` is what was typed."""
    if isinstance(how, Filter):
        return build_filter_body(body, build_filter_script(query, scoring, how), fields=scoring.fields)
    script = build_score_script(query, scoring)
    if isinstance(how, Retrieve):
        return build_retrieve_body(body, script, text, how, window=window, fields=scoring.fields)
    return build_rescore_body(body, script, window=window, fields=scoring.fields)
