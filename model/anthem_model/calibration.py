"""What is chosen on the validation part once the model is trained: slack, median distance, fusion weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from anthem_core.fusion import Fusion
from anthem_model.lexical import Lexical
from anthem_model.losses import listwise
from anthem_model.validation import encode_products, signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from anthem_core.text import Vocabulary
    from anthem_model.network import Anthem
    from anthem_model.shop import Shop

WINDOW = 100
CONTAINED = 0.93  # share of the relevant validation products that the default slack contains
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
    """Slack of the containment, and fusion weights with the median distance of the candidates."""

    slack: float
    fusion: Fusion


def calibrate(model: Anthem, vocabulary: Vocabulary, shops: Sequence[Shop]) -> Calibration:
    """Choose slack and fusion on the shops' validation queries, every query weighing the same within its shop.

    Without judgments (a catalogue alone) the slack is 0 and both signals weigh the same.
    """
    groups = [list(_candidates(model, vocabulary, shop)) for shop in shops if shop.validate]
    if not groups:
        return Calibration(0.0, Fusion(0.0, 4.0, 4.0, 10.0, 1.0))
    every = [one for group in groups for one in group]
    beyond = torch.cat([one.excess[one.judged & (one.gains >= 0.5)] for one in every])
    return Calibration(float(torch.quantile(beyond, CONTAINED)), fit(groups))


def fit(groups: Sequence[Sequence[Candidates]], steps: int = 300) -> Fusion:
    """Weights that minimise the listwise loss over each query's candidates, then scaled: the order stays as it was."""
    every = [one for group in groups for one in group]
    median = float(torch.cat([one.distance for one in every]).median())
    half = torch.cat([one.lexical[one.lexical > 0] for one in every]).median().log().requires_grad_()
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


def shares(candidates: Sequence[Candidates], slack: float) -> tuple[float, float]:
    """Share of the relevant and of the irrelevant judged products that are contained at a slack."""
    relevant = torch.cat([one.excess[one.judged & (one.gains >= 0.5)] for one in candidates])
    irrelevant = torch.cat([one.excess[one.judged & (one.gains < 0.5)] for one in candidates])
    return float((relevant <= slack).float().mean()), float((irrelevant <= slack).float().mean())
