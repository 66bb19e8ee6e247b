"""Query texts of one file, without the folder around it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_queries(path: Path) -> dict[str, str]:
    """Texts by id of `queries.jsonl[.gz]`.

    Raises:
        DataError: The file cannot be read, holds no query, or a line has no `_id` and `text` of its own.
    """
    queries: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            query, text = _query(line, f"{path}, line {number}")
            if query in queries:
                raise DataError(f"{path}, line {number}: found query {query!r} again, wanted it once; remove one line")
            queries[query] = text
    if not queries:
        raise DataError(f"{path}: found no query, wanted lines of _id and text; check that this is the file you meant")
    return queries


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch or write it anew.") from error


def _query(line: bytes, place: str) -> tuple[str, str]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
        query, text = str(record["_id"]), record["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{place}: found no query ({error!r}), wanted an object with _id and text; mend it") from error
    if not isinstance(text, str):
        raise DataError(f"{place}: found the text {text!r}, wanted a string; mend the line")
    return query, text
