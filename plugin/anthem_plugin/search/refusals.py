"""What a cluster refuses for good, such as a window above `index.max_rescore_window`, told from failures that pass.

A lasting refusal is remembered per index, so that later searches keep within it from the start.
"""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import TransportError

from anthem_core.opensearch.connection import is_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

REFUSAL_RETRY_SECONDS = 300.0  # after a refusal, until the same is tried again
MAX_REFUSING_INDICES = 256
_PASSING_STATUSES = (408, 429)  # of the 4xx, those with which a cluster asks to come back later
_INTERNAL_ERROR = 500
# Limits on what one body asks for, to which OpenSearch answers 500 or 503.
_BODY_LIMITS = ("maxClauseCount", "too_many_buckets_exception")
# Memory that a body takes for its aggregations and for fields that it sorts by.
_OWN_MEMORY = re.compile(r"\[(?:request|fielddata)\] Data too large")
_NO_SHARDS = "search_phase_execution_exception"
_COMPILATIONS = "Too many dynamic script compilations"
_SCRIPT_REFUSALS = re.compile(
    r"when 'search\.allow_expensive_queries' is set to false"
    r"|cannot execute (?:\[stored\] scripts|scripts using \[score\] context)"
    rf"|{_COMPILATIONS}.*\[script\.(?:context\.score\.)?max_compilations_rate\]"
)
_RESULT_WINDOW = re.compile(r"Result window is too large, from \+ size must be less than or equal to: \[(\d+)\]")
_RESCORE_WINDOW = re.compile(r"Rescore window \[\d+\] is too large\. It must be less than \[(\d+)\]")
_DOC_VALUES = re.compile(
    r"Trying to retrieve too many docvalue_fields\. Must be less than or equal to: \[(\d+)\] but was \[(\d+)\]"
)
IDENTITY_FIELDS = 3  # that a search requests in addition as doc values: model id, text hash, and trigrams
_WINDOW_MODES = ("cluster", "client", "retrieve")
_REFUSAL_TYPES = (
    "illegal_argument_exception", "parsing_exception", "query_shard_exception", "too_many_buckets_exception"
)  # fmt: skip

_log = logging.getLogger(__name__)


class ScriptForbiddenError(Exception):
    """The cluster does not accept the stored script; the message is the cluster's reason."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """What a cluster refuses for one index: the largest windows it accepts, and whether it gives out doc values.

    `script` says why the cluster does not run the script; it is None if it does. None for a window: not known.
    `more_doc_values` concerns one body, whose own doc values leave no room for others.
    """

    script: str | None = None
    result_window: int | None = None
    rescore_window: int | None = None
    doc_values: bool = False
    more_doc_values: bool = False

    def fit_result(self, window: int) -> int:
        """The largest window up to this one that a search may fetch."""
        return min(window, self.result_window or window)

    def fit_rescore(self, window: int) -> int:
        """The largest window up to this one that a search may rescore."""
        return min(window, self.rescore_window or window)

    def of_search(self, window: int, body: Mapping[str, Any]) -> Refusals:
        """Without what is the body's own: a page beyond the limit, its doc values, or scripts that are not compiled."""
        is_own_page = self.result_window is not None and self.result_window >= window
        is_own_script = _COMPILATIONS in (self.script or "") and _has_key(body, "script")
        return replace(
            self,
            result_window=None if is_own_page else self.result_window,
            script=None if is_own_script else self.script,
            more_doc_values=False,
        )

    def of_body(self) -> Refusals:
        """What concerns one body alone, and is never remembered."""
        return Refusals(more_doc_values=self.more_doc_values)

    def window_note(self, mode: str, window: int, index: str) -> str | None:
        """Note on a search whose window was cut to what the index accepts; None if it was not."""
        fit = self.fit_result if mode == "client" else self.fit_rescore
        if mode not in _WINDOW_MODES or fit(window) == window:
            return None
        return f"the window is {fit(window)} instead of {window}, because {index} accepts no more"

    def joined(self, other: Refusals) -> Refusals:
        """Both together."""
        return Refusals(
            self.script or other.script,
            _smaller(self.result_window, other.result_window),
            _smaller(self.rescore_window, other.rescore_window),
            self.doc_values or other.doc_values,
            self.more_doc_values or other.more_doc_values,
        )

    def describe(self, index: str) -> list[str]:
        """Each refusal in a sentence, for `stats` and the log."""
        sentences = {
            f"the cluster does not accept the script ({self.script}); searches are ranked in the client": self.script,
            f"{index} lets a search fetch {self.result_window} hits; client mode ranks no more": self.result_window,
            f"{index} lets a search rescore {self.rescore_window} hits; cluster mode ranks no more": (
                self.rescore_window
            ),
            f"{index} refuses to return doc values; they are read from _source": self.doc_values,
        }
        return [sentence for sentence, applies in sentences.items() if applies]


def find_refusals(error: Exception) -> Refusals:
    """What an error says that the cluster refuses for good; nothing for a failure that passes."""
    if isinstance(error, ScriptForbiddenError):
        return Refusals(script=str(error))
    info = getattr(error, "info", None)
    reasons = [*_find_reasons(info)] if isinstance(info, dict) else [str(error)]
    return Refusals(
        next(filter(_SCRIPT_REFUSALS.search, reasons), None),
        _smallest_limit(_RESULT_WINDOW, reasons),
        _smallest_limit(_RESCORE_WINDOW, reasons),
        *_refused_doc_values(reasons),
    )


def is_failure(error: Exception) -> bool:
    """Whether an error may repeat at any other search, rather than being the answer to this one's body.

    A refusal (4xx) is such an answer, unless the cluster is only busy or the script itself failed; so is a body with
    too many clauses or buckets, to which OpenSearch answers 500 or 503, and one whose own scripts reach the limit on
    compilations.
    """
    if not isinstance(error, TransportError):
        return True
    if not is_refusal(error):
        return not _exceeds_body_limit(error)
    return _is_busy(error) or "script_exception" in str(error.info)


def is_callers_error(error: Exception) -> bool:
    """Whether a plain search failed by what the caller passed: the cluster refused it, or it could not be sent.

    A cluster in trouble answers 502 to 504, or not at all; OpenSearch answers 500 to some bodies that it cannot read,
    503 to one with too many buckets or for an index without available shards, and 429 to one that needs more memory
    than a body may take.
    """
    if not isinstance(error, TransportError) or _was_not_sent(error):
        return True
    if _exceeds_body_limit(error) or _lacks_shards(error) or _OWN_MEMORY.search(str(error.info)):
        return True
    return error.status_code == _INTERNAL_ERROR or (is_refusal(error) and not _is_busy(error))


def _exceeds_body_limit(error: TransportError) -> bool:
    """Whether a body asks for more than OpenSearch allows any body."""
    return any(limit in str(error.info) for limit in _BODY_LIMITS)


def _lacks_shards(error: TransportError) -> bool:
    """Whether too few shards of the searched indices are available: OpenSearch asks none, so none has failed."""
    cause = error.info.get("error") if isinstance(error.info, dict) else None
    while isinstance(cause, dict) and cause.get("type") == _NO_SHARDS and not cause.get("failed_shards"):
        if "caused_by" not in cause:
            return True
        cause = cause["caused_by"]
    return False


def _was_not_sent(error: TransportError) -> bool:
    """Whether a request was not sent because of an unusable option, which opensearch-py calls a lost connection."""
    cause = error.info if isinstance(error, NoConnection) else None
    return isinstance(cause, OverflowError | TypeError | ValueError) and not isinstance(cause, OSError)


def _is_busy(error: TransportError) -> bool:
    """Whether a cluster asks to come back later; 2.19 does so in a rescore at the limit on compilations too."""
    return error.status_code in _PASSING_STATUSES and _COMPILATIONS not in str(error.info)


def are_refusals(causes: Sequence[Mapping[str, object]]) -> bool:
    """Whether all causes of failed shards are refusals of the body rather than failures."""
    return bool(causes) and all(cause.get("type") in _REFUSAL_TYPES for cause in causes)


class RefusalMemory:
    """What the cluster refused lately, by index; it is tried again after five minutes. Safe to share between threads.

    Each refusal is logged once, not again after every try.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._script: tuple[str | None, float] = None, 0.0
        self._indices: OrderedDict[str, tuple[Refusals, float]] = OrderedDict()

    @property
    def script(self) -> str | None:
        """Why the cluster does not accept the script, or None if it does as far as is known."""
        reason, until = self._script
        return reason if self._clock() < until else None

    def known(self, index: str) -> Refusals:
        """What is known to be refused for an index now."""
        refusals, until = self._indices.get(index, (Refusals(), 0.0))
        return replace(refusals if self._clock() < until else Refusals(), script=self.script)

    def learn(self, index: str, found: Refusals) -> None:
        """Remember what was refused."""
        until, of_index = self._clock() + REFUSAL_RETRY_SECONDS, replace(found, script=None)
        with self._lock:
            logged, known_before = self._script[0], self._indices.get(index, (Refusals(), 0.0))[0]
            if found.script:
                self._script = found.script, until
            if of_index != Refusals():
                self._indices[index] = self.known(index).joined(of_index), until
                self._indices.move_to_end(index)
                if len(self._indices) > MAX_REFUSING_INDICES:
                    self._indices.popitem(last=False)
        for sentence in found.describe(index):
            if sentence not in replace(known_before, script=logged).describe(index):
                _log.warning("Reranking is limited: %s", sentence)

    def to_list(self) -> list[str]:
        """What is refused now, in sentences."""
        with self._lock:
            names = list(self._indices)
        of_indices = [replace(self.known(name), script=None).describe(name) for name in names]
        return [sentence for part in (Refusals(self.script).describe("every index"), *of_indices) for sentence in part]


def _smaller(first: int | None, second: int | None) -> int | None:
    return min((limit for limit in (first, second) if limit is not None), default=None)


def _smallest_limit(pattern: re.Pattern[str], reasons: Iterable[str]) -> int | None:
    return min((int(limit) for reason in reasons for limit in pattern.findall(reason)), default=None)


def _refused_doc_values(reasons: Iterable[str]) -> tuple[bool, bool]:
    """Whether an index gives out too few doc values for any search, and whether one body's own leave no room."""
    limits = [(int(limit), int(count)) for reason in reasons for limit, count in _DOC_VALUES.findall(reason)]
    of_index = any(limit < IDENTITY_FIELDS for limit, _ in limits)
    of_body = any(IDENTITY_FIELDS <= limit < count <= limit + IDENTITY_FIELDS for limit, count in limits)
    return of_index, of_body and not of_index


def _has_key(node: object, key: str) -> bool:
    """Whether an object somewhere in some JSON has a key."""
    if isinstance(node, Mapping):
        return key in node or any(_has_key(value, key) for value in node.values())
    return isinstance(node, list | tuple) and any(_has_key(item, key) for item in node)


def _find_reasons(node: object) -> Iterator[str]:
    """Every `reason` in the JSON of an error, at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get("reason"), str):
            yield node["reason"]
        for value in node.values():
            yield from _find_reasons(value)
    elif isinstance(node, list):
        for item in node:
            yield from _find_reasons(item)
