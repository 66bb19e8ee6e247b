"""Builds the search bodies of `cluster`, `filter` and `client` mode: pure functions, body in, body out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.fusion import QUERY_WEIGHT
from anthem_core.opensearch.schema import MATCH_ALL, ModelFields
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.inner_hits import hide_inner_values, list_top_hits
from anthem_plugin.rewriter.own_scores import own_scores_reason
from anthem_plugin.rewriter.source_filtering import excluded_value, fetch_values, hide_values
from anthem_plugin.rewriter.validity import invalid_body_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_RESCORE_WINDOW = 10_000  # OpenSearch's default for `index.max_rescore_window`
DEFAULT_FIELDS = ModelFields()
NO_HITS_REQUESTED_REASON = "the body requests no hits"
TOP_HITS_REASON = (
    "OpenSearch also rescores `top_hits` that sort by `_score` alone, which would change their products; use client "
    "mode, or sort them by `_score` and `_doc`"
)

_NO_RESCORE_WITH = "OpenSearch does not allow `{}` together with a rescore"
_KEYS_WITHOUT_RESCORE = {
    "search_after": _NO_RESCORE_WITH,
    "collapse": f"{_NO_RESCORE_WITH}; use client mode",  # which sends no rescore
    "scroll": _NO_RESCORE_WITH,
}
_SELF_RANKING_QUERIES = ("hybrid", "knn")
_SORTS_BY_SCORE: tuple[object, ...] = ("_score", {"_score": "desc"}, {"_score": {}}, {"_score": {"order": "desc"}})


@dataclass(frozen=True, slots=True)
class RewrittenBody:
    """A rewritten search body, or the caller's own body with the reason why it was not rewritten.

    `reranked` is true if the body was rewritten, in every mode.
    """

    body: dict[str, Any]
    reranked: bool
    reason: str | None = None

    @classmethod
    def unchanged(cls, body: Mapping[str, Any], reason: str) -> RewrittenBody:
        """The caller's own body, not rewritten."""
        return cls(dict(body), reranked=False, reason=reason)


def build_rescore_body(
    body: Mapping[str, Any],
    script: Mapping[str, Any],
    *,
    window: int = DEFAULT_WINDOW,
    fields: ModelFields = DEFAULT_FIELDS,
) -> RewrittenBody:
    """Build the body of `cluster` mode: the script rescores the first `window` hits of every shard.

    Only `rescore` and `_source` change. The `script_score` repeats the caller's query, so the script's `_score` is the
    lexical score.
    """
    reason = cluster_refusal_reason(body)
    if reason is not None:
        return RewrittenBody.unchanged(body, reason)
    rescore = {
        "window_size": window,
        "query": {
            "rescore_query": {"script_score": {"query": body["query"], "script": dict(script)}},
            "query_weight": QUERY_WEIGHT,
            "rescore_query_weight": 1.0,
            "score_mode": "total",
        },
    }
    hidden = {**hide_inner_values(body, fields), **hide_values(body, fields)}
    return RewrittenBody({**hidden, "rescore": [rescore]}, reranked=True)


def build_filter_body(
    body: Mapping[str, Any], script: Mapping[str, Any], *, fields: ModelFields = DEFAULT_FIELDS
) -> RewrittenBody:
    """Build the body of `filter` mode: it finds only products to which the script gives the score 1.

    Only `query` and `_source` change; scores and order stay the caller's.
    """
    reason = query_refusal_reason(body)
    if reason is not None:
        return RewrittenBody.unchanged(body, reason)
    # In the same `bool` as the caller's query, the script runs only on products that this query finds.
    contained = {"script_score": {"query": MATCH_ALL, "script": dict(script), "min_score": 0.5}}
    body = hide_inner_values(body, fields)
    query = {"bool": {"must": [body["query"]], "filter": [contained]}}
    return RewrittenBody({**body, **hide_values(body, fields), "query": query}, reranked=True)


def build_window_body(
    body: Mapping[str, Any],
    *,
    window: int = DEFAULT_WINDOW,
    fields: ModelFields = DEFAULT_FIELDS,
    text_fields: Sequence[str] = (),
) -> RewrittenBody:
    """Build the body of `client` mode: it fetches the whole window with the model's values and `text_fields`.

    The client reranks these hits and cuts them to the page. With `collapse` the window consists of groups, each placed
    by its best lexical hit.
    """
    reason = window_refusal_reason(body) or _excludes_reason(body, fields)
    if reason is not None:
        return RewrittenBody.unchanged(body, reason)
    start, size = page_bounds(body)
    window_bounds = {"from": 0, "size": max(window, start + size)}
    fetched = {**hide_inner_values(body, fields), **fetch_values(body, fields, text_fields)}
    return RewrittenBody({**fetched, **window_bounds}, reranked=True)


def page_bounds(body: Mapping[str, Any]) -> tuple[int, int]:
    """Position of the first hit and number of hits that a body requests, with OpenSearch's defaults 0 and 10."""
    return int(body.get("from", 0)), int(body.get("size", 10))


def rescore_refusal_reason(body: Mapping[str, Any], *, boosts_indices: bool = False) -> str | None:
    """Why a body cannot be rescored, or None if it can; for `boosts_indices` see `own_scores_reason`."""
    if requests_no_hits(body):
        return NO_HITS_REQUESTED_REASON
    query_reason = query_refusal_reason(body)
    if query_reason is not None:
        return query_reason
    for key, reason in _KEYS_WITHOUT_RESCORE.items():
        if key in body:
            return reason.format(key)
    if not _sorts_by_score(body.get("sort", [])):
        return "the body does not sort by `_score` alone"
    return own_scores_reason(body, boosts_indices=boosts_indices)


def cluster_refusal_reason(body: Mapping[str, Any]) -> str | None:
    """Why a body cannot be rescored without a change of anything but its hits, or None if it can."""
    if reason := rescore_refusal_reason(body):
        return reason
    has_ranked = any(_sorts_by_score(top_hits.get("sort", [])) for top_hits in list_top_hits(body))
    return TOP_HITS_REASON if has_ranked else None


def window_refusal_reason(body: Mapping[str, Any]) -> str | None:
    """Why the window of a body cannot be ranked in the client, or None if it can."""
    without_collapse = {key: value for key, value in body.items() if key != "collapse"}
    reason = rescore_refusal_reason(without_collapse, boosts_indices=True)
    if reason is None and body.get("stored_fields") in ("_none_", ["_none_"]):
        return "`stored_fields: _none_` hides the model's values from the client"
    return reason


def requests_no_hits(body: Mapping[str, Any]) -> bool:
    """Whether a valid body requests no hits, but only totals, aggregations or suggestions."""
    return invalid_body_reason(body) is None and page_bounds(body)[1] == 0


def query_refusal_reason(body: Mapping[str, Any]) -> str | None:
    """Why a body has no query whose hits can be filtered or ranked, or None if it has one."""
    if invalid := invalid_body_reason(body):
        return invalid
    query = body.get("query")
    if not isinstance(query, dict) or not query:
        return "the body has no query"
    for kind in _SELF_RANKING_QUERIES:
        if kind in query:
            return f"a `{kind}` query defines its own ranking"
    return None


def _excludes_reason(body: Mapping[str, Any], fields: ModelFields) -> str | None:
    excluded = excluded_value(body, fields)
    return excluded and f"a wildcard in `_source.excludes` hides `{excluded}` from the client"


def _sorts_by_score(sort: object) -> bool:
    keys = sort if isinstance(sort, list) else [sort]
    return not keys or (len(keys) == 1 and keys[0] in _SORTS_BY_SCORE)
