"""The query rewriter, pure functions: search body in, search body out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.fields import Fields
from anthem_core.fusion import QUERY_WEIGHT
from anthem_plugin.sources import fetch, hide, hides_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_TEXT = "no query text was given, and none stands where the body was searched for it"
NO_WORDS = "the query has no letters or digits"
WINDOW = 100

ANTHEM = Fields()
_BARRED = ("search_after", "collapse", "scroll")
_BARRED_QUERIES = ("hybrid", "knn")
_BY_SCORE: tuple[object, ...] = ("_score", {"_score": "desc"}, {"_score": {}}, {"_score": {"order": "desc"}})


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A search body that reranks, or the caller's own and why it is left as it is."""

    body: dict[str, Any]
    reranked: bool
    reason: str | None = None


def rewrite(
    body: Mapping[str, Any], script: Mapping[str, Any], *, window: int = WINDOW, fields: Fields = ANTHEM
) -> Rewritten:
    """Body whose first `window` hits a shard are rescored by the script; every key but `rescore` and `_source` is kept.

    The caller's query stands inside the `script_score`, so `_score` there is the lexical score.
    """
    reason = refusal(body)
    if reason is not None:
        return Rewritten(dict(body), reranked=False, reason=reason)
    rescore = {
        "window_size": window,
        "query": {
            "rescore_query": {"script_score": {"query": body["query"], "script": dict(script)}},
            "query_weight": QUERY_WEIGHT,
            "rescore_query_weight": 1.0,
            "score_mode": "total",
        },
    }
    return Rewritten({**body, **hide(body, fields), "rescore": [*_existing(body), rescore]}, reranked=True)


def keep_contained(body: Mapping[str, Any], script: Mapping[str, Any], *, fields: Fields = ANTHEM) -> Rewritten:
    """Body that finds only what the script gives a 1; scores, order and every key but `query` and `_source` stay."""
    reason = _unaskable(body)
    if reason is not None:
        return Rewritten(dict(body), reranked=False, reason=reason)
    # Beside the caller's query the script runs on what that query finds and on nothing else.
    contained = {"script_score": {"query": {"match_all": {}}, "script": dict(script), "min_score": 0.5}}
    query = {"bool": {"must": [body["query"]], "filter": [contained]}}
    return Rewritten({**body, **hide(body, fields), "query": query}, reranked=True)


def widen(
    body: Mapping[str, Any], *, window: int = WINDOW, fields: Fields = ANTHEM, texts: Sequence[str] = ()
) -> Rewritten:
    """Body that fetches the whole window with its vectors and `texts`, for the client to rerank and cut to the page.

    With `collapse` the window is of groups, each of which stands where its best hit by the lexical score does.
    """
    reason = refusal({key: value for key, value in body.items() if key != "collapse"}) or _unfetchable(body, fields)
    if reason is not None:
        return Rewritten(dict(body), reranked=False, reason=reason)
    start, size = page(body)
    whole = {"from": 0, "size": max(window, start + size)}
    return Rewritten({**body, **fetch(body, fields, texts), **whole}, reranked=True)


def page(body: Mapping[str, Any]) -> tuple[int, int]:
    """First hit and number of hits a body asks for."""
    return int(body.get("from", 0)), int(body.get("size", 10))


def refusal(body: Mapping[str, Any]) -> str | None:
    """Why a body cannot be reranked, or None where it can."""
    unaskable = _unaskable(body)
    if unaskable is not None:
        return unaskable
    for key in _BARRED:
        if key in body:
            return f"OpenSearch refuses `{key}` beside a rescore"
    if not _sorts_by_score(body.get("sort", [])):
        return "the body sorts by something else than `_score`"
    return None


def _unaskable(body: Mapping[str, Any]) -> str | None:
    query = body.get("query")
    if not isinstance(query, dict) or not query:
        return "the body has no query"
    for kind in _BARRED_QUERIES:
        if kind in query:
            return f"a `{kind}` query ranks by itself; it is left as it is"
    return None


def query_text(body: Mapping[str, Any], path: str | None = None) -> str | None:
    """Text a body searches for: at `path` (`query.match.title.query`), else of a plain `match` or `multi_match`."""
    found = value_at(body, path) if path else _plain(body.get("query"))
    return found if isinstance(found, str) else None


def _unfetchable(body: Mapping[str, Any], fields: Fields) -> str | None:
    if body.get("rescore"):
        return "the body has a `rescore` of its own, which changes the scores the client ranks by; use cluster mode"
    if page(body)[1] == 0:
        return "the body asks for no hits"
    if body.get("stored_fields") in ("_none_", ["_none_"]):
        return "`stored_fields: _none_` keeps the vectors from the client"
    if hides_vectors(body, fields):
        return f"a wildcard in `_source.excludes` keeps `{fields.vector}` from the client"
    return None


def _plain(query: object) -> object:
    match query:
        case {"multi_match": {"query": text}}:
            return text
        case {"match": dict(fields)} if len(fields) == 1:
            (asked,) = fields.values()
            return asked.get("query") if isinstance(asked, dict) else asked
    return None


def value_at(node: object, path: str) -> object:
    """Value at a dotted path, or None; a key may hold dots itself (`match.title.en`), a number picks from a list."""
    return _at(node, path.split("."))


def _at(node: object, parts: Sequence[str]) -> object:
    if not parts:
        return node
    if isinstance(node, list):
        number = int(parts[0]) if parts[0].isdecimal() else len(node)
        return _at(node[number], parts[1:]) if number < len(node) else None
    if not isinstance(node, dict):
        return None
    keys = (cut for cut in range(len(parts), 0, -1) if ".".join(parts[:cut]) in node)
    found = (_at(node[".".join(parts[:cut])], parts[cut:]) for cut in keys)
    return next((value for value in found if value is not None), None)


def _existing(body: Mapping[str, Any]) -> list[Any]:
    rescore = body.get("rescore", [])
    return list(rescore) if isinstance(rescore, list) else [rescore]


def _sorts_by_score(sort: object) -> bool:
    keys = sort if isinstance(sort, list) else [sort]
    return not keys or (len(keys) == 1 and keys[0] in _BY_SCORE)
