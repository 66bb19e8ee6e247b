"""Why a hit has its score: what each signal contributes, where it lies in the query's region, and the query's parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.fusion import QUERY_WEIGHT, FusionWeights, fuse
from anthem_core.geometry.lorentz import logmap
from anthem_plugin.scoring.params import ATTENTION, CONTAINMENT, to_float64
from anthem_plugin.scoring.window import score_attention
from anthem_plugin.search.response import has_model, hit_distances, read_point, read_trigrams

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import EncodedQuery, Region
    from anthem_plugin.scoring.params import ModelSignal, ScoringParams, Signals
    from anthem_plugin.search.request import IndexProfile
    from anthem_plugin.search.response import Hit


@dataclass(frozen=True, slots=True)
class SignalPart:
    """What one signal of the model adds to a hit's shift: `weight·(value − median)`.

    `value` is None for a hit without the signal, which adds nothing. The weight of the distance is negative.
    """

    value: float | None
    median: float
    weight: float

    @property
    def contribution(self) -> float:
        """What the signal adds to the shift."""
        return 0.0 if self.value is None else self.weight * (self.value - self.median)

    def to_dict(self) -> dict[str, float | None]:
        """Values by name, contribution included."""
        return {**asdict(self), "contribution": self.contribution}


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """The numbers that the score of a hit is computed from; a signal that did not rank is None.

    `score = (lexical + offset)·factor`, `factor = exp(B·tanh(shift/B))`, and the shift is the sum of both parts.
    """

    lexical: float
    offset: float
    attention: SignalPart | None
    distance: SignalPart | None

    @property
    def shift(self) -> float:
        """What the model says about the hit, `m` in `anthem_core.fusion`."""
        return sum(part.contribution for part in (self.attention, self.distance) if part)

    @property
    def score(self) -> float:
        """The score of the hit, at most the largest number of float32."""
        return min((self.lexical + self.offset) * self.factor, float(np.finfo(np.float32).max))

    @property
    def factor(self) -> float:
        """The factor by which the model multiplies the lexical score plus the offset."""
        return float(fuse(np.array(1.0), np.array(self.shift), FusionWeights(lexical_offset=0)))

    def to_dict(self) -> dict[str, Any]:
        """Values by name, including those computed from others."""
        attention, distance = (part and part.to_dict() for part in (self.attention, self.distance))
        result = {"shift": self.shift, "factor": self.factor, "score": self.score}
        return {"lexical": self.lexical, "offset": self.offset, "attention": attention, "distance": distance, **result}


@dataclass(frozen=True, slots=True)
class Margin:
    """How far inside its limit a product lies in one dimension, `l_i − |z_i|`; negative outside."""

    dimension: int
    value: float


@dataclass(frozen=True, slots=True)
class RegionPart:
    """Where a product lies: its distance, how far it is outside limits and slack, the slack, its tightest margins."""

    distance: float
    contained: bool
    outside_by: float
    slack: float
    margins: list[Margin]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a hit lies and what its score is made of; None for what is unknown or did not rank it."""

    region: RegionPart | None
    score: ScoreParts | None


def explain_hits(
    hits: Sequence[Hit],
    lexical: Sequence[float | None],
    region: Region,
    scoring: ScoringParams,
    signals: Signals,
    attention: Array | None,
) -> list[Explanation]:
    """Explanation of each hit whose source contains its values.

    `lexical` has the scores of the plain search; without one, or below the window, a hit has no parts. `signals` are
    those whose fusion weights gave the scores, none if the model did not; `attention` has the attention scores.
    """
    distances = hit_distances(hits, region, scoring)
    explanations = []
    for number, (hit, plain) in enumerate(zip(hits, lexical, strict=True)):
        parts = None
        if signals and plain is not None and not is_below_window(hit["_score"], plain):
            attended = None if attention is None else attention[number]
            parts = score_parts(plain, distances[number], attended, scoring.fusion_for(signals), signals)
        explanations.append(Explanation(explain_region(hit, region, scoring), parts))
    return explanations


def score_parts(
    lexical: float, distance: float, attention: float | None, fusion: FusionWeights, signals: Collection[ModelSignal]
) -> ScoreParts:
    """Parts of a score from the values of its signals, NaN or None where the hit has none."""
    attended = SignalPart(_none_if_nan(attention), fusion.median_attention, fusion.attention)
    contained = SignalPart(_none_if_nan(distance), fusion.median_distance, -fusion.containment)
    return ScoreParts(
        lexical,
        fusion.lexical_offset,
        attended if "attention" in signals else None,
        contained if "containment" in signals else None,
    )


def is_below_window(score: float, lexical: float) -> bool:
    """Whether a score is that of a hit below the window, `QUERY_WEIGHT·lexical`, far below every fused score."""
    return score <= 10 * QUERY_WEIGHT * lexical


def fused_signals(report: Mapping[str, Any], profile: IndexProfile, *, from_texts: bool) -> Signals:
    """Signals whose fusion weights gave the scores of a response, by its report; none if the model gave no scores.

    A signal of the index has its weight even where no hit has a value of it, and so is not reported. `from_texts` says
    whether attention was computed from the texts of the hits.
    """
    if not report["reranked"] or report["mode"] == "filter":
        return frozenset()
    read = ATTENTION if "attention" in report["signals"] else frozenset()
    return (profile.signals & CONTAINMENT) | read if from_texts else profile.signals


def is_attention_from_texts(report: Mapping[str, Any], profile: IndexProfile, window: Sequence[Hit]) -> bool:
    """Whether a search took the attention scores from the texts of its window, because nothing is stored for it."""
    stored = "attention" in profile.signals and any(has_model(hit, profile.scoring) for hit in window)
    return report["mode"] == "client" and not stored


def stored_attention(hits: Sequence[Hit], tables: Sequence[AttentionTable], scoring: ScoringParams) -> Array:
    """Attention score of the stored trigrams of each hit, `(N,)`; NaN for a hit without them."""
    return score_attention(tables, read_trigrams(hits, scoring))


def explain_region(hit: Hit, region: Region, scoring: ScoringParams, *, margins: int = 3) -> RegionPart | None:
    """Where a hit whose source contains its vector lies; None for one without a vector of this model."""
    point = read_point(hit, scoring)
    return None if point is None else explain_point(point, region, scoring, margins=margins)


def explain_point(point: Array, region: Region, scoring: ScoringParams, *, margins: int = 3) -> RegionPart:
    """Where a point `(D+1,)` lies in a region.

    The margins are those of the hyperboloid that contains the product best; for joined queries, of the query that
    decides.
    """
    exact = to_float64(region)
    values = _deciding_margins(exact, point)
    tightest = [Margin(int(number), float(values[number])) for number in np.argsort(values, kind="stable")[:margins]]
    outside_by = max(0.0, -float(values.min()) - scoring.slack)
    distance = float(exact.distance(point[None], scoring.gamma)[0])
    return RegionPart(distance, bool(values.min() >= -scoring.slack), outside_by, scoring.slack, tightest)


def _none_if_nan(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _deciding_margins(region: Region, point: Array) -> Array:
    """Margins in the query that decides whether the region contains the point: `max` over alternatives of `min`."""
    margins = [_best_hyperboloid_margins(query, point) for query in region.queries()]
    tightest = [min((margins[number] for number in alternative), key=np.min) for alternative in region.alternatives()]
    return max(tightest, key=np.min)


def _best_hyperboloid_margins(query: EncodedQuery, point: Array) -> Array:
    margins = query.limits - np.abs(logmap(query.centres, point[None]))
    best: Array = margins[np.argmax(margins.min(axis=-1))]
    return best
