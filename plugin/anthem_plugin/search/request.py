"""The values of one search: the request, the steps it yields, and the decision not to rerank it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

from anthem_core.console import name_some
from anthem_core.geometry.regions import Region
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.search.index_notes import describe_left_out
from anthem_plugin.search.refusals import Refusals, are_refusals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_plugin.modes import ModeName, ResolvedMode
    from anthem_plugin.rewriter.query_text import QueryPath
    from anthem_plugin.rewriter.rescore import RewrittenBody
    from anthem_plugin.scoring.params import ModelSignal, ScoringParams, Signals
    from anthem_plugin.search.time_budget import TimeBudget

T = TypeVar("T")
Response: TypeAlias = dict[str, Any]
Signal: TypeAlias = Literal["lexical", "containment", "attention"]

NO_HITS_REASON = "there are no hits to rerank"
NO_VALUES = "no product among the hits has values of this model"
NO_INDEX_REASON = "no index was searched: each is closed, missing or without a match for the pattern"
ONE_HIT_REASON = "the window has only one hit, so there is nothing to rerank"
NOT_TOLD_APART_REASON = "the model does not tell any two hits of the window apart"
MAX_TIMEOUT_SECONDS = 1_000_000_000  # a socket refuses little more
RERANK_TIME_SHARE = 0.6  # of the request's time-out, for all requests that rerank; the plain search keeps the rest
_OF_SEVERAL = frozenset("*,<")  # in what a search takes as an index, but no name of one
# Options that shape a response: a request for counts is sent without them.
_RESPONSE_SHAPING_OPTIONS = ("filter_path", "terminate_after", "track_total_hits", "typed_keys")


@dataclass(frozen=True, slots=True)
class SendStep:
    """A call of opensearch-py: the method, dotted where it belongs to a namespace, and its arguments."""

    method: Literal[
        "search", "msearch", "render_search_template", "search_template", "put_script", "indices.get_mapping"
    ]
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ComputeStep:
    """A computation in this process."""

    run: Callable[[], Any]


# A search as a generator: it yields steps, receives their results or exceptions, and returns a value.
Steps: TypeAlias = Generator[SendStep | ComputeStep, Any, T]


class RerankSkipped(Exception):  # noqa: N818 (a decision, not an error)
    """The search is not reranked, and why; with the plain response if it is known already."""

    def __init__(self, reason: str, response: Response | None = None, *, failed: bool = False) -> None:
        super().__init__(reason)
        self.response = response
        self.failed = failed


class NoValuesFound(RerankSkipped):
    """The search found no values of the model; they may have moved since the index's profile was read."""


class ShardsFailed(RerankSkipped):
    """Shards failed while reranking on which the plain search succeeds; `info` has the cause of each."""

    def __init__(self, reason: str, response: Response, causes: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(reason, response, failed=not are_refusals(causes))
        self.info = {"causes": list(causes)}


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search of a caller; every body that is sent for it shares its options and its time-out.

    Raises:
        TypeError: The window, the operators, the region or the time-out have the wrong type.
        ValueError: The window is below 1, or the time-out negative or above `MAX_TIMEOUT_SECONDS`.
    """

    index: str | None
    body: Mapping[str, Any]
    options: dict[str, Any]
    timeout: float | None
    text: str | None = None
    mode: ResolvedMode = "cluster"
    window: int = DEFAULT_WINDOW
    operators: bool = False
    region: Region | None = None
    query_path: QueryPath | None = None
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        check_window(self.window)
        if not isinstance(self.operators, bool):
            raise TypeError(f"operators is {self.operators!r}; expected True or False")
        if self.region is not None and not isinstance(self.region, Region):
            raise TypeError(f"region is a {type(self.region).__name__}; expected what `encode_query` returns, or None")
        paths = () if self.query_path is None or isinstance(self.query_path, str) else self.query_path
        if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
            raise TypeError(f"query_path is {self.query_path!r}; expected a dotted path, or a list of them")
        check_timeout(self.options.get("request_timeout"))

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the request was made."""
        return time.perf_counter() - self.started

    def timeout_option(self, share: float = 1.0) -> dict[str, float]:
        """`request_timeout` for what is left of a share of the time-out; empty if there is no time-out.

        Raises:
            RerankSkipped: Nothing is left of the share. The plain search, whose share is 1, may always be sent.
        """
        limit = self.options.get("request_timeout") or self.timeout
        if not isinstance(limit, Real):  # one connection class takes a tuple, whose parts it knows
            return {}
        left = float(limit) * share - self.elapsed_seconds
        if share < 1 and left <= 0:
            raise RerankSkipped("the time for reranking is used up; the rest is kept for the plain search")
        return {"request_timeout": max(0.001, left)}

    def search_step(self, body: Mapping[str, Any] | None = None, share: float = 1.0) -> SendStep:
        """Search with a body; by default the caller's own."""
        sent = {"index": self.index, "body": self.body if body is None else body, **self.options}
        return SendStep("search", sent | self.timeout_option(share))

    def count_step(self, body: Mapping[str, Any]) -> SendStep:
        """Search for counts, without the options that shape a response."""
        arguments = self.search_step(body, RERANK_TIME_SHARE).arguments
        return SendStep("search", {key: arguments[key] for key in arguments if key not in _RESPONSE_SHAPING_OPTIONS})


@dataclass(frozen=True, slots=True)
class IndexProfile:
    """How one index is ranked: parameters of the scores, its signals among them, and fields of the product text.

    The signals are assumed to be all of the model's if the mapping could not be read. `faults` describes fields of the
    model that no index maps correctly, and says for each what to do; `client_faults` has, by the name of an
    index, what client mode cannot read there. `indices` has the names of the indices that are searched, none if the
    mapping could not be read, and `left_out` those of them whose values cannot be used, by the reason. `untitled` has
    those where `ingest` needs the name of a text field, with their text fields.
    """

    scoring: ScoringParams
    text_fields: tuple[str, ...]
    faults: tuple[str, ...] = ()
    client_faults: Mapping[str, str] = field(default_factory=dict)
    indices: tuple[str, ...] = ()
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    untitled: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def signals(self) -> Signals:
        """Signals of the model that the index has."""
        return self.scoring.signals

    @property
    def unranked_indices(self) -> frozenset[str]:
        """The names of all indices that are left out."""
        return frozenset(name for names in self.left_out.values() for name in names)

    @property
    def note(self) -> str | None:
        """What is not used for a search, which is ranked by the remaining signals; None if all is used."""
        return "; ".join((*self.faults, *describe_left_out(self.left_out, "not ranked"))) or None

    def client_note(self, *, from_texts: bool) -> str | None:
        """Note on a search in client mode, which ranks indices without values too if it reads texts."""
        left_out = describe_left_out(self.left_out, "ranked without containment" if from_texts else "not ranked")
        return "; ".join((*self.faults, *left_out, *dict.fromkeys(self.client_faults.values()))) or None

    def to_dict(self) -> dict[str, Any]:
        """What was found, by name."""
        return {
            "object": self.scoring.fields.name,
            "signals": list_signals(self.signals),
            "text_fields": [*self.text_fields],
            "faults": [*self.faults, *describe_left_out(self.left_out, "not ranked")],
        }


@dataclass(frozen=True, slots=True)
class PreparedSearch:
    """What ranks one search: its text, region and tables, the index's profile and the time budget.

    `tables` has an attention table per phrase of the text; it is empty if attention is not used. `refusals` is what
    the cluster is known to refuse.
    """

    text: str | None
    region: Region
    profile: IndexProfile
    budget: TimeBudget
    tables: Sequence[AttentionTable] = ()
    refusals: Refusals = field(default_factory=Refusals)


@dataclass(frozen=True, slots=True)
class RankedResponse:
    """A response, the mode and the signals that ranked it, and a note for the caller."""

    response: Response
    mode: ModeName
    signals: Sequence[Signal]
    note: str | None = None

    def with_note(self, note: str | None) -> RankedResponse:
        """The same response with another note before its own."""
        return replace(self, note="; ".join(filter(None, (note, self.note))) or None)


def check_window(window: object) -> None:
    """Check the number of hits to rerank.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is below 1.
    """
    if not isinstance(window, Integral) or isinstance(window, bool):
        raise TypeError(f"window is {window!r}; expected a whole number")
    if window < 1:
        raise ValueError(f"window is {window}; expected 1 or more")


def check_timeout(timeout: object) -> None:
    """Check a time-out of a request: seconds, None for that of the client, or a tuple of both.

    Raises:
        TypeError: It is something else.
        ValueError: It is negative, or so long that a socket refuses it.
    """
    for part in timeout if isinstance(timeout, tuple) else (timeout,):
        if part is None:
            continue
        if not isinstance(part, Real):
            raise TypeError(f"request_timeout is {timeout!r}; expected seconds")
        seconds: Any = part  # not converted: a huge `int` does not fit into a float
        if seconds > MAX_TIMEOUT_SECONDS:
            raise ValueError(f"request_timeout is above {MAX_TIMEOUT_SECONDS:,} seconds; give fewer, or leave it out")
        if not seconds >= 0:
            raise ValueError(f"request_timeout is {timeout!r}; expected a positive number of seconds")


def list_signals(signals: Collection[ModelSignal]) -> list[Signal]:
    """The lexical score and some of the model's signals, in a fixed order."""
    return [signal for signal in get_args(Signal) if signal == "lexical" or signal in signals]


def no_hits_reason(response: Response) -> str:
    """Reason for a search whose response has no hits: it found none, or no index was searched."""
    return NO_INDEX_REASON if response.get("_shards", {}).get("total") == 0 else NO_HITS_REASON


def index_name(index: str | Sequence[str] | None) -> str:
    """The index of a request as a command names it: several are joined by commas, as OpenSearch accepts them."""
    return ",".join([index] if isinstance(index, str) else index or ["INDEX"])


def no_values_reason(index: str | Sequence[str] | None, names: Sequence[str] = ()) -> str:
    """Reason for a search without values of the model to rank by; `names` as in `advise_ingest`."""
    return f"{NO_VALUES}; {advise_ingest(index, names)}"


def advise_ingest(index: str | Sequence[str] | None, names: Sequence[str] = ()) -> str:
    """Advice to ingest the indices of these names, or else what a search names: `ingest` takes the name of one."""
    named = names or [index_name(index)]
    if len(named) == 1 and not _OF_SEVERAL.intersection(named[0]):
        return f"run: anthem ingest {named[0]}"
    return f"run anthem ingest INDEX for each of {name_some(named)}"


def rewritten_body(rewritten: RewrittenBody) -> dict[str, Any]:
    """Body that the rewriter built.

    Raises:
        RerankSkipped: The rewriter declined.
    """
    if rewritten.reason is not None:
        raise RerankSkipped(rewritten.reason)
    return rewritten.body
