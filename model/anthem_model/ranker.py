"""The interface of every model that the training loop can train: score titles for queries."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from anthem_model.losses import listwise_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.data.batches import ListBatch


class TrainableRanker(nn.Module):
    """A model that scores titles for queries and learns from lists; each subclass tokenises texts its own way."""

    @abstractmethod
    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Scores `(B, C)` of `titles[candidates[b, c]]` for `queries[b]`; candidates `(B, C)` int64."""

    def loss(self, batch: ListBatch) -> Tensor:
        """Listwise cross-entropy of a batch, `()`."""
        logits = self.score_candidates(batch.queries, batch.titles, batch.candidates)
        return listwise_loss(logits, batch.gains, batch.gains >= 0)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser, each with a learning rate derived from `rate`."""
        return [{"params": list(self.parameters()), "lr": rate}]

    def project_parameters(self) -> None:
        """Project parameters back onto their domain after an optimiser step; by default nothing is projected."""

    @torch.no_grad()
    def score_titles(self, query: str, titles: Sequence[str]) -> Tensor:
        """Scores `(N,)` of titles for one query."""
        candidates = torch.arange(len(titles), device=self.device)[None]
        return self.score_candidates([query], titles, candidates)[0].cpu()

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device
