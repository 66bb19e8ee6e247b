"""TREC files: runs (`query Q0 product rank score tag`) and judgments (`query 0 product grade`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anthem_core.beir import Qrels


import math
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from anthem_core.beir import Qrels

T = TypeVar("T", int, float)

_RUN_FORMAT = "query Q0 product rank score tag"
_QRELS_FORMAT = "query 0 product grade"


def read_run(path: Path) -> Run:
    """Read a run; the score orders it, lines of equal score keep the order of the file.

    Raises:
        DataError: The file cannot be read, or a line is malformed or names a product a second time.
    """
    return _build_table(
        path, ((place, f[0], f[2], _parse_number(place, f[4], float)) for place, f in _split_lines(path, _RUN_FORMAT))
    )


def read_qrels(path: Path) -> Qrels:
    """Read judgments with whole-numbered grades.

    Raises:
        DataError: The file cannot be read, or a line is malformed or judges a product a second time.
    """
    return _build_table(
        path, ((place, f[0], f[2], _parse_number(place, f[3], int)) for place, f in _split_lines(path, _QRELS_FORMAT))
    )


def write_run(path: Path, run: Run, tag: str = "anthem") -> None:
    """Write a run, best first, ranks from 1.

    Raises:
        DataError: An id or the tag is empty or has a space in it, which the format cannot hold; or the file cannot be
            written.
    """
    lines = (
        _format_line(query, "Q0", product, str(rank), repr(float(scores[product])), tag)
        for query, scores in run.items()
        for rank, product in enumerate(ranked_ids(scores), 1)
    )
    _write_lines(path, lines)


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write judgments.

    Raises:
        DataError: An id is empty or has a space in it, which the format cannot hold; or the file cannot be
            written.
    """
    _write_lines(
        path,
        (_format_line(q, "0", product, str(grade)) for q, grades in qrels.items() for product, grade in grades.items()),
    )


def _split_lines(path: Path, form: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        fields = line.split()
        if fields and len(fields) != len(form.split()):
            raise DataError(
                f"{path}, line {number}: found {len(fields)} fields, wanted {len(form.split())} ({form}); mend the line"
            )
        if fields:
            yield f"{path}, line {number}", fields


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: found bytes that are no UTF-8, wanted UTF-8 text; convert the file first") from error


def _parse_number(place: str, text: str, kind: Callable[[str], T]) -> T:
    with suppress(ValueError, OverflowError):
        value = kind(text)
        if math.isfinite(value):
            return value
    wanted = "a whole number" if kind is int else "a finite number"
    raise DataError(f"{place}: found {text!r}, wanted {wanted}; mend the line")


def _build_table(path: Path, rows: Iterable[tuple[str, str, str, T]]) -> dict[str, dict[str, T]]:
    table: dict[str, dict[str, T]] = {}
    for place, query, product, value in rows:
        if product in table.setdefault(query, {}):
            raise DataError(
                f"{place}: found product {product!r} of query {query!r} again, wanted it once; remove one line"
            )
        table[query][product] = value
    if not table:
        raise DataError(f"{path}: found no lines, wanted at least one; check that this is the file you meant")
    return table


def _format_line(*fields: str) -> str:
    for field in fields:
        if field.split() != [field]:
            raise DataError(f"found the id {field!r}, but TREC files hold no empty ids and no spaces; rename it")
    return " ".join(fields) + "\n"


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    text = "".join(lines)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; check the path and its permissions") from error


Run: TypeAlias = dict[str, dict[str, float]]


def rank_scores(ids: Sequence[str]) -> dict[str, float]:
    """Strictly falling scores `n, n − 1, … 1` for an ordered list, best first, without repeats."""
    return {product: float(len(ids) - place) for place, product in enumerate(ids)}


def ranked_ids(scores: Mapping[str, float]) -> list[str]:
    """Product ids by falling score; equal scores keep their order."""
    return sorted(scores, key=scores.__getitem__, reverse=True)
