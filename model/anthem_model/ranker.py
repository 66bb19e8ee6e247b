"""What every model that is trained or compared here can do: score some titles for some queries."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from anthem_model.trainer.losses import listwise_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.data.batches import ListBatch


class TrainableRanker(nn.Module):
    """A model that scores titles for queries, trained by the order of lists; it reads texts its own way."""

    @abstractmethod
    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)` of `titles[candidates[b, c]]` for `queries[b]`; candidates `(B, C)` int64."""

    def loss(self, lists: ListBatch) -> Tensor:
        """Listwise cross-entropy of a batch of lists."""
        logits = self.scores(lists.queries, lists.titles, lists.candidates)
        return listwise_loss(logits, lists.gains, lists.gains >= 0)

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser, RiemannianAdam, which is Adam where a parameter is Euclidean."""
        return [{"params": list(self.parameters()), "lr": rate}]

    def settle(self) -> None:
        """Bring parameters back where they belong after a step; most models have nothing to do."""

    @torch.no_grad()
    def rank(self, query: str, titles: Sequence[str]) -> Tensor:
        """Scores `(N,)` of titles for one query."""
        candidates = torch.arange(len(titles), device=self.device)[None]
        return self.scores([query], titles, candidates)[0].cpu()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
