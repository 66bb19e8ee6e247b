"""A sentence-embedding model in a folder that sentence-transformers loads, run by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.errors import DataError, require_extra
from anthem_model.initialisation.teacher_settings import hash_files
from anthem_model.torch_settings import torch_seed, torch_threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

MODEL_SUFFIXES = {".bin", ".json", ".model", ".safetensors", ".txt"}
TOKENIZER_FILES = ("tokenizer*.json", "vocab*", "*.model")


class SentenceTransformerEncoder:
    """A folder of sentence-transformers; pooling and prefix are what its files say.

    Raises DataError if the folder contains no such model, and ExtraError if the extra `train` is not installed.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._threads = threads
        self._model = _load_sentence_transformer(folder)
        self.identity = hash_files(path for path in sorted(folder.rglob("*")) if path.suffix in MODEL_SUFFIXES)

    def __str__(self) -> str:
        return "sentence-transformers"

    def count_tokens(self, text: str) -> int:
        """Number of characters of a text; sentence-transformers sorts texts by it, too."""
        return len(text)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors `(N, E)` of texts."""
        with torch_threads(self._threads):
            vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


def _load_sentence_transformer(folder: Path) -> Any:  # noqa: ANN401 (an optional library)
    require_extra("train", "sentence_transformers")
    from sentence_transformers import SentenceTransformer

    try:
        with torch_seed(0):  # weights that an incomplete model lacks are random
            model = SentenceTransformer(str(folder), local_files_only=True)
    except Exception as error:  # sentence-transformers raises classes without a common base
        raise DataError(
            f"{folder} cannot be read as a sentence-embedding model ({error}). Name a folder that "
            "sentence-transformers can load, or one with model.onnx and tokenizer.json."
        ) from error
    if not any(any((folder / part).glob(name)) for name in TOKENIZER_FILES for part in (".", "0_Transformer")):
        raise DataError(
            f"{folder} contains no tokenizer. Expected one of {', '.join(TOKENIZER_FILES)}. Copy the whole model."
        )
    return model
