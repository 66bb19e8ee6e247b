"""Several searches at a time: each goes its own way, and what they send in one round is sent as one `_msearch`."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import HTTP_EXCEPTIONS, TransportError

from anthem_core.opensearch.connection import error_reason
from anthem_plugin.search.request import ComputeStep, SendStep

if TYPE_CHECKING:
    from anthem_plugin.search.request import Response, Steps

# Options that OpenSearch takes for each search of a multi-search, in the line before its body. An index is there only
# if the caller put it there: clusters with access rules by URL refuse it (`rest.action.multi.allow_explicit_index`).
HEADER_OPTIONS = frozenset(
    (
        "allow_no_indices", "allow_partial_search_results", "expand_wildcards", "ignore_unavailable", "preference",
        "request_cache", "routing", "search_type",
    )
)  # fmt: skip
_INVALID_REQUEST = 400


@dataclass(slots=True)
class SearchItem:
    """One search of several: its steps, and the caller's body, keys of its header, and index of the whole request."""

    steps: Steps[Response]
    body: object
    header_keys: frozenset[str]
    index: str | Sequence[str] | None = None
    waiting: SendStep | None = None
    outcome: Response | Exception | None = None
    is_unanswered: bool = False  # the whole request failed, in which its last search was sent

    def advance(self, result: object, stored: dict[str, Any]) -> Steps[None]:
        """Continue with the result of the search that it waits for, until the next one; it takes other steps alone.

        `stored` has the answers for the scripts that the other searches have stored, which are stored once.
        """
        self.waiting = None
        try:
            step = self.steps.throw(result) if isinstance(result, Exception) else self.steps.send(result)
            while not (isinstance(step, SendStep) and step.method == "search"):
                try:
                    value = yield from _take_alone(step, stored)
                except Exception as error:  # noqa: BLE001 (the search decides)
                    step = self.steps.throw(error)
                else:
                    step = self.steps.send(value)
            self.waiting = step
        except StopIteration as end:
            self.outcome = end.value
        except Exception as error:  # noqa: BLE001 (an error of this search alone)
            self.outcome = error


def read_searches(body: object) -> list[tuple[dict[str, Any], Any]]:
    """Header and body of each search of a multi-search, in any form that opensearch-py takes: lines, or one text.

    Raises:
        ValueError: A header has no body, or a line is not JSON.
        TypeError: The body is not lines, or a header is not an object.
    """
    if isinstance(body, bytes):
        body = body.decode()
    lines = body.removesuffix("\n").split("\n") if isinstance(body, str) else body
    if not isinstance(lines, Iterable) or isinstance(lines, Mapping):
        raise TypeError(f"the body is of type {type(body).__name__}; expected lines: a header and a body per search")
    parsed = [_parse_line(number, line) for number, line in enumerate(lines, start=1)]
    if not parsed or len(parsed) % 2:
        raise ValueError(f"the body has {len(parsed)} lines; expected a header and a body per search")
    for number, header in enumerate(parsed[::2], start=1):
        if not isinstance(header, Mapping):
            raise TypeError(f"the header of search {number} is {header!r}; expected an object, such as {{}}")
    return [(_with_one_index(header), sent) for header, sent in zip(parsed[::2], parsed[1::2], strict=True)]


def texts_of_searches(query_text: object, count: int) -> list[Any]:
    """The query text of each of `count` searches: one for all of them, or one for each; each search checks its own.

    Raises:
        ValueError: There are more or fewer texts than searches.
    """
    if not isinstance(query_text, Iterable) or isinstance(query_text, str | bytes | Mapping):
        return [query_text] * count
    texts = [*query_text]
    if len(texts) != count:
        raise ValueError(f"there are {len(texts)} query texts and {count} searches; expected one for each")
    return texts


def run_together(items: Sequence[SearchItem]) -> Steps[Response]:
    """Steps of all searches; the response is that of a multi-search, in which an error is that of its search alone.

    Raises:
        Exception: OpenSearch answered no request.
    """
    started = time.perf_counter()
    stored: dict[str, Any] = {}
    for item in items:
        yield from item.advance(None, stored)
    while waiting := [item for item in items if item.waiting is not None]:
        for group in _group_by_request(waiting):
            for item, result in zip(group, (yield from _send_group(group)), strict=True):
                yield from item.advance(result, stored)
    outcomes = [item.outcome for item in items]
    if isinstance(outcomes[0], Exception) and all(item.is_unanswered for item in items):
        raise outcomes[0]
    responses = [_finish(outcome, started) for outcome in outcomes]
    return {"took": round((time.perf_counter() - started) * 1000), "responses": responses}


def _take_alone(step: SendStep | ComputeStep, stored: dict[str, Any]) -> Steps[Any]:
    """Result of a step that is no search; a script that is stored already is not stored again."""
    script = str(step.arguments["id"]) if isinstance(step, SendStep) and step.method == "put_script" else None
    if script in stored:
        return stored[script]
    result = yield step
    if script is not None:
        stored[script] = result
    return result


def _with_one_index(header: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a header in which the index has one of the two names that OpenSearch takes."""
    named = {"index": header["indices"]} if "indices" in header else {}
    return named | {key: value for key, value in header.items() if key != "indices"}


def _parse_line(number: int, line: object) -> Any:  # noqa: ANN401 (any JSON)
    if not isinstance(line, str | bytes):
        return line
    try:
        return json.loads(line) if line.strip() else {}  # an empty line is an empty header
    except ValueError as error:
        raise ValueError(f"line {number} of the body is not JSON: {error}") from error


def _group_by_request(items: Iterable[SearchItem]) -> list[list[SearchItem]]:
    """Searches that one request can send: they share all options that are not in their headers.

    Plain searches are sent apart from the others, which have only a part of the time-out.
    """
    groups: dict[tuple[bool, str], list[SearchItem]] = defaultdict(list)
    for item in items:
        _, body, options = _split_arguments(item)
        options.pop("request_timeout", None)
        groups[body is item.body, repr(sorted(options.items()))].append(item)
    return list(groups.values())


def _send_group(group: Sequence[SearchItem]) -> Steps[list[Response | Exception]]:
    """The response or error of each search, all of which one request sends.

    OpenSearch refuses the whole request for one body that it cannot parse: then each search is sent by itself.
    """
    lines: list[Any] = []
    timeouts: list[Any] = []
    options: dict[str, Any] = {}
    for item in group:
        header, body, options = _split_arguments(item)
        lines += [header, body]
        timeouts.append(options.pop("request_timeout", None))
    known = [timeout for timeout in timeouts if timeout is not None]
    timeout = {"request_timeout": min(known)} if known else {}
    for item in group:
        item.is_unanswered = True
    try:
        response = yield SendStep("msearch", {"body": lines, **options, **timeout})
    except Exception as error:  # noqa: BLE001 (each search decides)
        if len(group) == 1 or not (isinstance(error, TransportError) and error.status_code == _INVALID_REQUEST):
            return [error] * len(group)
        results = []
        for item in group:
            results += yield from _send_group([item])
        return results
    for item in group:
        item.is_unanswered = False
    return [_read_item(item) for item in response["responses"]]


def _split_arguments(item: SearchItem) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Header and body of the search that an item waits for, and the options that the whole request has.

    The whole request names the index that the caller gave it, unless the search names none: that of a point in time.
    """
    arguments = dict(item.waiting.arguments) if item.waiting else {}
    body = arguments.pop("body")
    header = {key: arguments.pop(key) for key in [*arguments] if key in item.header_keys or key in HEADER_OPTIONS}
    if "index" in header:
        arguments["index"] = item.index
    if arguments.get("index") is None:
        arguments.pop("index", None)
    return {key: value for key, value in header.items() if value is not None}, body, arguments


def _read_item(item: Mapping[str, Any]) -> Response | Exception:
    """One response of a multi-search, as that of a single search; an error as opensearch-py raises it."""
    if "error" not in item:
        return {key: value for key, value in item.items() if key != "status"}
    status, error = item.get("status", 500), item["error"]
    kind = error.get("type", "error") if isinstance(error, dict) else error
    refusal: Exception = HTTP_EXCEPTIONS.get(status, TransportError)(status, kind, dict(item))
    return refusal


def _finish(outcome: Response | Exception | None, started: float) -> Response:
    """One response of our multi-search: that of the search with its status, or its error."""
    if not isinstance(outcome, Exception):
        return {**(outcome or {}), "status": 200}
    reason = _error_message(outcome)
    took_ms = round((time.perf_counter() - started) * 1000, 3)
    report = {"reranked": False, "mode": "none", "signals": [], "reason": reason, "took_ms": took_ms}
    answer = outcome.info if isinstance(outcome, TransportError) else None
    if isinstance(answer, dict) and "error" in answer:
        return {**answer, "anthem": report}
    status = outcome.args[0] if isinstance(outcome, TransportError) and isinstance(outcome.args[0], int) else 503
    return {"error": {"type": type(outcome).__name__, "reason": str(outcome)}, "status": status, "anthem": report}


def _error_message(error: Exception) -> str:
    """The reason of an error as its own response gives it: that of its first cause, in OpenSearch's order."""
    if not isinstance(error, TransportError):
        return str(error)
    body = error.info.get("error") if isinstance(error.info, dict) else None
    causes = body.get("root_cause") if isinstance(body, dict) else None
    return str(causes[0].get("reason") or error_reason(error)) if causes else error_reason(error)
