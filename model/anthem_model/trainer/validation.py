"""How good a ranker is on the validation part: order of the judged products and of the lexical window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from anthem_model.data.bm25 import Bm25Index
from anthem_model.data.training_shop import LEXICAL_WINDOW_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.data.training_shop import JudgedQuery, TrainingShop
    from anthem_model.ranker import TrainableRanker

NDCG_CUTOFF = 10


@dataclass(frozen=True)
class CandidatePool:
    """Candidates of one validation query: judged products and the lexical window, `(N,)` each.

    `rows` in the shop's titles, lexical scores, gains (0 where nobody judged), which are judged, which in the window.
    """

    text: str
    rows: list[int]
    lexical: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


def build_pools(shop: TrainingShop, most: int | None = None) -> list[CandidatePool]:
    """Candidates of a shop's judged queries, of the first `most` where that is given."""
    engine = Bm25Index(shop.titles)
    return [_build_pool(engine, query) for query in shop.judged[:most]]


def _build_pool(engine: Bm25Index, query: JudgedQuery) -> CandidatePool:
    lexical = engine.scores(query.text)
    first = engine.best(query.text, LEXICAL_WINDOW_SIZE)
    rows = sorted({*first, *query.rows})
    known, shown = dict(zip(query.rows, query.gains, strict=True)), set(first)
    return CandidatePool(
        query.text,
        rows,
        torch.from_numpy(lexical[rows]),
        torch.tensor([known.get(row, 0.0) for row in rows]),
        torch.tensor([row in known for row in rows]),
        torch.tensor([row in shown for row in rows]),
    )


def validate_ranker(ranker: TrainableRanker, shop: TrainingShop, asked: Sequence[CandidatePool]) -> float:
    """Mean nDCG@10 of a ranker's order, of the judged products and of the window alike."""
    scores = [ranker.rank(one.text, [shop.titles[row] for row in one.rows]) for one in asked]
    return sum(pool_ndcg(asked, scores, part) for part in ("judged", "window")) / 2


class PooledGains(Protocol):
    """Gains of some candidates, and which of them are judged and which in the window; `(N,)` each."""

    @property
    def gains(self) -> Tensor: ...  # noqa: D102
    @property
    def judged(self) -> Tensor: ...  # noqa: D102
    @property
    def window(self) -> Tensor: ...  # noqa: D102


def pool_ndcg(asked: Sequence[PooledGains], scores: Sequence[Tensor], part: str) -> float:
    """Mean nDCG@10 of scores over the candidates `judged`, or over the `window`; the others are not shown."""
    shown = [score.masked_fill(~getattr(one, part), -torch.inf) for one, score in zip(asked, scores, strict=True)]
    return mean_ndcg([one.gains for one in asked], shown)


def mean_ndcg(gains: Sequence[Tensor], scores: Sequence[Tensor]) -> float:
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
    order = score.argsort(dim=1, descending=True, stable=True)[:, :NDCG_CUTOFF]
    discount = 1 / torch.log2(torch.arange(order.shape[1]) + 2)
    ideal = gain.sort(dim=1, descending=True).values[:, :NDCG_CUTOFF]
    best = (ideal * discount).sum(1)
    found = (shown.gather(1, order) * discount).sum(1)
    return float((found / best.clamp_min(1e-9)).mean())
