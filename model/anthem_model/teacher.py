"""A teacher: any sentence-embedding model in a local folder, and what it says of a shop's titles."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from anthem_core.console import progress
from anthem_core.errors import DataError
from anthem_core.text import words
from anthem_model.lexical import Lexical
from anthem_model.pseudo import pseudo_query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from anthem_model.shop import Shop

Vectors: TypeAlias = npt.NDArray[np.float16]

BATCH = 64
PSEUDO = 20_000  # pseudo-queries a shop at most
NEAREST = 40  # products a lesson draws from: so many of the teacher's nearest, and so many of the lexical engine's


@dataclass(frozen=True)
class Taught:
    """What a teacher says of one shop: unit vectors of its titles `(N, E)` and of queries `(M, E)`, and their `texts`.

    The first `pseudo` of the queries are words of titles; `near` names the rows that a lesson is worth giving on.
    """

    texts: list[str]
    pseudo: int
    titles: Vectors
    queries: Vectors
    near: list[list[int]]

    def cosines(self, query: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Cosines of a query and some titles, `(C,)`."""
        found: npt.NDArray[np.float32] = self.titles[rows].astype(np.float32) @ self.queries[query].astype(np.float32)
        return found


class Teacher:
    """A sentence-embedding model in a local folder; its vectors are kept in a folder, for a training that resumes.

    Raises DataError when the folder holds no such model.
    """

    def __init__(self, folder: Path, keep: Path, threads: int = 1) -> None:
        self._keep = keep
        self._name = str(folder.resolve())
        self._model = _load(folder, threads)

    def vectors(self, texts: Sequence[str], what: str) -> Vectors:
        """Unit vectors of texts, `(N, E)` float16; computed once."""
        digest = hashlib.sha256("\n".join([self._name, *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        kept = self._keep / f"teacher-{digest}.npy"
        with suppress(OSError, ValueError, EOFError):  # torn
            found: Vectors = np.load(kept)
            return found
        computed = self._computed(texts, what)
        self._keep.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".part.npy")
        np.save(beside, computed)
        beside.replace(kept)
        return computed

    def _computed(self, texts: Sequence[str], what: str) -> Vectors:
        """Vectors in batches of like length."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        parts = []
        with progress(f"teacher reads {what}", len(texts)) as advance:
            for start in range(0, len(order), BATCH):
                batch = [texts[row] for row in order[start : start + BATCH]]
                parts.append(self._model.encode(batch, normalize_embeddings=True, show_progress_bar=False))
                advance(len(batch))
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float16)
        vectors[order] = np.concatenate(parts)
        return vectors


def _load(folder: Path, threads: int) -> Any:  # noqa: ANN401 (an optional library)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no sentence-embedding model: no config.json. Name the folder of one.")
    import torch
    from sentence_transformers import SentenceTransformer

    try:
        model = SentenceTransformer(str(folder))
    except Exception as error:  # the libraries beneath raise classes that share no base
        raise DataError(
            f"{folder} cannot be read as a sentence-embedding model ({error}); name a folder that "
            "sentence-transformers can load."
        ) from error
    torch.set_num_threads(threads)
    return model


def teach(shop: Shop, teacher: Teacher, random: Random, count: int = PSEUDO) -> Taught:
    """Let a teacher read a shop's titles, its judged queries, and pseudo-queries made of its titles."""
    pseudo = _pseudo_queries(shop, random, min(count, 4 * len(shop.titles)))
    texts = pseudo + [query.text for query in shop.judged]
    titles = teacher.vectors(shop.titles, f"titles of {shop.name}")
    queries = teacher.vectors(texts, f"queries of {shop.name}")
    return Taught(texts, len(pseudo), titles, queries, _near(shop, texts, titles, queries))


def _pseudo_queries(shop: Shop, random: Random, count: int) -> list[str]:
    titles = [found for found in map(words, shop.titles) if found]
    return [" ".join(pseudo_query(random.choice(titles), random)) for _ in range(count if titles else 0)]


def _near(shop: Shop, texts: Sequence[str], titles: Vectors, queries: Vectors, block: int = 256) -> list[list[int]]:
    """Rows near each query: the teacher's nearest and the lexical engine's first."""
    engine, wide = Lexical(shop.titles), titles.astype(np.float32).T
    most = min(NEAREST, len(shop.titles))
    near: list[list[int]] = []
    with progress(f"teacher ranks {shop.name}", len(texts)) as advance:
        for start in range(0, len(texts), block):
            cosines = queries[start : start + block].astype(np.float32) @ wide
            nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
            for rows, text in zip(nearest, texts[start : start + block], strict=True):
                near.append(sorted({*rows.tolist(), *engine.best(text, most)}))
            advance(len(cosines))
    return near
