"""What is chosen on the validation part once the model is trained: slack, median distance, fusion weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from anthem_core.fusion import Fusion
from anthem_model.lexical import Lexical
from anthem_model.losses import listwise
from anthem_model.validation import encode_products, ndcg, signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from anthem_core.text import Vocabulary
    from anthem_model.network import Anthem
    from anthem_model.shop import Shop

WINDOW = 100
HALF = 10.0  # half-saturation of a lexical score where nothing matches
CONTAINED = 0.93  # share of the relevant validation products that the default slack contains
RELEVANT = 0.5  # gain from which a product counts as relevant
SPREAD = 1.5  # standard deviation of the fused logit: wide enough to order, narrow enough for float32 near 1


@dataclass(frozen=True)
class Candidates:
    """A validation query's lexical window and judged products: signals, gains, which were judged; all `(N,)`."""

    lexical: Tensor
    distance: Tensor
    excess: Tensor
    gains: Tensor
    judged: Tensor


@dataclass(frozen=True)
class Calibration:
    """Slack of the containment, fusion weights, and by shop what both gave on the validation queries."""

    slack: float
    fusion: Fusion
    quality: dict[str, dict[str, float]] = field(default_factory=dict)


def calibrate(model: Anthem, vocabulary: Vocabulary, shops: Sequence[Shop]) -> Calibration:
    """Choose slack and fusion on the shops' validation queries, every query weighing the same within its shop.

    Without judgments (a catalogue alone) the slack is 0 and both signals weigh the same.
    """
    groups = {shop.name: list(_candidates(model, vocabulary, shop)) for shop in shops if shop.validate}
    if not groups:
        return Calibration(0.0, Fusion(0.0, 4.0, 4.0, HALF, 1.0))
    beyond = torch.cat([one.excess[one.judged & (one.gains >= RELEVANT)] for group in groups.values() for one in group])
    slack = float(torch.quantile(beyond, CONTAINED)) if len(beyond) else 0.0
    fusion = fit(list(groups.values()))
    return Calibration(slack, fusion, {name: quality(group, slack, fusion) for name, group in groups.items()})


def fit(groups: Sequence[Sequence[Candidates]], steps: int = 300) -> Fusion:
    """Weights that minimise the listwise loss over each query's candidates, then scaled: the order stays as it was."""
    every = [one for group in groups for one in group]
    median = float(torch.cat([one.distance for one in every]).median())
    matching = torch.cat([one.lexical[one.lexical > 0] for one in every])
    half = (matching.median() if len(matching) else torch.tensor(HALF)).log().requires_grad_()
    weights = torch.tensor([4.0, 4.0], requires_grad=True)
    optimiser = torch.optim.Adam([half, weights], lr=0.05)
    for _ in range(steps):
        value = torch.stack([_group_loss(group, half, weights) for group in groups]).mean()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        logits = torch.cat([_logit(one, half, weights) for one in every])
        scale = SPREAD / float(logits.std().clamp_min(1e-6))
        lexical, containment = (scale * weights.clamp_min(0)).tolist()
        return Fusion(-scale * float(logits.median()), lexical, containment, float(half.exp()), median)


def _group_loss(group: Sequence[Candidates], half: Tensor, weights: Tensor) -> Tensor:
    """Mean over a shop's queries of the loss over the window, and over the judged products alone."""
    losses = []
    for one in group:
        logit = _logit(one, half, weights)[None]
        gains = one.gains[None]
        losses.append(listwise(logit, gains, torch.ones_like(gains, dtype=torch.bool)))
        losses.append(listwise(logit, gains, one.judged[None]))
    return torch.stack(losses).mean()


def _logit(one: Candidates, half: Tensor, weights: Tensor) -> Tensor:
    positive = weights.clamp_min(0)
    return positive[0] * one.lexical / (one.lexical + half.exp()) - positive[1] * one.distance


def _candidates(model: Anthem, vocabulary: Vocabulary, shop: Shop) -> Iterator[Candidates]:
    engine = Lexical(shop.titles)
    points = encode_products(model, vocabulary, shop.titles)
    for query in shop.validate:
        lexical = torch.tensor(engine.scores(query.text))
        window = lexical.topk(min(WINDOW, len(lexical)))
        rows = sorted(set(window.indices[window.values > 0].tolist()) | set(query.rows))
        known = dict(zip(query.rows, query.gains, strict=True))
        found = signals(model, vocabulary, query.text, points[rows])
        gains = torch.tensor([known.get(row, 0.0) for row in rows])
        judged = torch.tensor([row in known for row in rows])
        yield Candidates(lexical[rows], found.distance, found.excess, gains, judged)


def quality(group: Sequence[Candidates], slack: float, fusion: Fusion) -> dict[str, float]:
    """What a calibration gives on its candidates: nDCG@10 of judged pool and window, and the shares contained."""
    weights, half = torch.tensor([fusion.lexical, fusion.containment]), torch.tensor(fusion.half_saturation).log()
    fused = [_logit(one, half, weights) for one in group]
    judged = [one.judged for one in group]
    relevant = torch.cat([one.excess[one.judged & (one.gains >= RELEVANT)] for one in group])
    irrelevant = torch.cat([one.excess[one.judged & (one.gains < RELEVANT)] for one in group])
    found = {
        "pool_lexical": _ndcg_of(group, [one.lexical for one in group], judged),
        "pool_containment": _ndcg_of(group, [-one.distance for one in group], judged),
        "pool_fused": _ndcg_of(group, fused, judged),
        "window_lexical": _ndcg_of(group, [one.lexical for one in group], [one.lexical > 0 for one in group]),
        "window_fused": _ndcg_of(group, fused, [one.lexical > 0 for one in group]),
        "relevant_contained": _share(relevant <= slack),
        "irrelevant_contained": _share(irrelevant <= slack),
    }
    return {name: round(value, 4) for name, value in found.items()}


def _share(flags: Tensor) -> float:
    return float(flags.float().mean()) if len(flags) else 0.0


def _ndcg_of(group: Sequence[Candidates], scores: Sequence[Tensor], chosen: Sequence[Tensor]) -> float:
    """NDCG@10 of scores over the chosen candidates; what is not chosen comes last."""
    last = [score.masked_fill(~some, -torch.inf) for score, some in zip(scores, chosen, strict=True)]
    return ndcg([one.gains for one in group], [score.nan_to_num(neginf=-1e9) for score in last])
