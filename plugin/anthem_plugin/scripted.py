"""The body of a search in each mode that the script in the cluster does: which rewriter belongs to which mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.painless import filter_script, score_script
from anthem_plugin.retrieve import retrieve
from anthem_plugin.rewrite import WINDOW, Rewritten, keep_contained, rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.containment import Region
    from anthem_plugin.scoring import Scoring


def scripted(
    body: Mapping[str, Any],
    query: Region,
    scoring: Scoring,
    how: Filter | Retrieve | None = None,
    *,
    text: str | None = None,
    window: int = WINDOW,
) -> Rewritten:
    """Body that filters or retrieves as `how` says, and reranks where it says nothing; `text` is what was typed."""
    if isinstance(how, Filter):
        return keep_contained(body, filter_script(query, scoring, how), fields=scoring.fields)
    script = score_script(query, scoring)
    if isinstance(how, Retrieve):
        return retrieve(body, script, text, how, window=window, fields=scoring.fields)
    return rewrite(body, script, window=window, fields=scoring.fields)
