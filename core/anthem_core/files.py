"""Files that are there whole or not at all."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def atomic_write(path: Path, beside: Path) -> Iterator[None]:
    """What is written beside a file takes its place at the end, and is gone when anything fails.

    Raises:
        DataError: It cannot be written.
    """
    try:
        yield
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch has a class of its own for a full disk
        with suppress(OSError):
            beside.unlink()
        raise DataError(f"{path} could not be written ({error}); is the disk full?") from error
