"""The flow of one explanation: the search as it is, the plain search, and the product itself, as steps of a client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import RequestError

from anthem_core.encoding.query_operators import encode_phrases, split_query_text
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.search.counts import SCOPE_KEYS
from anthem_plugin.search.explain import is_attention_from_texts
from anthem_plugin.search.hit_explanation import AskedQuery, FoundProduct, explain_product
from anthem_plugin.search.page_limit import find_smaller_size
from anthem_plugin.search.request import ComputeStep, index_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_plugin.search.flow import SearchFlow
    from anthem_plugin.search.hit_explanation import HitExplanation
    from anthem_plugin.search.request import IndexProfile, Response, SearchRequest, SendStep, Steps
    from anthem_plugin.search.response import Hit

MATCHED = "anthem_matched"  # name of the caller's query within the one that looks up the product
MAX_SAME_IDS = 10  # products of one id, in several indices, that are looked up
# What a body returns beside its hits: it costs time and moves none of them.
_BESIDE_THE_HITS = ("aggs", "aggregations", "highlight", "suggest", "explain", "profile")
_OF_EACH_HIT = ("stored_fields", "script_fields", "docvalue_fields", "fields")
_DROPPING_KEYS = ("post_filter", "min_score", "collapse", "terminate_after")  # that keep a match out of the hits
_SAME_COPIES = {"preference": "anthem"}  # of shards, because another copy may break ties differently


def check_explained(body: object, product: object, options: Mapping[str, Any]) -> None:
    """Check the id of a product, and the body and the options of the search that is explained.

    Raises:
        TypeError: The body is not a mapping, or the id not a string.
        ValueError: It is empty, or an option or the body removes what is read.
    """
    if not isinstance(body, Mapping):
        raise TypeError(f"body is a {type(body).__name__}; expected a search body as a dict")
    if not isinstance(product, str):
        raise TypeError(f"id is {product!r}; expected a string, the `_id` of a product")
    if not product:
        raise ValueError("id is empty; expected the `_id` of a product")
    if body.get("stored_fields") in ("_none_", ["_none_"]):
        raise ValueError("`stored_fields: _none_` hides the ids of the hits; leave it out of a search to explain")
    if "filter_path" in options:
        raise ValueError("filter_path would remove what is explained; leave it out")


def explain_hit(flow: SearchFlow, request: SearchRequest, product: str) -> Steps[HitExplanation]:
    """Steps of an explanation of the product with an id, of which nothing is written to the index.

    Raises:
        opensearchpy.exceptions.OpenSearchException: The plain search fails.
    """
    if "pit" not in request.body and request.index is not None:
        request = replace(request, options={**_SAME_COPIES, **request.options})
    profile = yield from flow.profiles.read(request)
    wide, before = yield from _search_plainly(request, profile)
    after = yield from flow.search(replace(request, body=wide))
    stored = yield from _look_up(request, product, profile)
    found = _find(request, product, after, before, stored, profile)
    explanation: HitExplanation = yield ComputeStep(partial(_explain, found, flow, request, profile))
    return explanation


def _explain(found: FoundProduct, flow: SearchFlow, request: SearchRequest, profile: IndexProfile) -> HitExplanation:
    text = flow.query_text(request)
    phrases = [] if text is None else split_query_text(text, operators=request.operators)
    region = request.region or encode_phrases(flow.encode_query, phrases)
    return explain_product(found, AskedQuery(text, phrases, region), profile, flow.explainer)


def _widen(request: SearchRequest) -> dict[str, Any]:
    """The body for all hits of the window and of the page; itself if its page is invalid, as OpenSearch will say.

    It has nothing that the hits do not depend on.
    """
    body = {key: value for key, value in request.body.items() if key not in _BESIDE_THE_HITS}
    try:
        start, size = page_bounds(body)
    except (TypeError, ValueError):
        return body
    return body if size < 0 or start < 0 else {**body, "from": 0, "size": max(request.window, start + size)}


def _search_plainly(request: SearchRequest, profile: IndexProfile) -> Steps[tuple[dict[str, Any], Response]]:
    """The widened body, as wide as the index allows, and its plain response, which gives the lexical ranks."""
    wide = _widen(request)
    try:
        return wide, (yield _fresh_step(request, _plain_body(wide, profile)))
    except RequestError as error:
        limit = find_smaller_size(error, wide, request.body)
        if limit is None:
            raise
        wide["size"] = limit
    return wide, (yield _fresh_step(request, _plain_body(wide, profile)))


def _fresh_step(request: SearchRequest, body: Mapping[str, Any]) -> SendStep:
    """A search with the whole time-out, which the searches of an explanation do not share."""
    return replace(request, started=time.perf_counter()).search_step(body)


def _plain_body(wide: Mapping[str, Any], profile: IndexProfile) -> dict[str, Any]:
    """The same search for the lexical ranks, with the model of each hit if the indices keep their sources."""
    kept = {key: value for key, value in wide.items() if key not in _OF_EACH_HIT}
    return {**kept, "_source": [profile.scoring.fields.model] if profile.text_fields else False}


def _look_up(request: SearchRequest, product: str, profile: IndexProfile) -> Steps[list[Hit]]:
    """The products of an id, one in each index that has it, and whether the caller's query matches them."""
    body, fields = request.body, profile.scoring.fields
    named = {"bool": {"must": [body.get("query", MATCH_ALL)], "_name": MATCHED}}
    query = {"bool": {"filter": [{"ids": {"values": [product]}}], "should": [named]}}
    source = [*profile.text_fields, fields.model, fields.vector, fields.trigrams] if profile.text_fields else False
    scope = {key: body[key] for key in (*SCOPE_KEYS, "indices_boost") if key in body}
    sent = {**scope, "query": query, "_source": source, "size": MAX_SAME_IDS}
    try:
        response = yield _fresh_step(request, sent)
    except RequestError:  # some queries, such as `hybrid`, cannot be part of another
        query["bool"].pop("should")
        response = yield _fresh_step(request, sent)
    hits: list[Hit] = response["hits"]["hits"]
    return hits


def _find(
    request: SearchRequest,
    product: str,
    after: Response,
    before: Response,
    stored: Sequence[Hit],
    profile: IndexProfile,
) -> FoundProduct:
    """What three responses say about the product: of several with its id, about the best of the search."""
    ranks, plain = (_ranks_of(product, response) for response in (after, before))
    by_index = {hit["_index"]: hit for hit in stored}
    index = next(iter([*ranks, *plain, *by_index]), None)
    rank, ranked = ranks.get(index, (None, None))
    lexical_rank, matched = plain.get(index, (None, None))
    hit = by_index.get(index)
    if matched is None and hit is not None and MATCHED in hit.get("matched_queries", ()):
        matched = hit
    lexical = None if matched is None else matched["_score"]
    if lexical is None and matched is not None and hit is not None:  # a sort by fields gives no scores
        lexical = hit["_score"]
    window = before["hits"]["hits"][: request.window]
    from_texts = is_attention_from_texts(after["anthem"], profile, window)
    name = index_name(request.index) if request.index else str(index)
    dropping, hiding = (tuple(key for key in keys if key in request.body) for keys in (_DROPPING_KEYS, ("slice",)))
    hiding += ("routing",) if "routing" in request.options else ()
    namesakes = tuple(other for other in by_index if other != index)
    return FoundProduct(
        name, product, hit, after, ranked, rank, lexical, lexical_rank, from_texts, dropping, hiding, namesakes
    )


def _ranks_of(product: str, response: Response) -> dict[str | None, tuple[int | None, Hit | None]]:
    """Rank from 1 and hit of the products with an id, by index, best first."""
    hits = response["hits"]["hits"]
    return {hit["_index"]: (rank, hit) for rank, hit in enumerate(hits, start=1) if hit["_id"] == product}
