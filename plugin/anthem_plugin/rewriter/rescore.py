"""The query rewriter, pure functions: search body in, search body out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.fusion import QUERY_WEIGHT
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.source_filtering import hide_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.opensearch.schema import VectorFields


from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.rewriter.source_filtering import excludes_vectors, fetch_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_FIELDS = VectorFields()
_KEYS_WITHOUT_RESCORE = ("search_after", "collapse", "scroll")
_SELF_RANKING_QUERIES = ("hybrid", "knn")
_SORTS_BY_SCORE: tuple[object, ...] = ("_score", {"_score": "desc"}, {"_score": {}}, {"_score": {"order": "desc"}})


@dataclass(frozen=True, slots=True)
class RewrittenBody:
    """A search body that reranks, or the caller's own and why it is left as it is."""

    body: dict[str, Any]
    reranked: bool
    reason: str | None = None


def build_rescore_body(
    body: Mapping[str, Any],
    script: Mapping[str, Any],
    *,
    window: int = DEFAULT_WINDOW,
    fields: VectorFields = DEFAULT_FIELDS,
) -> RewrittenBody:
    """Body whose first `window` hits a shard are rescored by the script; every key but `rescore` and `_source` is kept.

    The caller's query stands inside the `script_score`, so `_score` there is the lexical score.
    """
    reason = rescore_refusal_reason(body)
    if reason is not None:
        return RewrittenBody(dict(body), reranked=False, reason=reason)
    rescore = {
        "window_size": window,
        "query": {
            "rescore_query": {"script_score": {"query": body["query"], "script": dict(script)}},
            "query_weight": QUERY_WEIGHT,
            "rescore_query_weight": 1.0,
            "score_mode": "total",
        },
    }
    return RewrittenBody(
        {**body, **hide_vectors(body, fields), "rescore": [*_existing_rescorers(body), rescore]}, reranked=True
    )


def build_filter_body(
    body: Mapping[str, Any], script: Mapping[str, Any], *, fields: VectorFields = DEFAULT_FIELDS
) -> RewrittenBody:
    """Body that finds only what the script gives a 1; scores, order and every key but `query` and `_source` stay."""
    reason = _query_refusal_reason(body)
    if reason is not None:
        return RewrittenBody(dict(body), reranked=False, reason=reason)
    # Beside the caller's query the script runs on what that query finds and on nothing else.
    contained = {"script_score": {"query": {"match_all": {}}, "script": dict(script), "min_score": 0.5}}
    query = {"bool": {"must": [body["query"]], "filter": [contained]}}
    return RewrittenBody({**body, **hide_vectors(body, fields), "query": query}, reranked=True)


def build_window_body(
    body: Mapping[str, Any],
    *,
    window: int = DEFAULT_WINDOW,
    fields: VectorFields = DEFAULT_FIELDS,
    texts: Sequence[str] = (),
) -> RewrittenBody:
    """Body that fetches the whole window with its vectors and `texts`, for the client to rerank and cut to the page.

    With `collapse` the window is of groups, each of which stands where its best hit by the lexical score does.
    """
    reason = rescore_refusal_reason(
        {key: value for key, value in body.items() if key != "collapse"}
    ) or _window_refusal_reason(body, fields)
    if reason is not None:
        return RewrittenBody(dict(body), reranked=False, reason=reason)
    start, size = page_bounds(body)
    whole = {"from": 0, "size": max(window, start + size)}
    return RewrittenBody({**body, **fetch_vectors(body, fields, texts), **whole}, reranked=True)


def page_bounds(body: Mapping[str, Any]) -> tuple[int, int]:
    """First hit and number of hits a body asks for."""
    return int(body.get("from", 0)), int(body.get("size", 10))


def rescore_refusal_reason(body: Mapping[str, Any]) -> str | None:
    """Why a body cannot be reranked, or None where it can."""
    unaskable = _query_refusal_reason(body)
    if unaskable is not None:
        return unaskable
    for key in _KEYS_WITHOUT_RESCORE:
        if key in body:
            return f"OpenSearch refuses `{key}` beside a rescore"
    if not _sorts_by_score(body.get("sort", [])):
        return "the body sorts by something else than `_score`"
    return None


def _query_refusal_reason(body: Mapping[str, Any]) -> str | None:
    query = body.get("query")
    if not isinstance(query, dict) or not query:
        return "the body has no query"
    for kind in _SELF_RANKING_QUERIES:
        if kind in query:
            return f"a `{kind}` query ranks by itself; it is left as it is"
    return None


def _window_refusal_reason(body: Mapping[str, Any], fields: VectorFields) -> str | None:
    if body.get("rescore"):
        return "the body has a `rescore` of its own, which changes the scores the client ranks by; use cluster mode"
    if page_bounds(body)[1] == 0:
        return "the body asks for no hits"
    if body.get("stored_fields") in ("_none_", ["_none_"]):
        return "`stored_fields: _none_` keeps the vectors from the client"
    if excludes_vectors(body, fields):
        return f"a wildcard in `_source.excludes` keeps `{fields.vector}` from the client"
    return None


def _existing_rescorers(body: Mapping[str, Any]) -> list[Any]:
    rescore = body.get("rescore", [])
    return list(rescore) if isinstance(rescore, list) else [rescore]


def _sorts_by_score(sort: object) -> bool:
    keys = sort if isinstance(sort, list) else [sort]
    return not keys or (len(keys) == 1 and keys[0] in _SORTS_BY_SCORE)


MAX_RESCORE_WINDOW = 10_000  # OpenSearch's own, `index.max_rescore_window`
