"""Validation of a ranker: nDCG@10 over the judged products and over the lexical window of each validation query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

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
PoolPart: TypeAlias = Literal["judged", "window"]
POOL_PARTS: tuple[PoolPart, ...] = ("judged", "window")


@dataclass(frozen=True)
class CandidatePool:
    """Candidates of one validation query: its judged products and the lexical window, `(N,)` each.

    `rows` of the shop's titles, BM25 scores, gains (0 without a judgment), and flags of the judged candidates and of
    those in the window.
    """

    text: str
    rows: list[int]
    lexical: Tensor
    gains: Tensor
    judged: Tensor
    window: Tensor


def build_pools(shop: TrainingShop, max_queries: int | None = None) -> list[CandidatePool]:
    """Candidate pools of a shop's judged queries, or of the first `max_queries` of them."""
    index = Bm25Index(shop.titles)
    return [_build_pool(index, query) for query in shop.judged_queries[:max_queries]]


def _build_pool(index: Bm25Index, query: JudgedQuery) -> CandidatePool:
    scores = index.scores(query.text)
    top_rows = index.top_rows(query.text, LEXICAL_WINDOW_SIZE)
    rows = sorted({*top_rows, *query.rows})
    gains, window = dict(zip(query.rows, query.gains, strict=True)), set(top_rows)
    return CandidatePool(
        query.text,
        rows,
        torch.from_numpy(scores[rows]),
        torch.tensor([gains.get(row, 0.0) for row in rows]),
        torch.tensor([row in gains for row in rows]),
        torch.tensor([row in window for row in rows]),
    )


def validate_ranker(ranker: TrainableRanker, shop: TrainingShop, pools: Sequence[CandidatePool]) -> float:
    """Mean of a ranker's nDCG@10 over the judged products and its nDCG@10 over the lexical window."""
    scores = [ranker.score_titles(pool.text, [shop.titles[row] for row in pool.rows]) for pool in pools]
    return sum(pool_ndcg(pools, scores, part) for part in POOL_PARTS) / len(POOL_PARTS)


class PooledGains(Protocol):
    """Gains of some candidates, with flags of the judged ones and of those in the window; `(N,)` each."""

    @property
    def gains(self) -> Tensor: ...  # noqa: D102
    @property
    def judged(self) -> Tensor: ...  # noqa: D102
    @property
    def window(self) -> Tensor: ...  # noqa: D102


def pool_ndcg(pools: Sequence[PooledGains], scores: Sequence[Tensor], part: PoolPart) -> float:
    """Mean nDCG@10 of scores over one part of the pools; relevant products outside the part count as missed."""
    masked = [
        score.masked_fill(~(pool.judged if part == "judged" else pool.window), -torch.inf)
        for pool, score in zip(pools, scores, strict=True)
    ]
    return mean_ndcg([pool.gains for pool in pools], masked)


def mean_ndcg(gains: Sequence[Tensor], scores: Sequence[Tensor]) -> float:
    """Mean nDCG@10 with linear gain, `Σ gain_i / log2(i + 1)` divided by its maximum; 0 without queries.

    A product with score −∞ is not ranked: it takes no rank, and its gain counts in the maximum only.
    """
    if not gains:
        return 0.0
    gain, score = (
        pad_sequence(list(rows), batch_first=True, padding_value=fill)
        for rows, fill in ((gains, 0.0), (scores, -torch.inf))
    )
    ranked_gain = gain * (score > -torch.inf)
    order = score.argsort(dim=1, descending=True, stable=True)[:, :NDCG_CUTOFF]
    discount = 1 / torch.log2(torch.arange(order.shape[1]) + 2)
    ideal_gain = gain.sort(dim=1, descending=True).values[:, :NDCG_CUTOFF]
    ideal = (ideal_gain * discount).sum(1)
    achieved = (ranked_gain.gather(1, order) * discount).sum(1)
    return float((achieved / ideal.clamp_min(1e-9)).mean())
