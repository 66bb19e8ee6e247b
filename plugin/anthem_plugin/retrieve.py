"""The rewriter of `retrieve` mode: products near the query's centres beside those its words find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.fusion import QUERY_WEIGHT
from anthem_plugin.modes import DEEPER, Retrieve
from anthem_plugin.restrictions import restrictions
from anthem_plugin.rewrite import ANTHEM, WINDOW, Rewritten, refusal
from anthem_plugin.sources import hide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.fields import Fields

NO_WORDS_IN_IT = (
    "its words cannot be told from its filters: the text is not in it as it was given, or scores decide what is found; "
    "say with `filter` what retrieved products must pass"
)
OWN_RESCORE = "the body has a `rescore` of its own, whose window retrieved products would fill; use cluster mode"

# The first pass puts neighbours above every lexical score, so that they are in the window; times the weight of the
# first pass it stays below 1, the least score of the second, which alone counts there: `max`.
_ON_TOP = 1e5
_MOST_RESCORED = 10_000  # OpenSearch's own, `index.max_rescore_window`


def retrieve(
    body: Mapping[str, Any],
    script: Mapping[str, Any],
    text: str | None,
    how: Retrieve | None = None,
    *,
    window: int = WINDOW,
    fields: Fields = ANTHEM,
) -> Rewritten:
    """Body that finds what the caller's query finds and what is near, and rescores both; centres are the script's.

    A product found by its vector alone has the lexical score 0. Totals and aggregations count it.
    """
    how = how or Retrieve()
    reason = refusal(body) or (OWN_RESCORE if body.get("rescore") else None)
    held = [] if reason else [how.filter] if how.filter is not None else restrictions(body["query"], text)
    if reason is not None or held is None:
        return Rewritten(dict(body), reranked=False, reason=reason or NO_WORDS_IN_IT)
    query, near = body["query"], _near(script["params"], how.k, held)
    count = min(window + DEEPER * how.k * len(near["constant_score"]["filter"]["bool"]["should"]), _MOST_RESCORED)
    rescore = {"window_size": count, "query": _rescored(query, script)}
    return Rewritten(
        {**body, **hide(body, fields), "query": {"bool": {"should": [query, near]}}, "rescore": [rescore]},
        reranked=True,
    )


def _near(params: Mapping[str, Any], k: int, held: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Clause of what is nearest to one centre or another, is of this model and passes what is held."""
    asked: dict[str, Any] = {"k": DEEPER * k, "ignore_unmapped": True}
    if held:
        asked["filter"] = {"bool": {"filter": list(held)}}
    nearest = [{"knn": {params["vector"]: {"vector": centre, **asked}}} for centre in params["centres"]]
    of_model = {"term": {params["model_field"]: params["model"]}}
    found = {"bool": {"filter": [of_model], "should": nearest, "minimum_should_match": 1}}
    return {"constant_score": {"filter": found, "boost": _ON_TOP}}


def _rescored(query: Mapping[str, Any], script: Mapping[str, Any]) -> dict[str, Any]:
    """Second pass around the caller's query alone, where `match_all` adds 0 and lets every product in."""
    found = {"bool": {"should": [query, {"match_all": {"boost": 0}}]}}
    fused = {**script, "params": {**script["params"], "lexical_weight": QUERY_WEIGHT}}
    return {
        "rescore_query": {"script_score": {"query": found, "script": fused}},
        "query_weight": QUERY_WEIGHT,
        "rescore_query_weight": 1.0,
        "score_mode": "max",
    }
