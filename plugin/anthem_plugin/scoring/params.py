"""What both places that score a window, the script in the cluster and numpy in the client, compute from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_CONTAINMENT, Bundle
from anthem_core.errors import BundleError
from anthem_core.geometry.lorentz import lift
from anthem_core.geometry.regions import EncodedQuery, Region
from anthem_core.opensearch.schema import VectorFields

if TYPE_CHECKING:
    from anthem_core.fusion import FusionWeights


@dataclass(frozen=True, slots=True)
class ScoringParams:
    """A model's constants known before a search: its id, its dimension D, γ, slack, fusion and fields.

    `attentive` is the fusion with attention; None for a bundle that knows no attention.
    """

    model: str
    dimension: int
    gamma: float
    slack: float
    fusion: FusionWeights
    fields: VectorFields = field(default_factory=VectorFields)
    attentive: FusionWeights | None = None

    @classmethod
    def of(cls, bundle: Bundle, fields: VectorFields | None = None) -> ScoringParams:
        """Constants of a bundle.

        Raises:
            BundleError: The bundle has no weights for lexical + containment.
        """
        fusion = bundle.fusion.get(LEXICAL_CONTAINMENT)
        if fusion is None:
            raise BundleError(
                f"{bundle.path} has fusion weights for {sorted(bundle.fusion)}; '{LEXICAL_CONTAINMENT}' was wanted. "
                "Export again with this version."
            )
        attentive = bundle.fusion.get(ALL_SIGNALS) if bundle.attends else None
        return cls(
            bundle.model, bundle.dimension, bundle.gamma, bundle.slack, fusion, fields or VectorFields(), attentive
        )


def to_float64(region: Region) -> Region:
    """Region in float64: of every query, centres lifted back onto the sheet, hyperboloids without weight left out.

    float32 keeps a centre off the sheet by 1e-7; from these numbers Painless and numpy compute the same.
    """
    return region.each(_query_to_float64)


def _query_to_float64(query: EncodedQuery) -> EncodedQuery:
    kept = query.weights > 0
    return EncodedQuery(
        centres=lift(query.centres[kept, 1:].astype(np.float64)),
        limits=query.limits[kept].astype(np.float64),
        weights=query.weights[kept].astype(np.float64),
        entities=query.entities,
        intersections=query.intersections,
    )
