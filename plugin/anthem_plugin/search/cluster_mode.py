"""Searches that the stored script ranks in the cluster: modes `cluster`, `filter` and `retrieve`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.console import name_some
from anthem_core.opensearch.connection import error_reason
from anthem_plugin.modes import Filter, Retrieve, mode_name
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.rewriter.inner_hits import change_suggestions
from anthem_plugin.rewriter.query_text import NO_QUERY_TEXT_REASON
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.rewriter.source_filtering import SearchedFields, drop_emptied_objects
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id
from anthem_plugin.scoring.params import ATTENTION, ModelSignal
from anthem_plugin.search.counts import (
    build_hit_count_body,
    build_match_count_body,
    found_indices,
    hit_count,
    vector_count,
)
from anthem_plugin.search.missing_values import (
    indices_of,
    missing_values_reason,
    no_trigrams_note,
    no_vectors_reason,
    untold_values_reason,
)
from anthem_plugin.search.refusals import ScriptForbiddenError, is_callers_error
from anthem_plugin.search.request import (
    NO_HITS_REASON,
    NOT_TOLD_APART_REASON,
    ONE_HIT_REASON,
    RERANK_TIME_SHARE,
    NoValuesFound,
    RankedResponse,
    RerankSkipped,
    SendStep,
    index_name,
    list_signals,
    no_hits_reason,
    rewritten_body,
)
from anthem_plugin.search.response import check_shards
from anthem_plugin.search.told_apart import (
    are_told_apart,
    build_window_hashes_body,
    known_signals,
    remove_text_hash,
    request_text_hashes,
    text_identity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anthem_plugin.modes import ModeName, ScriptMode
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.request import PreparedSearch, Response, SearchRequest, Steps
    from anthem_plugin.search.response import Hit

TOO_MANY_MATCHES = (
    "the query matches more than {:,} products, and each costs a script run: narrow it or raise the limit"
)
PAGE_AFTER_LAST_HIT = "{} products pass the filter, and the page starts after the last of them"
NONE_ON_PAGE = "{} products pass the filter, but none of them is on this page"
NOTHING_CONTAINED = "the query contains no matching product with slack {:.3g}; these are the matches without the filter"
_SCRIPT_NOT_FOUND = "unable to find script"
_NO_HNSW_GRAPH = "is not built for ANN search"

_UNRANKED_REASONS = {0: NO_HITS_REASON, 1: ONE_HIT_REASON}  # by the number of hits of the window


def rank_in_cluster(request: SearchRequest, prepared: PreparedSearch) -> Steps[RankedResponse]:
    """Steps of a search that the script ranks or filters.

    Raises:
        ScriptForbiddenError: The cluster does not accept the script.
        RerankSkipped: There is nothing to rank by, or the mode cannot be applied.
    """
    _check_signals(request, prepared)
    if isinstance(request.mode, Filter):
        return (yield from _filter(request, prepared, request.mode))
    if isinstance(request.mode, Retrieve):
        return (yield from _retrieve(request, prepared, request.mode))
    return (yield from _rescore(request, prepared, _build_body(request, prepared, "cluster"), "cluster"))


def _check_signals(request: SearchRequest, prepared: PreparedSearch) -> None:
    """Skip a search of an index without the values that its mode ranks by.

    Raises:
        NoValuesFound: The index has none of them.
        RerankSkipped: It has only trigrams, and there is no attention table for them.
    """
    profile = prepared.profile
    if "containment" in profile.signals:
        return
    if not profile.signals:
        raise NoValuesFound(missing_values_reason(request.index, profile))
    if request.mode != "cluster":
        raise NoValuesFound(no_vectors_reason(mode_name(request.mode), request.index, profile))
    if not prepared.tables:
        raise RerankSkipped(str(prepared.budget) if prepared.budget.exceeded else NO_QUERY_TEXT_REASON)


def _ranking(prepared: PreparedSearch) -> ScoringParams:
    """Parameters with the signals that the script ranks by: those of the index, but no attention without a table."""
    signals = prepared.profile.signals - (frozenset() if prepared.tables else ATTENTION)
    doc_values = not prepared.refusals.doc_values
    return replace(prepared.profile.scoring, signals=signals, doc_values=doc_values)


def _ranked(
    request: SearchRequest, prepared: PreparedSearch, response: Response, mode: ModeName, hits: Sequence[Hit]
) -> RankedResponse:
    """The response with the signals that the hits have values for, and a note if none of them has trigrams."""
    scoring = _ranking(prepared)
    known = frozenset[ModelSignal]().union(*(known_signals(hit, scoring) for hit in hits))
    lacks_trigrams = "attention" in scoring.signals - known
    profile, ranked = prepared.profile, RankedResponse(response, mode, list_signals(known), prepared.profile.note)
    if not lacks_trigrams:
        return ranked
    note = no_trigrams_note(request.index, profile, indices_of(hits))
    return replace(ranked, note="; ".join(filter(None, (profile.note, note))))


def _build_body(request: SearchRequest, prepared: PreparedSearch, mode: ScriptMode) -> dict[str, Any]:
    signals = prepared.profile.signals
    rewritten = build_script_body(
        request.body,
        prepared.region if "containment" in signals else None,
        prepared.profile.scoring,
        mode,
        tables=prepared.tables if "attention" in signals else (),
        text=prepared.text,
        window=request.window,
    )
    sent = rewritten_body(rewritten)
    for rescore in sent["rescore"] if mode == "cluster" or isinstance(mode, Retrieve) else ():
        rescore["window_size"] = prepared.refusals.fit_rescore(rescore["window_size"])
    return sent


def _retrieve(request: SearchRequest, prepared: PreparedSearch, mode: Retrieve) -> Steps[RankedResponse]:
    body = _build_body(request, prepared, mode)
    try:
        return (yield from _rescore(request, prepared, body, "retrieve"))
    except (TransportError, RerankSkipped) as error:
        if _NO_HNSW_GRAPH not in str(getattr(error, "info", error)):
            raise
        reason = _no_graph_reason(request.index, prepared.profile.scoring)
        raise RerankSkipped(reason, getattr(error, "response", None)) from error


def _filter(request: SearchRequest, prepared: PreparedSearch, mode: Filter) -> Steps[RankedResponse]:
    body = _build_body(request, prepared, mode)
    yield from _check_affordable(request, prepared, mode)
    response = yield from _send(request, body)
    hits = response.get("hits", {}).get("hits")
    filtered = RankedResponse(response, "filter", ("containment",), prepared.profile.note)
    if hits:
        shown = {**response["hits"], "hits": drop_emptied_objects(hits, prepared.profile.scoring.fields)}
        return replace(filtered, response={**response, "hits": shown})
    count = yield from _count_filtered(request, prepared, mode, body)
    start, size = page_bounds(request.body)
    note = PAGE_AFTER_LAST_HIT if start else NONE_ON_PAGE  # such as with a `terminate_after` that ends at once
    return filtered.with_note(note.format(count) if hits == [] and size > 0 else None)


def _check_affordable(request: SearchRequest, prepared: PreparedSearch, mode: Filter) -> Steps[None]:
    """Skip a search that matches no products, too many, or none with a vector of this model."""
    counts = yield request.count_step(build_match_count_body(request.body, prepared.profile.scoring, mode.limit))
    if not hit_count(counts):
        raise RerankSkipped(no_hits_reason(counts))
    if hit_count(counts) > mode.limit:
        raise RerankSkipped(TOO_MANY_MATCHES.format(mode.limit))
    if not vector_count(counts):
        raise NoValuesFound(missing_values_reason(request.index, prepared.profile, found_indices(counts)))


def _count_filtered(
    request: SearchRequest, prepared: PreparedSearch, mode: Filter, body: Mapping[str, Any]
) -> Steps[int]:
    """Number of products that pass the filter, for a response without hits.

    Raises:
        RerankSkipped: The filter removes every hit.
    """
    response = yield request.count_step(build_hit_count_body(body))
    count = hit_count(response)
    if not count:
        slack = prepared.profile.scoring.slack if mode.slack is None else mode.slack
        raise RerankSkipped(NOTHING_CONTAINED.format(slack))
    return count


def _rescore(
    request: SearchRequest, prepared: PreparedSearch, body: Mapping[str, Any], mode: ModeName
) -> Steps[RankedResponse]:
    """Response to a body that rescores, if the model tells hits apart.

    What is sent is the body that the rewriter built; in addition hits and suggested products return their text hashes,
    which are removed from the response. A body that leaves no room for them is followed by a search for the hashes.
    """
    scoring = _ranking(prepared)
    if "filter_path" in request.options:  # the response would not contain the hashes
        response = yield from _send(request, body)
        window = yield from _read_window(request, prepared, body)
        return _ranked(request, prepared, response, mode, window)
    has_room = not prepared.refusals.more_doc_values
    response = yield from _send(request, request_text_hashes(body, scoring) if has_room else body)
    hits = response["hits"]["hits"]
    strip = partial(_strip_products, body=request.body, scoring=scoring)
    response = {**response, **change_suggestions(response, strip), "hits": {**response["hits"], "hits": strip(hits)}}
    if not hits:
        # Past the last hit, the plain search returns another `max_score`, and `retrieve` finds more products.
        is_plain = request.mode == "cluster" and not response["hits"].get("max_score")
        raise RerankSkipped(no_hits_reason(response), response if is_plain else None)
    ranked_hits = hits[: max(0, _window_size(body) - page_bounds(body)[0])]
    if not has_room or not are_told_apart(ranked_hits, scoring):
        ranked_hits = yield from _read_window(request, prepared, body)
    return _ranked(request, prepared, response, mode, ranked_hits)


def _strip_products(products: Iterable[Hit], body: Mapping[str, Any], scoring: ScoringParams) -> list[Hit]:
    """Hits, or the products that a `completion` suggester returns like hits, with what the caller requests alone."""
    return [remove_text_hash(hit, body, scoring) for hit in drop_emptied_objects(products, scoring.fields)]


def _read_window(request: SearchRequest, prepared: PreparedSearch, body: Mapping[str, Any]) -> Steps[Sequence[Hit]]:
    """Hits of the window, as many as the index returns at once, if the model tells them apart and the page has hits.

    Raises:
        RerankSkipped: It does not, or the page is empty.
    """
    scoring, (start, size) = _ranking(prepared), page_bounds(body)
    window = prepared.refusals.fit_result(_window_size(body))
    response = yield request.count_step(build_window_hashes_body(body, scoring, window, total=start >= window))
    hits: Sequence[Hit] = response["hits"]["hits"]
    found = hit_count(response) if start >= window else len(hits)
    if size == 0 or start >= found:
        raise RerankSkipped(no_hits_reason(response))
    if are_told_apart(hits, scoring):
        return hits
    if len(hits) > 1 and text_identity(hits[0], scoring) is None:
        describe = missing_values_reason if scoring.doc_values else untold_values_reason
        raise NoValuesFound(describe(request.index, prepared.profile, indices_of(hits)))
    raise RerankSkipped(_UNRANKED_REASONS.get(len(hits), NOT_TOLD_APART_REASON))


def _window_size(body: Mapping[str, Any]) -> int:
    """Number of hits that a rewritten body rescores on each shard."""
    return int(body["rescore"][0]["window_size"])


def _send(request: SearchRequest, body: Mapping[str, Any]) -> Steps[Response]:
    """Response to a body that calls the script, which is stored if the cluster does not have it."""
    try:
        response = yield request.search_step(body, RERANK_TIME_SHARE)
    except TransportError as error:
        if _SCRIPT_NOT_FOUND not in str(error.info):
            raise
        yield from _store_script(request)
        response = yield request.search_step(body, RERANK_TIME_SHARE)
    return (yield from check_shards(request, response))


def _store_script(request: SearchRequest) -> Steps[None]:
    script = {"id": script_id(), "body": build_put_script_body(), "context": SCRIPT_CONTEXT}
    try:
        yield SendStep("put_script", script | request.timeout_option(RERANK_TIME_SHARE))
    except TransportError as error:
        if is_callers_error(error):  # the cluster answered, and did not ask to come back later
            raise ScriptForbiddenError(error_reason(error)) from error
        raise


def _no_graph_reason(index: str | None, scoring: ScoringParams) -> str:
    """Why a search retrieves nothing, and what to search: an alias has no copy, the index behind it has one."""
    name = index_name(index)
    indices = sorted(scoring.fields.objects) if isinstance(scoring.fields, SearchedFields) else []
    if len(indices) > 1:
        shown = name_some(indices)
        advice = f"copy each of its indices ({shown}) with `anthem ingest INDEX --ann`, and search the copies"
    else:
        original = indices[0] if indices else name
        advice = f"search {original}-ann, the copy that `anthem ingest {original} --ann` creates"
    return f"{name} has no HNSW graph of its vectors, which retrieve mode needs: {advice}"
