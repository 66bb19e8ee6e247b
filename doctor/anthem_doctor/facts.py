"""Facts about a cluster and its indices, as `probe` reads them and `checks` judge them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from anthem_core.opensearch.schema import MODEL_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.mapping import IndexDescription

DEFAULT_SAMPLE_SIZE = 200  # products of each index that are examined one by one


@dataclass(frozen=True, slots=True)
class UnavailableFact:
    """Takes the place of a fact that the cluster did not give: the request and the reason.

    Attributes:
        request: The request that failed.
        reason: Why, in the words of the cluster, with advice.
        cause: `permission` if the user may not send it, `refusal` if the cluster refuses it from everyone, such as for
            an error in a setting, `failure` if it did not answer or may answer when asked again.
    """

    request: str
    reason: str
    cause: Literal["permission", "refusal", "failure"] = "permission"

    @property
    def expected(self) -> str:
        """What should have been found instead."""
        return f"permission to send {self.request}" if self.cause == "permission" else f"an answer to {self.request}"


Fact: TypeAlias = Any  # what a cluster answers, or an `UnavailableFact`


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster reports about itself.

    Attributes:
        info: `GET /`.
        nodes: `GET _nodes/plugins`, the nodes by their ids.
        settings: All settings, flat, including defaults.
        changed_settings: The settings that were changed, flat, under `persistent` and `transient`.
        script_stats: `GET _nodes/stats/script`, the nodes by their ids.
        stored_script: ANTHEM's stored script, None if no script has its id.
        disks: `GET _cat/allocation`, sizes in bytes.
    """

    info: Fact
    nodes: Fact
    settings: Fact
    changed_settings: Fact
    script_stats: Fact
    stored_script: Fact
    disks: Fact


@dataclass(frozen=True)
class IndexFacts:
    """An index: its description, its health, and its document counts (`_stats/docs`)."""

    index: IndexDescription
    health: Fact
    document_counts: Fact

    @property
    def is_empty(self) -> bool:
        """Whether the index is known to have no documents."""
        return isinstance(self.document_counts, dict) and self.document_counts.get("count") == 0


def is_closed(index: IndexDescription) -> bool:
    """Whether an index is closed, so that no search finds anything in it."""
    return str(index.settings.get("verified_before_close")).lower() == "true"


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """Products of an index: all, those with values in the model's fields, and those whose values are the model's.

    Of the latter, `lacking` counts those without the value of a signal, by signal.
    """

    products: int
    with_values: int
    of_model: int
    lacking: Mapping[ModelSignal, int] = field(default_factory=dict)

    def __add__(self, other: ValueCounts) -> ValueCounts:
        """Counts of two indices together."""
        signals = [signal for signal in MODEL_SIGNALS if signal in {*self.lacking, *other.lacking}]
        return ValueCounts(
            self.products + other.products,
            self.with_values + other.with_values,
            self.of_model + other.of_model,
            {signal: self.lacking.get(signal, 0) + other.lacking.get(signal, 0) for signal in signals},
        )


@dataclass(frozen=True)
class ValueFacts:
    """Values in one index: counts, a sample of products with values of the model, and one of products without any."""

    index_name: str
    counts: Fact
    sample: Fact
    sample_without_values: Fact


@dataclass(frozen=True)
class TrialSearch:
    """One query: the plain response, the response of each mode tried, and why the other modes were skipped."""

    query: str
    plain: Fact
    responses: Mapping[str, Fact]
    skipped: Mapping[str, str]
