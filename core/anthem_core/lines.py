"""Finds files that may be plain or gzipped, and reads their lines."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file as bytes, without byte order mark; only a line feed ends a line.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with _open_decompressed(path) as file:
            yield file.readline().removeprefix(BOM_UTF8)
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch or write it again.") from error


def find_plain_or_gzipped(folder: Path, pattern: str, suffix: str) -> dict[str, Path]:
    """Map names without suffixes to the files of a folder, sorted by name; `*` in the pattern matches any name.

    Raises:
        DataError: A file is there both plain and gzipped.
    """
    found: dict[str, Path] = {}
    for path in sorted((*folder.glob(f"{pattern}{suffix}"), *folder.glob(f"{pattern}{suffix}.gz"))):
        name = path.name.removesuffix(".gz").removesuffix(suffix)
        if name in found:
            raise DataError(f"{folder} has both {found[name].name} and {path.name}. Keep only one of them.")
        if path.is_file():
            found[name] = path
    return found


@contextmanager
def _open_decompressed(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        if path.suffix == ".gz" or file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=file) as content:
                yield cast("BinaryIO", content)
        else:
            yield file
