"""How good a ranker is on the validation part: order of the judged products and of the lexical window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from anthem_model.lexical import Lexical
from anthem_model.shop import WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.ranker import Ranker
    from anthem_model.shop import Judged, Shop

CUT = 10


@dataclass(frozen=True)
class Pool:
    """Candidates of one validation query: judged products and the lexical window, `(N,)` each.

    `rows` in the shop's titles, lexical scores, gains (0 where nobody judged), which are judged, which in the window.
    """

    text: str
    rows: list[int]
    lexical: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


def pools(shop: Shop, most: int | None = None) -> list[Pool]:
    """Candidates of a shop's judged queries, of the first `most` where that is given."""
    engine = Lexical(shop.titles)
    return [_pool(engine, query) for query in shop.judged[:most]]


def _pool(engine: Lexical, query: Judged) -> Pool:
    lexical = engine.scores(query.text)
    first = engine.best(query.text, WINDOW)
    rows = sorted({*first, *query.rows})
    known, shown = dict(zip(query.rows, query.gains, strict=True)), set(first)
    return Pool(
        query.text,
        rows,
        torch.from_numpy(lexical[rows]),
        torch.tensor([known.get(row, 0.0) for row in rows]),
        torch.tensor([row in known for row in rows]),
        torch.tensor([row in shown for row in rows]),
    )


def standing(ranker: Ranker, shop: Shop, asked: Sequence[Pool]) -> float:
    """Mean nDCG@10 of a ranker's order, of the judged products and of the window alike."""
    scores = [ranker.rank(one.text, [shop.titles[row] for row in one.rows]) for one in asked]
    return sum(shown_ndcg(asked, scores, part) for part in ("judged", "window")) / 2


class Shown(Protocol):
    """Gains of some candidates, and which of them are judged and which in the window; `(N,)` each."""

    @property
    def gains(self) -> Tensor: ...  # noqa: D102
    @property
    def judged(self) -> Tensor: ...  # noqa: D102
    @property
    def window(self) -> Tensor: ...  # noqa: D102


def shown_ndcg(asked: Sequence[Shown], scores: Sequence[Tensor], part: str) -> float:
    """Mean nDCG@10 of scores over the candidates `judged`, or over the `window`; the others are not shown."""
    shown = [score.masked_fill(~getattr(one, part), -torch.inf) for one, score in zip(asked, scores, strict=True)]
    return ndcg([one.gains for one in asked], shown)


def ndcg(gains: Sequence[Tensor], scores: Sequence[Tensor]) -> float:
    """Mean nDCG@10 with linear gain, `Σ gain_i / log2(i + 1)` over its best; a list of `(N,)` each; 0 for no query.

    A product of score −∞ is not shown at all: it takes no place, and what is relevant of it is missed.
    """
    if not gains:
        return 0.0
    gain, score = (
        pad_sequence(list(rows), batch_first=True, padding_value=fill)
        for rows, fill in ((gains, 0.0), (scores, -torch.inf))
    )
    shown = gain * (score > -torch.inf)
    order = score.argsort(dim=1, descending=True, stable=True)[:, :CUT]
    discount = 1 / torch.log2(torch.arange(order.shape[1]) + 2)
    ideal = gain.sort(dim=1, descending=True).values[:, :CUT]
    best = (ideal * discount).sum(1)
    found = (shown.gather(1, order) * discount).sum(1)
    return float((found / best.clamp_min(1e-9)).mean())
