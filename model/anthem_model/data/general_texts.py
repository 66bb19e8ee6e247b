"""General texts, which a teacher reads besides a shop's own: files of texts, and the words of a tokenizer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from anthem_core.console import stderr
from anthem_core.errors import DataError
from anthem_core.lines import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_GENERAL_TEXTS = 200_000  # a teacher reads about 200 a second on two cores


def read_texts(paths: Sequence[Path], limit: int = MAX_GENERAL_TEXTS) -> list[str]:
    """The first `limit` different texts of some files, plain or gzipped, one text a line; blank lines are skipped.

    Raises:
        DataError: A file cannot be read, is not UTF-8, or has no text.
    """
    texts: dict[str, None] = {}
    for path in paths:
        found = False
        for text in _parse_texts(path):
            found = True
            if len(texts) == limit and text not in texts:
                stderr.print(
                    f"{path} has more texts; only the first {limit:,} of all files are read. If they do not represent "
                    "the rest, shuffle the file"
                )
                return list(texts)
            texts[text] = None
        if not found:
            raise DataError(f"{path} has no text. Expected a text on each line. Name another file.")
    return list(texts)


def whole_words(tokenizer_file: Path) -> list[str]:
    """Words of two letters or more that a WordPiece tokenizer knows as a whole; none for other tokenizers.

    Raises:
        DataError: The file is not the JSON of a tokenizer.
    """
    try:
        model = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]
        words = list(model["vocab"]) if model.get("type") == "WordPiece" else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{tokenizer_file} cannot be read as a tokenizer ({error!r}). Expected tokenizer.json. Copy it again."
        ) from error
    return [word for word in words if len(word) >= 2 and word.isalpha()]


def _parse_texts(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: byte {error.start + 1} is not UTF-8. Expected a text in UTF-8 on each line. "
                "Convert the file."
            ) from error
        if text:
            yield text
