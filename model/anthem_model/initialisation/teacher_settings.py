"""How an ONNX teacher pools the vectors of tokens into one vector per text, and which files its folder contains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SETTINGS_FILE = "anthem_teacher.json"
POOLING_FILE = "1_Pooling/config.json"  # written by sentence-transformers
POOLINGS = ("cls", "mean")
DEFAULT_MAX_TOKENS = 128
LARGEST_MAX_TOKENS = 8192


@dataclass(frozen=True)
class TeacherSettings:
    """Pooling ("cls": the first token's vector, or "mean" over the tokens), a prefix of texts, and a cap on tokens.

    `source` says where the pooling was read.
    """

    pooling: str = "mean"
    prefix: str = ""
    max_tokens: int = DEFAULT_MAX_TOKENS
    source: str = "the default"

    @property
    def identity(self) -> str:
        """The settings that vectors depend on; where they were read makes no difference."""
        return f"{self.pooling} pooling, prefix {self.prefix!r}, {self.max_tokens} tokens"

    def __str__(self) -> str:
        prefix = f", prefix {self.prefix!r}" if self.prefix else ""
        return f"{self.pooling} pooling{prefix}, from {self.source}"


def read_teacher_settings(folder: Path) -> TeacherSettings:
    """Settings from `anthem_teacher.json`, else the pooling from `1_Pooling/config.json`, else mean pooling.

    Raises:
        DataError: A file is not a JSON object, or has a value that is not supported.
    """
    if (folder / SETTINGS_FILE).is_file():
        return _parse_settings(folder / SETTINGS_FILE)
    if (folder / POOLING_FILE).is_file():
        return TeacherSettings(_parse_pooling(folder / POOLING_FILE), source=POOLING_FILE)
    return TeacherSettings()


def find_one_file(folder: Path, name: str, ending: str) -> Path:
    """The file `name` of a folder or, if it has none, its only file that ends with `ending`.

    Raises:
        DataError: The folder has no such file, or several.
    """
    if (folder / name).is_file():
        return folder / name
    paths = sorted(path for path in folder.glob(f"*{ending}") if path.is_file())
    if len(paths) == 1:
        return paths[0]
    found = ", ".join(path.name for path in paths) or "no such file"
    raise DataError(f"{folder} has {found}. Expected {name}, or exactly one *{ending}. Rename or copy the right file.")


def hash_files(paths: Iterable[Path]) -> str:
    """Hash of the contents of some files, whatever their paths.

    Raises:
        DataError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}). Copy the whole model again.") from error
    return digest.hexdigest()[:16]


def _parse_settings(path: Path) -> TeacherSettings:
    values = _read_object(path)
    expected = (
        'Expected {"pooling": "cls" or "mean", "prefix": a text, "max_tokens": '
        f"1 to {LARGEST_MAX_TOKENS}}}, each optional. Fix the file, or delete it for mean pooling."
    )
    unknown = sorted(values.keys() - {"pooling", "prefix", "max_tokens"})
    if unknown:
        raise DataError(f"{path} has the unknown keys {', '.join(unknown)}. {expected}")
    settings = TeacherSettings(**values, source=SETTINGS_FILE)
    tokens = settings.max_tokens
    is_count = isinstance(tokens, int) and not isinstance(tokens, bool) and 1 <= tokens <= LARGEST_MAX_TOKENS
    if settings.pooling not in POOLINGS or not isinstance(settings.prefix, str) or not is_count:
        raise DataError(f"{path} has the values {values}. {expected}")
    return settings


def _parse_pooling(path: Path) -> str:
    """Pooling of a sentence-transformers folder: a flag for each kind or, in newer ones, a name."""
    values = _read_object(path)
    flags = [name.removeprefix("pooling_mode_") for name, value in values.items() if value is True]
    names = {"cls_token": "cls", "mean_tokens": "mean"}
    modes = [str(values["pooling_mode"])] if "pooling_mode" in values else [
        names.get(flag, flag) for flag in flags if f"pooling_mode_{flag}" in values
    ]  # fmt: skip
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise DataError(
            f"{path} has the pooling {' and '.join(modes) or 'none'}. Expected cls or mean. Name a teacher with one of "
            f"these, or a folder without *.onnx, which sentence-transformers loads."
        )
    return modes[0]


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Expected a JSON object. Fix the file.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} has a {type(values).__name__}. Expected a JSON object. Fix the file.")
    return values
