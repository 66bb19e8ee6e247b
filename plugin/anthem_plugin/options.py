"""Options of the search clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.search.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    from anthem_plugin.rewriter.query_text import QueryPath


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Options that all searches of a client share.

    Attributes:
        query_path: Dotted path of the query text in search bodies, such as `query.bool.must.0.match.title.query`, or
            several; the first that leads to a text counts. By default, the client uses the text on which all clauses
            that search for words agree.
        text_fields: Field of the product text, or several in the order in which they were ingested; client mode reads
            it from hits that were not ingested. Defaults to the fields that ingest recorded in the mapping, else
            `title`. If empty, the client reads no texts.
        fields: Fields of the model's values. Defaults to those that hold the bundle's values in each index.
        budget_ms: Milliseconds that this process can spend on encoding and scoring one search; it leaves attention out
            if that would take longer. Defaults to no limit.
        cache_size: Number of encoded queries to cache, in at most 16 MB for each kind of encoding.
        circuit_breaker: Stops reranking for a while after repeated failures. Defaults to a new one that tolerates
            five failures and pauses for 30 seconds; clients with the same breaker share its state.

    Raises:
        TypeError: `query_path`, `text_fields`, `fields` or `circuit_breaker` has the wrong type.
        ValueError: The budget is not positive, or the cache size is negative.
    """

    query_path: QueryPath | None = None
    text_fields: str | tuple[str, ...] | None = None
    fields: ModelFields | None = None
    budget_ms: float | None = None
    cache_size: int = 1024
    circuit_breaker: CircuitBreaker | None = None

    def __post_init__(self) -> None:
        _check_names("query_path", self.query_path)
        _check_names("text_fields", self.text_fields)
        if isinstance(self.text_fields, str):  # its letters would be taken for fields
            object.__setattr__(self, "text_fields", (self.text_fields,))
        _check_type("fields", self.fields, ModelFields)
        _check_type("circuit_breaker", self.circuit_breaker, CircuitBreaker)
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise ValueError(f"budget_ms is {self.budget_ms}; expected a positive number, or None for no limit")
        if self.cache_size < 0:
            raise ValueError(f"cache_size is {self.cache_size}; expected 0 or more")


def _check_names(name: str, value: object) -> None:
    names = (value,) if isinstance(value, str) else value
    if names is not None and not (isinstance(names, list | tuple) and all(isinstance(each, str) for each in names)):
        raise TypeError(f"{name} is {value!r}; expected a string, a tuple of strings, or None")


def _check_type(name: str, value: object, expected: type) -> None:
    if value is not None and not isinstance(value, expected):
        raise TypeError(f"{name} is {value!r}; expected a {expected.__name__}, or None")
