"""A teacher: a sentence-embedding model in a local folder, and the vectors it gives a shop's texts."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from anthem_core.console import progress
from anthem_core.errors import DataError
from anthem_core.files import atomic_write
from anthem_model.data.pseudo_queries import MAX_PSEUDO_QUERIES, initialisation_texts
from anthem_model.torch_settings import torch_seed, torch_threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from anthem_model.data.training_shop import TrainingShop

TeacherVectors: TypeAlias = npt.NDArray[np.float16]

TEACHER_BATCH_SIZE = 64
TOKENIZER_FILES = ("tokenizer*.json", "vocab*", "*.model")


class Teacher:
    """A sentence-embedding model in `folder`; its vectors are cached in another folder, so that training can resume.

    Raises DataError if the folder contains no such model.
    """

    def __init__(self, folder: Path, cache: Path, threads: int = 1) -> None:
        self._cache = cache
        self._name = str(folder.resolve())
        self._threads = threads
        self._model = _load_sentence_transformer(folder)

    def vectors(self, texts: Sequence[str], description: str) -> TeacherVectors:
        """Unit vectors of texts, `(N, E)` float16, computed or from the cache; the progress bar shows `description`.

        Raises:
            DataError: The vectors are not finite or all the same, or cannot be written to the cache.
        """
        digest = hashlib.sha256("\n".join([self._name, *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        path = self._cache / f"teacher-{digest}.npy"
        with suppress(OSError, ValueError, EOFError):  # missing or damaged: computed again
            cached: TeacherVectors = np.load(path)
            return cached
        computed = self._encode(texts, description)
        if not np.isfinite(computed).all() or (len(set(texts)) > 1 and (computed == computed[0]).all()):
            raise DataError(
                f"The vectors of {self._name} are not finite or the same for all texts. Expected a trained "
                "sentence-embedding model. Check that the model was copied completely."
            )
        part = path.with_suffix(".part.npy")
        with atomic_write(path, part):
            self._cache.mkdir(parents=True, exist_ok=True)
            np.save(part, computed)
        return computed

    def _encode(self, texts: Sequence[str], description: str) -> TeacherVectors:
        """Vectors of texts, encoded in batches of similar length."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        batches = []
        with torch_threads(self._threads), progress(f"teacher encodes {description}", len(texts)) as advance:
            for start in range(0, len(order), TEACHER_BATCH_SIZE):
                batch = [texts[row] for row in order[start : start + TEACHER_BATCH_SIZE]]
                batches.append(self._model.encode(batch, normalize_embeddings=True, show_progress_bar=False))
                advance(len(batch))
        vectors = np.empty((len(texts), batches[0].shape[1]), np.float16)
        vectors[order] = np.concatenate(batches)
        return vectors


def _load_sentence_transformer(folder: Path) -> Any:  # noqa: ANN401 (an optional library)
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder} contains no config.json. Expected the folder of a sentence-embedding model. Check the path."
        )
    from sentence_transformers import SentenceTransformer

    try:
        with torch_seed(0):  # weights that an incomplete model lacks are random
            model = SentenceTransformer(str(folder), local_files_only=True)
    except Exception as error:  # sentence-transformers raises classes without a common base
        raise DataError(
            f"{folder} cannot be read as a sentence-embedding model ({error}). Name a folder that "
            "sentence-transformers can load."
        ) from error
    if not any(any((folder / part).glob(name)) for name in TOKENIZER_FILES for part in (".", "0_Transformer")):
        raise DataError(
            f"{folder} contains no tokenizer. Expected one of {', '.join(TOKENIZER_FILES)}. Copy the whole model."
        )
    return model


def embed_shop(
    shop: TrainingShop, teacher: Teacher, random: Random, count: int = MAX_PSEUDO_QUERIES
) -> tuple[list[str], TeacherVectors]:
    """Titles, up to `count` pseudo-queries and judged queries of a shop, and their teacher vectors `(N, E)`."""
    texts = initialisation_texts(shop.titles, [query.text for query in shop.judged_queries], random, count)
    return texts, teacher.vectors(texts, f"titles and queries of {shop.name}")
