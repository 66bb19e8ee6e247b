"""The constants from which the script in the cluster and numpy in the client compute the same scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_ATTENTION, LEXICAL_CONTAINMENT, Bundle
from anthem_core.errors import BundleError
from anthem_core.geometry.lorentz import lift
from anthem_core.geometry.regions import EncodedQuery, Region
from anthem_core.opensearch.schema import ModelFields

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anthem_core.fusion import FusionWeights
    from anthem_core.geometry.lorentz import Array

ModelSignal: TypeAlias = Literal["containment", "attention"]
Signals: TypeAlias = frozenset[ModelSignal]

CONTAINMENT: Signals = frozenset({"containment"})
DECIMALS_IN_PARAMS = 7
ATTENTION: Signals = frozenset({"attention"})
BOTH: Signals = CONTAINMENT | ATTENTION
FUSION_NAMES: dict[Signals, str] = {
    CONTAINMENT: LEXICAL_CONTAINMENT,
    ATTENTION: LEXICAL_ATTENTION,
    BOTH: ALL_SIGNALS,
}


@dataclass(frozen=True, slots=True)
class ScoringParams:
    """A model's constants that do not depend on the query, and the signals of an index that are ranked by.

    `dimension` is D; points have D+1 coordinates. `signals` are those of the model that the index has, beside the
    lexical score; `fusions` has the weights of every set of signals that the model has. `misfits` has, for each signal,
    the indices that map its values as another type; it is None if the mappings could not be read. `doc_values` says
    whether a search may request them.
    """

    model_id: str
    dimension: int
    gamma: float
    vector_step: float
    slack: float
    fusions: dict[Signals, FusionWeights]
    signals: Signals
    fields: ModelFields = field(default_factory=ModelFields)
    misfits: Mapping[ModelSignal, frozenset[str]] | None = None
    doc_values: bool = True

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, fields: ModelFields | None = None, signals: Collection[ModelSignal] = BOTH
    ) -> ScoringParams:
        """Read the constants of a bundle; of `signals`, those are kept that the bundle has.

        Raises:
            BundleError: The bundle has no weights for a set of signals that it can rank by.
        """
        possible = [CONTAINMENT, ATTENTION, BOTH] if bundle.has_attention else [CONTAINMENT]
        missing = [FUSION_NAMES[subset] for subset in possible if FUSION_NAMES[subset] not in bundle.fusion]
        if missing:
            raise BundleError(
                f"{bundle.path} has fusion weights for {sorted(bundle.fusion)}, but not for '{missing[0]}'. "
                "Export the bundle again with this version."
            )
        return cls(
            model_id=bundle.model_id,
            dimension=bundle.dimension,
            gamma=bundle.gamma,
            vector_step=bundle.vector_step,
            slack=bundle.slack,
            fusions={subset: bundle.fusion[FUSION_NAMES[subset]] for subset in possible},
            signals=possible[-1] & frozenset(signals),
            fields=fields or ModelFields(),
        )

    def fusion_for(self, signals: Collection[ModelSignal]) -> FusionWeights:
        """Weights for these signals of the model.

        Raises:
            KeyError: The model cannot rank by them.
        """
        return self.fusions[frozenset(signals)]

    def readable_signals(self, index: str | None) -> Signals:
        """Signals whose values the script can read in an index, as far as its mapping is known."""
        return frozenset(signal for signal in self.signals if index not in (self.misfits or {}).get(signal, ()))


def to_float64(region: Region) -> Region:
    """Convert every query of a region to float64, lift its centres onto the hyperboloid, drop zero-weight hyperboloids.

    Entities and intersections stay as they are. A float32 centre is off the hyperboloid by about 1e-7; from the float64
    numbers Painless and numpy compute the same.
    """
    return region.map_queries(_query_to_float64)


def _round(values: Array) -> Array:
    """Values in float64 with as many decimals as float32 has near 1: short numbers make a small request body."""
    rounded: Array = np.round(values.astype(np.float64), DECIMALS_IN_PARAMS)
    return rounded


def _query_to_float64(query: EncodedQuery) -> EncodedQuery:
    weighted = query.weights > 0
    return EncodedQuery(
        centres=lift(_round(query.centres[weighted, 1:])),
        limits=_round(query.limits[weighted]),
        weights=_round(query.weights[weighted]),
        entities=query.entities,
        intersections=query.intersections,
    )
