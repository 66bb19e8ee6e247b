"""Why a hit has its rank: its distance, its tightest margins, and what the query attends to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.geometry.lorentz import logmap
from anthem_plugin.scoring.params import to_float64
from anthem_plugin.search.response import read_point

if TYPE_CHECKING:
    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery, Region
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.response import Hit


@dataclass(frozen=True, slots=True)
class Margin:
    """How far inside its limit a product lies in one dimension, `l_i − |z_i|`; negative outside."""

    dimension: int
    value: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Distance of a product to the query, whether it is contained, and its tightest margins, tightest first."""

    distance: float
    contained: bool
    margins: list[Margin]

    def to_dict(self) -> dict[str, Any]:
        """Values by name, margins included."""
        return asdict(self)


def explain_hit(hit: Hit, region: Region, scoring: ScoringParams, *, margins: int = 3) -> Explanation | None:
    """Explanation of a hit whose source contains its vector; None for one without a vector of this model.

    The margins are those of the hyperboloid that contains the product best; for joined queries, of the query that
    decides.
    """
    point = read_point(hit, scoring)
    if point is None:
        return None
    exact = to_float64(region)
    values = _deciding_margins(exact, point)
    tightest = [Margin(int(number), float(values[number])) for number in np.argsort(values, kind="stable")[:margins]]
    distance = exact.distance(point[None], scoring.gamma)[0]
    return Explanation(float(distance), bool(values.min() >= -scoring.slack), tightest)


def strongest_attention(
    query: EncodedQuery, text: str, vocabulary: Vocabulary, *, limit: int = 5
) -> list[tuple[str, float]]:
    """Entities and intersections of a query with the most attention; an intersection reads `#re × tv#`."""
    trigrams = extract_trigrams(text, vocabulary.query_limit)
    entities = [(trigram, float(share)) for trigram, share in zip(trigrams, query.entities, strict=True)]
    pairs = zip(*np.triu_indices(len(trigrams), k=1), strict=True)
    intersections = [(f"{trigrams[i]} × {trigrams[j]}", float(query.intersections[i, j])) for i, j in pairs]
    return sorted(entities + intersections, key=lambda pair: -pair[1])[:limit]


def _deciding_margins(region: Region, point: Array) -> Array:
    """Margins in the query that decides whether the region contains the point: `max` over alternatives of `min`."""
    margins = [_best_hyperboloid_margins(query, point) for query in region.queries()]
    tightest = [min((margins[number] for number in alternative), key=np.min) for alternative in region.alternatives()]
    return max(tightest, key=np.min)


def _best_hyperboloid_margins(query: EncodedQuery, point: Array) -> Array:
    margins = query.limits - np.abs(logmap(query.centres, point[None]))
    best: Array = margins[np.argmax(margins.min(axis=-1))]
    return best
