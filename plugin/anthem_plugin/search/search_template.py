"""A search template: it is rendered first, and then reranked like any other search."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from numbers import Real
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.opensearch.connection import error_reason
from anthem_plugin.search.request import SendStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_plugin.search.flow import SearchFlow
    from anthem_plugin.search.request import Response, SearchRequest, Steps

_log = logging.getLogger(__name__)
_RESPONSE_KEYS = ("explain", "profile")  # of a template's body; in a search they are keys of the rendered body
_TRANSPORT_OPTIONS = ("headers", "opaque_id", "request_timeout")


def search_by_template(flow: SearchFlow, request: SearchRequest) -> Steps[Response]:
    """Steps of a search whose body names or contains a template; if it cannot be rendered, those of the plain search.

    Both requests share the time-out of the search.
    """
    request = replace(request, started=time.perf_counter())
    transport = {key: request.options[key] for key in _TRANSPORT_OPTIONS if key in request.options}
    try:
        step = SendStep("render_search_template", {"body": request.body, **transport, **request.timeout_option()})
        rendered = yield step
        body, why = {**rendered["template_output"], **_response_keys(request.body)}, None
    except Exception as error:  # noqa: BLE001 (nothing about reranking may break search)
        why = error_reason(error) if isinstance(error, TransportError) else f"{type(error).__name__}: {error}"
    if why is not None:  # not in the handler: an error of the plain search would have the first one as its context
        return (yield from _search_plainly(flow, request, f"the template could not be rendered: {why}"))
    response = yield from flow.search(replace(request, body=body, options=_with_time_left(request)))
    return _with_status(response, request.options.get("filter_path"))


def _search_plainly(flow: SearchFlow, request: SearchRequest, reason: str) -> Steps[Response]:
    arguments = {"index": request.index, "body": request.body, **request.options, **request.timeout_option()}
    response = yield SendStep("search_template", arguments)
    flow.counts["skipped"] += 1
    _log.info("The search was not reranked: %s", reason)
    took_ms = round(request.elapsed_seconds * 1000, 3)
    report = {"reranked": False, "mode": "none", "signals": [], "reason": reason, "took_ms": took_ms}
    return {**response, "anthem": report}


def _with_status(response: Response, filter_path: object) -> Response:
    """The response with the status that OpenSearch adds for a template, unless the caller filters it out."""
    listed = filter_path if isinstance(filter_path, list | tuple) else str(filter_path or "").split(",")
    patterns = [str(pattern).strip() for pattern in listed if pattern]
    kept = [pattern for pattern in patterns if not pattern.startswith("-")]
    dropped = [pattern[1:] for pattern in patterns if pattern.startswith("-")]
    is_kept = not kept or any(fnmatchcase("status", pattern) for pattern in kept)
    if not is_kept or any(fnmatchcase("status", pattern) for pattern in dropped):
        return response
    return {**response, "status": 200}


def _response_keys(body: Mapping[str, Any] | str | bytes) -> dict[str, Any]:
    sent = json.loads(body) if isinstance(body, str | bytes) else body  # opensearch-py sends a text as it is
    return {key: sent[key] for key in _RESPONSE_KEYS if key in sent}


def _with_time_left(request: SearchRequest) -> dict[str, Any]:
    """The options of the request with what rendering left of its time-out."""
    limit = request.options.get("request_timeout") or request.timeout
    if not isinstance(limit, Real):
        return request.options
    return {**request.options, "request_timeout": max(0.001, float(limit) - request.elapsed_seconds)}
