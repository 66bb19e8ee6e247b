"""The constants from which the script in the cluster and numpy in the client compute the same scores."""

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
    """A model's constants that do not depend on the query.

    `dimension` is D; points have D+1 coordinates. `fusion` weights the lexical score and containment;
    `attention_fusion` also weights attention, and is None for a bundle without attention.
    """

    model_id: str
    dimension: int
    gamma: float
    slack: float
    fusion: FusionWeights
    fields: VectorFields = field(default_factory=VectorFields)
    attention_fusion: FusionWeights | None = None

    @classmethod
    def from_bundle(cls, bundle: Bundle, fields: VectorFields | None = None) -> ScoringParams:
        """Read the constants of a bundle.

        Raises:
            BundleError: The bundle has no weights for lexical score and containment.
        """
        fusion = bundle.fusion.get(LEXICAL_CONTAINMENT)
        if fusion is None:
            raise BundleError(
                f"{bundle.path} has fusion weights for {sorted(bundle.fusion)}, but not for '{LEXICAL_CONTAINMENT}'. "
                "Export the bundle again with this version."
            )
        attention_fusion = bundle.fusion.get(ALL_SIGNALS) if bundle.has_attention else None
        return cls(
            bundle.model_id,
            bundle.dimension,
            bundle.gamma,
            bundle.slack,
            fusion,
            fields or VectorFields(),
            attention_fusion,
        )


def to_float64(region: Region) -> Region:
    """Convert every query of a region to float64, lift its centres onto the hyperboloid, drop zero-weight hyperboloids.

    Entities and intersections stay as they are. A float32 centre is off the hyperboloid by about 1e-7; from the float64
    numbers Painless and numpy compute the same.
    """
    return region.map_queries(_query_to_float64)


def _query_to_float64(query: EncodedQuery) -> EncodedQuery:
    weighted = query.weights > 0
    return EncodedQuery(
        centres=lift(query.centres[weighted, 1:].astype(np.float64)),
        limits=query.limits[weighted].astype(np.float64),
        weights=query.weights[weighted].astype(np.float64),
        entities=query.entities,
        intersections=query.intersections,
    )
