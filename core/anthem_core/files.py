"""Writing files atomically: a file is replaced as a whole or stays as it was."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def atomic_write(path: Path, temporary: Path) -> Iterator[None]:
    """Move the temporary file that the block writes to `path` at the end, or delete it if anything fails.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        yield
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError when the disk is full
        with suppress(OSError):
            temporary.unlink()
        raise DataError(f"{path} could not be written ({error}). Is the disk full?") from error
