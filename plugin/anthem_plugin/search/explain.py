"""Why a hit stands where it stands: its distance, its tightest margins, and what the query asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.geometry.lorentz import logmap
from anthem_core.geometry.regions import query_distance
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


def explain_hit(hit: Hit, query: Region, scoring: ScoringParams, *, margins: int = 3) -> Explanation | None:
    """Explanation of a hit that brings its vector along, or None for one without a vector of this model.

    Margins are those of the hyperboloid that holds the product best; of a join, of the query that decides.
    """
    point = read_point(hit, scoring)
    if point is None:
        return None
    exact = to_float64(query)
    room = _best_margins(exact, point)
    tightest = [Margin(int(number), float(room[number])) for number in np.argsort(room, kind="stable")[:margins]]
    distance = query_distance(exact, point[None], scoring.gamma)[0]
    return Explanation(float(distance), bool(room.min() >= -scoring.slack), tightest)


def strongest_attention(
    query: EncodedQuery, text: str, vocabulary: Vocabulary, *, most: int = 5
) -> list[tuple[str, float]]:
    """Strongest entities and intersections of a query with their attention; an intersection reads `#re × tv#`."""
    grams = extract_trigrams(text, vocabulary.query_limit)
    entities = [(gram, float(share)) for gram, share in zip(grams, query.entities, strict=True)]
    pairs = zip(*np.triu_indices(len(grams), k=1), strict=True)
    intersections = [(f"{grams[i]} × {grams[j]}", float(query.intersections[i, j])) for i, j in pairs]
    return sorted(entities + intersections, key=lambda pair: -pair[1])[:most]


def _best_margins(region: Region, point: Array) -> Array:
    rooms = [_roomiest(leaf, point) for leaf in region.leaves()]
    tightest = [min((rooms[leaf] for leaf in both), key=np.min) for both in region.alternatives()]
    return max(tightest, key=np.min)


def _roomiest(query: EncodedQuery, point: Array) -> Array:
    room = query.limits - np.abs(logmap(query.centres, point[None]))
    best: Array = room[np.argmax(room.min(axis=-1))]
    return best
