"""Options of a request that would change what its body says: such a search is not reranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCROLL_REASON = (
    "a scroll cannot be reranked, because OpenSearch allows no rescore in it: page with `from` and `size`, "
    "or use mode `none`"
)

# As request options these would override the body, so the page would be cut or sorted differently.
_INTO_THE_BODY = "put it into the body"
_PLACES = {
    **dict.fromkeys(("from", "size", "sort", "stored_fields", "_source"), _INTO_THE_BODY),
    "from_": f"{_INTO_THE_BODY} as `from`",
    "q": f"{_INTO_THE_BODY} as a `query_string` query",
    "_source_includes": f"{_INTO_THE_BODY} as `_source.includes`",
    "_source_excludes": f"{_INTO_THE_BODY} as `_source.excludes`",
}
# Every other key of `params` could override what the rewriter puts into the body.
_HARMLESS_PARAMS = {
    "allow_no_indices", "expand_wildcards", "ignore_unavailable", "preference", "pretty", "routing"
}  # fmt: skip


def misplaced_option_reason(options: Mapping[str, Any]) -> str | None:
    """Why a search with these options is not reranked, and where else to put the option; None if it may be."""
    params = options.get("params") or {}
    if "scroll" in options or "scroll" in params:
        return SCROLL_REASON
    misplaced = sorted(_PLACES.keys() & options.keys())
    if misplaced:
        return f"`{misplaced[0]}` was passed as an option; {_PLACES[misplaced[0]]}"
    hidden = sorted(params.keys() - _HARMLESS_PARAMS)
    if hidden:
        return f"`{hidden[0]}` was passed in `params`; {_PLACES.get(hidden[0], 'pass it as an argument')}"
    return None
