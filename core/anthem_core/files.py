"""Writing the files that commands leave: a file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import errno
import gzip
import os
import secrets
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from io import FileIO
    from typing import BinaryIO, TypeAlias

    Opener: TypeAlias = Callable[[Path], AbstractContextManager[BinaryIO]]

GZIP_SUFFIX = ".gz"
STANDARD_OUTPUT = Path("-")
STANDARD_OUTPUT_DESCRIPTOR = 1


@contextmanager
def atomic_write(path: Path, *, make_folder: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing; it replaces `path` when the block ends, and nothing changes if the block fails.

    A symbolic link is followed; the mode and the owner of an existing file are kept. `-` is standard output; it,
    devices and pipes are written directly. `make_folder` creates a missing folder.

    Raises:
        DataError: The file cannot be written, or the block raised an OSError or RuntimeError.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        open_file: Opener = _open_directly if _is_written_directly(path) else _open_replacement
        with open_file(path) as file:
            yield file
    except BrokenPipeError:  # the reader has read enough; click ends the command
        raise
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError when the disk is full
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} could not be written ({reason}). Is the disk full?") from error


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 with `atomic_write`, gzipped if the name ends with `.gz`.

    Raises:
        DataError: The file cannot be written.
    """
    content = text.encode("utf-8")
    with atomic_write(path) as file:
        file.write(_pack(content) if path.suffix == GZIP_SUFFIX else content)


def _pack(content: bytes) -> bytes:
    """The content gzipped, without a time or the name of a file, so that the same content gives the same file."""
    packed = BytesIO()
    with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
        file.write(content)
    return packed.getvalue()


def check_writable(path: Path, option: str = "--output") -> None:
    """Check before the work that `atomic_write` can write a file after it; a missing folder is created.

    `option` is the one that names the file.

    Raises:
        DataError: The path is a folder, or the file or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not _is_written_directly(path):
            part = _name_part(path)
            part.touch(exist_ok=False)
            part.unlink()
    except (OSError, RuntimeError) as error:  # pathlib raises RuntimeError for a loop of symbolic links
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be written ({reason}). Name another file with {option}.") from error


def write_line(file: FileIO, line: bytes, *, is_shared: bool = False) -> None:
    """Write a whole line at the end of a file, or nothing of it; a file that then has no line is removed.

    With `is_shared`, other processes append to the file too: it stays, with the part of the line that was written.

    Raises:
        OSError: The line cannot be written.
    """
    written = 0
    try:
        while written < len(line):  # a disk that is nearly full takes a part
            written += file.write(line[written:])
    except OSError:
        if not is_shared:
            _undo_line(file, written)
        raise


def _undo_line(file: FileIO, written: int) -> None:
    """Remove the part of a line that was written, and the file if it was created for it."""
    if written:
        file.truncate(file.tell() - written)
    remove_if_empty(Path(os.fsdecode(file.name)))


def remove_if_empty(path: Path) -> None:
    """Remove a regular file without content, following links; anything else stays, such as a device."""
    with suppress(OSError):
        attributes = path.stat()
        if stat.S_ISREG(attributes.st_mode) and not attributes.st_size and _find_descriptor(path) is None:
            path.resolve().unlink()


def is_standard_output(path: Path) -> bool:
    """Whether a path is the standard output of this process: `-`, `/dev/stdout` or another name of descriptor 1."""
    return path == STANDARD_OUTPUT or _find_descriptor(path) == STANDARD_OUTPUT_DESCRIPTOR


def discard_standard_output() -> None:
    """Send what is still buffered to the null device, because Python would try to write it once more at its end."""
    with suppress(OSError), Path(os.devnull).open("wb") as nothing:  # tests replace stdout by one without a descriptor
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _is_written_directly(path: Path) -> bool:
    """Whether there is nothing to replace: standard output, a device, a pipe."""
    return path == STANDARD_OUTPUT or _find_descriptor(path) is not None or (path.exists() and not path.is_file())


@contextmanager
def _open_directly(path: Path) -> Iterator[BinaryIO]:
    sys.stdout.flush()
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        try:
            sys.stdout.buffer.flush()
        except OSError:
            discard_standard_output()
            raise
        return
    descriptor = _find_descriptor(path)
    # A copy of the descriptor continues where the process has written so far; opening its name would start at 0.
    with path.open("wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb") as file:
        yield file


@contextmanager
def _open_replacement(path: Path) -> Iterator[BinaryIO]:
    target, part = path.resolve(), _name_part(path)
    try:
        with part.open("xb") as file:
            _copy_attributes(target, file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure after the renaming may leave an empty file
        _replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _name_part(path: Path) -> Path:
    """A new name beside the target: two processes that write the same file must not share it."""
    return path.resolve().with_name(f".anthem-{secrets.token_hex(4)}.part")


def _copy_attributes(source: Path, descriptor: int) -> None:
    """Give an open file the mode and, if permitted, the owner of a file that exists."""
    with suppress(FileNotFoundError):
        attributes = source.stat()
        with suppress(PermissionError):
            os.fchown(descriptor, attributes.st_uid, attributes.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(attributes.st_mode))


def _replace(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _overwrite(part, target)  # a file that is mounted on its own, as containers do, cannot be replaced


def _overwrite(source: Path, target: Path) -> None:
    """Copy the content of a file into another one, for which the space is reserved first."""
    with source.open("rb") as content, target.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, source.stat().st_size))
        shutil.copyfileobj(content, file)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a renaming permanent; some file systems cannot sync a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _find_descriptor(path: Path) -> int | None:
    """Number of the open descriptor of this process that a path such as `/dev/stdout` names; None for other paths."""
    own = Path("/proc/self/fd").resolve()
    for _ in range(40):  # as many links as Linux follows
        if not path.is_symlink():
            return None
        folder = path.parent.resolve()
        if folder == own:
            return int(path.name)
        path = folder / path.readlink()
    return None
