"""Why a hit stands where it stands: its distance, its tightest margins, and what the query asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.containment import query_distance
from anthem_core.lorentz import seen_from
from anthem_core.text import trigrams
from anthem_plugin.rerank import stored_point
from anthem_plugin.scoring import precise

if TYPE_CHECKING:
    from anthem_core.containment import Query, Region
    from anthem_core.lorentz import Array
    from anthem_core.text import Vocabulary
    from anthem_plugin.rerank import Hit
    from anthem_plugin.scoring import Scoring


@dataclass(frozen=True, slots=True)
class Margin:
    """How far within its limit a product lies in one dimension, `l_i − |z_i|`; negative outside."""

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


def explain(hit: Hit, query: Region, scoring: Scoring, *, margins: int = 3) -> Explanation | None:
    """Explanation of a hit that brings its vector along, or None for one without a vector of this model.

    Margins are those of the hyperboloid that holds the product best; of a join, of the query that decides.
    """
    point = stored_point(hit, scoring)
    if point is None:
        return None
    exact = precise(query)
    room = _best_margins(exact, point)
    tightest = [Margin(int(number), float(room[number])) for number in np.argsort(room, kind="stable")[:margins]]
    distance = query_distance(exact, point[None], scoring.gamma)[0]
    return Explanation(float(distance), bool(room.min() >= -scoring.slack), tightest)


def attention(query: Query, text: str, vocabulary: Vocabulary, *, most: int = 5) -> list[tuple[str, float]]:
    """Strongest entities and intersections of a query with their attention; an intersection reads `#re × tv#`."""
    grams = trigrams(text, vocabulary.query_limit)
    entities = [(gram, float(share)) for gram, share in zip(grams, query.entities, strict=True)]
    pairs = zip(*np.triu_indices(len(grams), k=1), strict=True)
    intersections = [(f"{grams[i]} × {grams[j]}", float(query.intersections[i, j])) for i, j in pairs]
    return sorted(entities + intersections, key=lambda pair: -pair[1])[:most]


def _best_margins(region: Region, point: Array) -> Array:
    rooms = [_roomiest(leaf, point) for leaf in region.leaves()]
    tightest = [min((rooms[leaf] for leaf in both), key=np.min) for both in region.alternatives()]
    return max(tightest, key=np.min)


def _roomiest(query: Query, point: Array) -> Array:
    room = query.limits - np.abs(seen_from(query.centres, point[None]))
    best: Array = room[np.argmax(room.min(axis=-1))]
    return best
