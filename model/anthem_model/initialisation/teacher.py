"""Teachers: sentence-embedding models in local folders, and their vectors of texts."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from anthem_core.console import progress, stderr
from anthem_core.errors import DataError
from anthem_core.files import atomic_write
from anthem_model.data.pseudo_queries import initialisation_texts, misspell_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anthem_model.data.training_shop import TrainingShop

TeacherVectors: TypeAlias = npt.NDArray[np.float16]

TEACHER_BATCH_SIZE = 16  # larger batches are slower: they have more padding, and fit a processor's caches less well
MAX_TAUGHT_PSEUDO_QUERIES = 8000  # per catalogue
MIN_VECTOR_NORM = 1e-6  # a shorter vector counts as zero


class SentenceEncoder(Protocol):
    """A sentence-embedding model; `identity` names everything that its vectors depend on, but no path."""

    @property
    def identity(self) -> str:
        """Hash of its files, and its settings."""

    def count_tokens(self, text: str) -> int:
        """Number of tokens that the model reads of a text, or another number that grows with its length."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors `(N, E)` of texts."""


class Teacher:
    """The sentence-embedding model in `folder`; its vectors are cached in another folder, so that training can resume.

    Raises DataError if the folder contains no such model, and ExtraError if the extra `train` is not installed.
    """

    def __init__(self, folder: Path, cache: Path, threads: int = 1) -> None:
        self._cache = cache
        self._folder = folder.resolve()
        self._encoder = load_sentence_encoder(folder, threads)
        stderr.print(f"teacher {self._folder.name}: {self._encoder}")

    @property
    def identity(self) -> str:
        """Everything that the vectors depend on, the same for a copy of the folder."""
        return self._encoder.identity

    def vectors(self, texts: Sequence[str], description: str) -> TeacherVectors:
        """Unit vectors of texts, `(N, E)` float16, computed or from the cache; the progress bar shows `description`.

        A text without tokens may have the vector zero.

        Raises:
            DataError: The vectors are not finite or all the same, or cannot be written to the cache.
        """
        digest = hashlib.sha256("\n".join([self.identity, *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        path = self._cache / f"teacher-{digest}.npy"
        with suppress(OSError, ValueError, EOFError):  # missing or damaged: computed again
            cached: TeacherVectors = np.load(path)
            return cached
        computed = self._encode(texts, description)
        if not np.isfinite(computed).all() or (len(set(texts)) > 1 and (computed == computed[0]).all()):
            raise DataError(
                f"The vectors of {self._folder} are not finite or the same for all texts. Expected a trained "
                "sentence-embedding model. Check that the model was copied completely."
            )
        with atomic_write(path, make_folder=True) as file:
            np.save(file, computed)
        return computed

    def _encode(self, texts: Sequence[str], description: str) -> TeacherVectors:
        """Vectors of texts, each different one encoded once, in batches of similar length."""
        different = sorted(set(texts), key=lambda text: (self._encoder.count_tokens(text), text))
        rows = {text: row for row, text in enumerate(different)}
        batches = []
        with progress(f"{self._folder.name} reads {description}", len(different)) as advance:
            for start in range(0, len(different), TEACHER_BATCH_SIZE):
                batch = different[start : start + TEACHER_BATCH_SIZE]
                batches.append(self._encoder.encode(batch).astype(np.float16))
                advance(len(batch))
        vectors: TeacherVectors = np.concatenate(batches)[[rows[text] for text in texts]]
        return vectors


class TeacherEnsemble:
    """Several teachers, whose vectors are put side by side: `[u₁, u₂, …] / ‖[u₁, u₂, …]‖`, `(N, E₁ + E₂ + …)`."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self._teachers = teachers

    @property
    def identity(self) -> str:
        """Everything that the vectors depend on, the same for a copy of the folder."""
        return "\n".join(teacher.identity for teacher in self._teachers)

    def vectors(self, texts: Sequence[str], description: str) -> TeacherVectors:
        """Unit vectors of texts, float16, computed or from the cache; the progress bars show `description`.

        Raises:
            DataError: As `Teacher.vectors`.
        """
        parts = [teacher.vectors(texts, description).astype(np.float32) for teacher in self._teachers]
        vectors = np.concatenate(parts, axis=1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: TeacherVectors = (vectors / np.maximum(norms, MIN_VECTOR_NORM)).astype(np.float16)
        return unit


AnyTeacher: TypeAlias = Teacher | TeacherEnsemble


def load_sentence_encoder(folder: Path, threads: int = 1) -> SentenceEncoder:
    """The model of a folder: ONNX if it has a file `*.onnx`, otherwise sentence-transformers.

    Raises:
        DataError: The folder contains no model that can be read.
        ExtraError: The extra `train` is not installed.
    """
    if any(folder.glob("*.onnx")):
        from anthem_model.initialisation.onnx_encoder import OnnxSentenceEncoder

        return OnnxSentenceEncoder(folder, threads)
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder} contains neither *.onnx nor config.json. Expected the folder of a sentence-embedding model: "
            "model.onnx and tokenizer.json, or what sentence-transformers loads. Check the path."
        )
    from anthem_model.initialisation.sentence_transformer import SentenceTransformerEncoder

    return SentenceTransformerEncoder(folder, threads)


def load_teachers(folders: Sequence[Path], cache: Path, threads: int = 1) -> AnyTeacher | None:
    """The teachers of some folders, or None if there are none.

    Raises:
        DataError: A folder contains no model that can be read.
        ExtraError: The extra `train` is not installed.
    """
    teachers = [Teacher(folder, cache, threads) for folder in folders]
    return TeacherEnsemble(teachers) if len(teachers) > 1 else next(iter(teachers), None)


def embed_texts(
    shops: Sequence[TrainingShop], teacher: AnyTeacher, seed: int, general_texts: Sequence[str] = ()
) -> tuple[list[str], TeacherVectors]:
    """Titles, pseudo-queries and judged queries of shops, then general texts, and their teacher vectors `(N, E)`.

    Short texts follow once more with typing errors, which have the vectors of the correct texts.
    """
    texts = [text for shop in shops for text in _shop_texts(shop, Random(seed))] + list(general_texts)
    vectors = teacher.vectors(texts, "titles, queries and texts")
    random = Random(seed)
    misspelled = {row: typed for row, text in enumerate(texts) if (typed := misspell_text(text, random)) is not None}
    return [*texts, *misspelled.values()], np.concatenate([vectors, vectors[list(misspelled)]])


def _shop_texts(shop: TrainingShop, random: Random) -> list[str]:
    queries = [query.text for query in shop.judged_queries]
    return initialisation_texts(shop.titles, queries, random, MAX_TAUGHT_PSEUDO_QUERIES)
