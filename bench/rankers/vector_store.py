"""Vectors of texts in a file, so that a slow model reads no text twice, even if a measurement is interrupted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.console import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

BATCH_SIZE = 64  # texts that are encoded, and written, at a time
KEY_BYTES = 16


class VectorStore:
    """A file with a record for each text: a hash, and the vector as float16.

    A batch is appended in one piece, so that two processes may share a store.
    """

    def __init__(self, folder: Path, name: str, dimension: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.vectors"
        self._record = np.dtype([("key", f"V{KEY_BYTES}"), ("vector", "<f2", (dimension,))])
        self._read()

    def vectors(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """Vectors `(N, E)` of texts; those that the store lacks are encoded, in batches of similar length."""
        missing = sorted({text for text in texts if _key(text) not in self._rows}, key=lambda text: (len(text), text))
        with progress("encoding", len(missing)) as advance:
            for start in range(0, len(missing), BATCH_SIZE):
                batch = missing[start : start + BATCH_SIZE]
                self._append(batch, encode(batch))
                advance(len(batch))
        if missing:
            self._read()
        return self._records["vector"][[self._rows[_key(text)] for text in texts]].astype(np.float32)

    def _read(self) -> None:
        """Read the file; an incomplete record at its end, left by an interruption, is cut off."""
        self._path.touch()
        with self._path.open("r+b") as file:
            file.truncate(self._path.stat().st_size // self._record.itemsize * self._record.itemsize)
        self._records = np.fromfile(self._path, self._record)
        self._rows = {key.tobytes(): row for row, key in enumerate(self._records["key"])}

    def _append(self, texts: Sequence[str], vectors: Vectors) -> None:
        records = np.empty(len(texts), self._record)
        records["key"] = [_key(text) for text in texts]
        records["vector"] = vectors
        with self._path.open("ab", buffering=0) as file:
            file.write(records.tobytes())


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()
