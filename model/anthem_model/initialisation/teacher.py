"""A teacher: any sentence-embedding model in a local folder, and its vectors of a shop's texts."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from anthem_core.console import progress
from anthem_core.errors import DataError
from anthem_core.files import atomic_write
from anthem_model.data.pseudo_queries import MAX_PSEUDO_QUERIES, initialisation_texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from anthem_model.data.training_shop import TrainingShop

TeacherVectors: TypeAlias = npt.NDArray[np.float16]

TEACHER_BATCH_SIZE = 64
TOKENIZER_FILES = ("tokenizer*.json", "vocab*", "*.model")


class Teacher:
    """A sentence-embedding model in a local folder; its vectors are kept in a folder, for a training that resumes.

    Raises DataError when the folder holds no such model.
    """

    def __init__(self, folder: Path, keep: Path, threads: int = 1) -> None:
        self._keep = keep
        self._name = str(folder.resolve())
        self._model = _load_sentence_transformer(folder, threads)

    def vectors(self, texts: Sequence[str], what: str) -> TeacherVectors:
        """Unit vectors of texts, `(N, E)` float16; computed once.

        Raises:
            DataError: The model gives no numbers or the same for all, or they cannot be kept.
        """
        digest = hashlib.sha256("\n".join([self._name, *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        kept = self._keep / f"teacher-{digest}.npy"
        with suppress(OSError, ValueError, EOFError):  # torn
            found: TeacherVectors = np.load(kept)
            return found
        computed = self._computed(texts, what)
        if not np.isfinite(computed).all() or (len(set(texts)) > 1 and (computed == computed[0]).all()):
            raise DataError(f"{self._name} gives no vectors that tell texts apart; is the model there whole?")
        beside = kept.with_suffix(".part.npy")
        with atomic_write(kept, beside):
            self._keep.mkdir(parents=True, exist_ok=True)
            np.save(beside, computed)
        return computed

    def _computed(self, texts: Sequence[str], what: str) -> TeacherVectors:
        """Vectors in batches of like length."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        parts = []
        with progress(f"teacher reads {what}", len(texts)) as advance:
            for start in range(0, len(order), TEACHER_BATCH_SIZE):
                batch = [texts[row] for row in order[start : start + TEACHER_BATCH_SIZE]]
                parts.append(self._model.encode(batch, normalize_embeddings=True, show_progress_bar=False))
                advance(len(batch))
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float16)
        vectors[order] = np.concatenate(parts)
        return vectors


def _load_sentence_transformer(folder: Path, threads: int) -> Any:  # noqa: ANN401 (an optional library)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no sentence-embedding model: no config.json. Name the folder of one.")
    import torch
    from sentence_transformers import SentenceTransformer

    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # what a torn model lacks is drawn by chance
            model = SentenceTransformer(str(folder))
    except Exception as error:  # the libraries beneath raise classes that share no base
        raise DataError(
            f"{folder} cannot be read as a sentence-embedding model ({error}); name a folder that "
            "sentence-transformers can load."
        ) from error
    if not any(
        one for name in TOKENIZER_FILES for place in (".", "0_Transformer") for one in (folder / place).glob(name)
    ):
        raise DataError(
            f"{folder} holds no tokenizer, none of {', '.join(TOKENIZER_FILES)}. Name the folder of a whole model."
        )
    torch.set_num_threads(threads)
    return model


def embed_shop(
    shop: TrainingShop, teacher: Teacher, random: Random, count: int = MAX_PSEUDO_QUERIES
) -> tuple[list[str], TeacherVectors]:
    """Texts of a shop, its titles, pseudo-queries and judged queries, and a teacher's vectors of them, `(N, E)`."""
    texts = initialisation_texts(shop.titles, [query.text for query in shop.judged], random, count)
    return texts, teacher.vectors(texts, f"titles and queries of {shop.name}")
