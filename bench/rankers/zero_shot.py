"""Sentence-embedding models in ONNX: used as they are, by the cosine of two vectors, or as teachers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from anthem_model.initialisation.known_teachers import find_teacher_folder
from anthem_model.initialisation.onnx_encoder import OnnxSentenceEncoder
from anthem_model.initialisation.teacher import Teacher
from anthem_model.ranker import TrainableRanker
from rankers.vector_store import VectorStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from anthem_model.initialisation.teacher import TeacherVectors

# Names in the comparison, and in `anthem train --teacher`.
ZERO_SHOT_MODELS = {"bge_small": "bge-small-en-v1.5", "e5_small": "e5-small-v2"}


class ZeroShotEncoder(TrainableRanker):
    """The model of a folder; the vectors of texts are stored in another one."""

    def __init__(self, folder: Path, store_folder: Path) -> None:
        super().__init__()
        self._encoder = OnnxSentenceEncoder(folder)
        self._graph = folder / "model.onnx"
        self._store = VectorStore(store_folder, folder.name, self._encoder.encode(["?"]).shape[1])

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`cos(query, title)`, `(B, C)`, with vectors from the store."""
        query, title = (
            torch.from_numpy(self._store.vectors(texts, self._encoder.encode)) for texts in (queries, titles)
        )
        return torch.einsum("bd,bcd->bc", query, title[candidates])

    def score_titles(self, query: str, titles: Sequence[str]) -> Tensor:
        """Cosines `(N,)` of titles, all of which are encoded: the time of this call is measured."""
        vectors = torch.from_numpy(self._encoder.encode([query, *titles]))
        return vectors[1:] @ vectors[0]

    @property
    def device(self) -> torch.device:
        """The processor: the parameters are in the graph."""
        return torch.device("cpu")

    def count_parameters(self) -> int:
        """Numbers in the constant tensors of the graph."""
        graph = onnx.load(self._graph).graph
        return sum(int(torch.Size(tensor.dims).numel()) for tensor in graph.initializer)


class StoredTeacher(Teacher):
    """A teacher that shares its stored vectors with the zero-shot model, so that each text is read once."""

    def __init__(self, folder: Path, store_folder: Path) -> None:
        super().__init__(folder, store_folder)
        self._store = VectorStore(store_folder, folder.name, self._encoder.encode(["?"]).shape[1])

    def vectors(self, texts: Sequence[str], description: str) -> TeacherVectors:
        """Unit vectors of texts, `(N, E)` float16, computed or from the store."""
        del description
        return self._store.vectors(texts, self._encoder.encode).astype(np.float16)


def load_stored_teacher(model: str, store_folder: Path) -> StoredTeacher:
    """Load a model of `ZERO_SHOT_MODELS` as a teacher; the first call fetches it."""
    return StoredTeacher(find_teacher_folder(Path(ZERO_SHOT_MODELS[model])), store_folder)


def load_zero_shot(model: str, store_folder: Path) -> ZeroShotEncoder:
    """Load a model of `ZERO_SHOT_MODELS`; the first call fetches it."""
    return ZeroShotEncoder(find_teacher_folder(Path(ZERO_SHOT_MODELS[model])), store_folder)
