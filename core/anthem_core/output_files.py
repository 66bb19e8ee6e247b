"""Checks before the work that a command's outputs replace neither its inputs nor each other."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from anthem_core.files import STANDARD_OUTPUT, is_standard_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Paths: TypeAlias = Path | Sequence[Path] | None

STANDARD_INPUT = Path("-")
# What commands read in a folder: the files of BEIR, and a dump of User Behavior Insights. Others may lie there.
_DATA_FILES = (
    "corpus.jsonl", "corpus.jsonl.gz", "queries.jsonl", "queries.jsonl.gz", "qrels/*.tsv", "qrels/*.tsv.gz",
    "ubi_queries*", "ubi_events*",
)  # fmt: skip


def check_output_files(outputs: Mapping[str, Paths], inputs: Mapping[str, Paths]) -> None:
    """Check the paths by option: no output is an input or another output, under whatever name.

    For an input folder, the files that commands read in it are checked; `-` is standard input. If an output has several
    paths, each folder among them is treated as deleted with its contents.

    Raises:
        click.UsageError: A file would be overwritten.
    """
    places: dict[object, str] = {}
    for option, path in _each_path(outputs):
        place = _identify(path)
        if place in places and places[place] != option:
            raise click.UsageError(f"{places[place]} and {option} both name {path}. Give each a file of its own.")
        places[place] = option
        if not is_standard_output(path):
            _check_output(option, path, is_named=isinstance(outputs[option], Path), inputs=inputs)


def bundle_files(name_or_path: str) -> list[Path]:
    """The files of a bundle, as an input of `check_output_files`: of a folder, or of a shipped bundle by its name."""
    from anthem_core.encoding.bundle import MANIFEST_FILE, OPTIONAL_FILES, REQUIRED_FILES, find_shipped_bundles

    folder = Path(name_or_path)
    if not (folder / MANIFEST_FILE).is_file():
        folder = find_shipped_bundles().get(name_or_path, folder)
    return [folder / file for file in (MANIFEST_FILE, *REQUIRED_FILES, *OPTIONAL_FILES)]


def _check_output(option: str, path: Path, *, is_named: bool, inputs: Mapping[str, Paths]) -> None:
    place, replaced = _identify(path), None if is_named or not path.is_dir() else _resolve(path)
    for source, given in _each_path(inputs):
        for file in filter(_is_regular, _files_of(given)):  # a device such as /dev/null loses nothing
            is_inside = replaced is not None and _resolve(file).is_relative_to(replaced)
            if _identify(file) == place or is_inside:
                article = "the" if isinstance(inputs[source], Path) and not given.is_dir() else "a"
                if is_named:
                    raise click.UsageError(
                        f"{option} names {article} file of {source} and would overwrite it: {path}. Name another file."
                    )
                verb, lost = ("delete", file) if is_inside else ("overwrite", path)
                raise click.UsageError(f"{option} would {verb} {article} file of {source}: {lost}. Name another path.")


def _each_path(paths: Mapping[str, Paths]) -> Iterator[tuple[str, Path]]:
    for option, given in paths.items():
        for path in (given,) if isinstance(given, Path) else given or ():
            yield option, path


def _files_of(path: Path) -> Iterator[Path]:
    """The file itself, or the files that commands read in a folder."""
    if path.is_dir():
        for pattern in _DATA_FILES:
            yield from path.glob(pattern)
    else:
        yield Path("/dev/stdin") if path == STANDARD_INPUT else path


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # missing: the command reports that when it reads the file
        return False


def _identify(path: Path) -> object:
    """What is the same for all names of a file: its inode, or its path without links if it does not exist."""
    if is_standard_output(path):
        return STANDARD_OUTPUT
    try:
        attributes = path.stat()
    except OSError:
        return _resolve(path)
    return (attributes.st_dev, attributes.st_ino)


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of symbolic links, which `check_writable` refuses
        return path.absolute()
