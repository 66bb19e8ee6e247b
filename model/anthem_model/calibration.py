"""What is chosen on the validation part once the model is trained: slack, median distance, fusion weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from anthem_core.fusion import Fusion
from anthem_model.lexical import Lexical
from anthem_model.validation import encode_products, ndcg, signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from anthem_core.text import Vocabulary
    from anthem_model.network import Anthem
    from anthem_model.shop import Shop

WINDOW = 100
RATIOS = (0.0, *(round(0.02 * 1.5**step, 4) for step in range(16)))  # of containment to lexical weight
PARTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the median lexical score, as half-saturation
HALF = 10.0  # half-saturation of a lexical score where nothing matches
CONTAINED = 0.93  # share of the relevant validation products that the default slack contains
RELEVANT = 0.5  # gain from which a product counts as relevant
SPREAD = 1.5  # standard deviation of the fused logit: wide enough to order, narrow enough for float32 near 1


@dataclass(frozen=True)
class Candidates:
    """A validation query's window and judged products: signals, gains, which are judged, which in the window."""

    lexical: Tensor
    distance: Tensor
    excess: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


@dataclass(frozen=True)
class Calibration:
    """Slack of the containment, fusion weights, and by shop what both gave on the validation queries."""

    slack: float
    fusion: Fusion
    quality: dict[str, dict[str, float]] = field(default_factory=dict)


def calibrate(model: Anthem, vocabulary: Vocabulary, shops: Sequence[Shop]) -> Calibration:
    """Choose slack and fusion on the shops' validation queries: what is enough in every shop, and harms none.

    Without judgments (a catalogue alone) the slack is 0 and both signals weigh the same.
    """
    groups = {shop.name: list(_candidates(model, vocabulary, shop)) for shop in shops if shop.judged}
    if not groups:
        return Calibration(0.0, Fusion(0.0, 4.0, 4.0, HALF, 1.0))
    slack = max(least_slack(group) for group in groups.values())
    fusion = fit(list(groups.values()))
    return Calibration(slack, fusion, {name: quality(group, slack, fusion) for name, group in groups.items()})


def least_slack(group: Sequence[Candidates]) -> float:
    """Smallest slack that contains the wanted share of a shop's relevant products; 0 where none is relevant."""
    beyond = _excess(group, relevant=True)
    return float(torch.quantile(beyond, CONTAINED)) if len(beyond) else 0.0


def fit(groups: Sequence[Sequence[Candidates]]) -> Fusion:
    """Half-saturation and weights with the largest gain over lexical in the shop that gains least, then scaled.

    Weight 0 for containment gains nothing anywhere, so on these queries no shop is worse off than before. Shops are not
    averaged: a catalogue made by a program gains much, and would pay for losses in a real one.
    """
    every = [one for group in groups for one in group]
    matching = torch.cat([one.lexical[one.lexical > 0] for one in every])
    middle = float(matching.median()) if len(matching) else HALF
    before = [_standing(group, [one.lexical for one in group]) for group in groups]
    tried = [(middle * part, ratio) for ratio in RATIOS for part in PARTS]
    gains = [_least_gain(groups, before, half, ratio) for half, ratio in tried]
    return _scaled(every, *tried[max(range(len(tried)), key=lambda place: gains[place])])


def _least_gain(groups: Sequence[Sequence[Candidates]], before: Sequence[float], half: float, ratio: float) -> float:
    after = [_standing(group, [_logit(one, half, 1.0, ratio) for one in group]) for group in groups]
    return min(then - first for then, first in zip(after, before, strict=True))


def _standing(group: Sequence[Candidates], scores: Sequence[Tensor]) -> float:
    """Sum of nDCG@10 over the judged products and over the lexical window."""
    return sum(_ndcg_of(group, scores, [getattr(one, part) for one in group]) for part in ("judged", "window"))


def _scaled(every: Sequence[Candidates], half: float, ratio: float) -> Fusion:
    """Weights of the same order, whose logits spread as wide as wanted around 0."""
    logits = torch.cat([_logit(one, half, 1.0, ratio) for one in every])
    scale = SPREAD / float(logits.std().clamp_min(1e-6))
    median = float(torch.cat([one.distance for one in every]).median())
    return Fusion(-scale * float(logits.median()), scale, scale * ratio, half, median)


def _logit(one: Candidates, half: float, lexical: float, containment: float) -> Tensor:
    return lexical * one.lexical / (one.lexical + half) - containment * one.distance


def _candidates(model: Anthem, vocabulary: Vocabulary, shop: Shop) -> Iterator[Candidates]:
    engine = Lexical(shop.titles)
    points = encode_products(model, vocabulary, shop.titles)
    for query in shop.judged:
        lexical = torch.tensor(engine.scores(query.text))
        best = lexical.topk(min(WINDOW, len(lexical)))
        found_first = set(best.indices[best.values > 0].tolist())
        rows = sorted(found_first | set(query.rows))
        known = dict(zip(query.rows, query.gains, strict=True))
        found = signals(model, vocabulary, query.text, points[rows])
        gains = torch.tensor([known.get(row, 0.0) for row in rows])
        judged, window = (torch.tensor([row in group for row in rows]) for group in (known, found_first))
        yield Candidates(lexical[rows], found.distance, found.excess, gains, judged, window)


def quality(group: Sequence[Candidates], slack: float, fusion: Fusion) -> dict[str, float]:
    """What a calibration gives on the queries it was chosen on: nDCG@10 of judged pool and window, shares contained."""
    fused = [_logit(one, fusion.half_saturation, fusion.lexical, fusion.containment) for one in group]
    judged, window = [one.judged for one in group], [one.window for one in group]
    found = {
        "pool_lexical": _ndcg_of(group, [one.lexical for one in group], judged),
        "pool_containment": _ndcg_of(group, [-one.distance for one in group], judged),
        "pool_fused": _ndcg_of(group, fused, judged),
        "window_lexical": _ndcg_of(group, [one.lexical for one in group], window),
        "window_fused": _ndcg_of(group, fused, window),
        "relevant_contained": _share(_excess(group, relevant=True) <= slack),
        "irrelevant_contained": _share(_excess(group, relevant=False) <= slack),
    }
    return {name: round(value, 4) for name, value in found.items()}


def _excess(group: Sequence[Candidates], *, relevant: bool) -> Tensor:
    """Excess of all judged products of one kind."""
    return torch.cat([one.excess[one.judged & ((one.gains >= RELEVANT) == relevant)] for one in group])


def _share(flags: Tensor) -> float:
    return float(flags.float().mean()) if len(flags) else 0.0


def _ndcg_of(group: Sequence[Candidates], scores: Sequence[Tensor], chosen: Sequence[Tensor]) -> float:
    """NDCG@10 of scores over the chosen candidates; the others are not shown."""
    shown = [score.masked_fill(~some, -torch.inf) for score, some in zip(scores, chosen, strict=True)]
    return ndcg([one.gains for one in group], shown)
