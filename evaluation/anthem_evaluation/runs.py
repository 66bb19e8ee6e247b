"""Runs, the ranked products of each query, and the TREC files that hold them."""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_core.errors import DataError
from anthem_core.files import write_text
from anthem_core.lines import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Run: TypeAlias = dict[str, dict[str, float]]
"""Query id to product id to score; the highest score ranks first, equal scores keep the order of the dict."""

_RUN_FORMAT = "query Q0 product rank score tag"


def rank_scores(ids: Sequence[str]) -> dict[str, float]:
    """Scores `n, n − 1, … 1` for a ranked list of n distinct ids, best first."""
    return {product: float(len(ids) - rank) for rank, product in enumerate(ids)}


def told_apart_scores(scores: Mapping[str, float | None]) -> dict[str, float]:
    """Scores of a ranked list, where equal ones are lowered by the least that tells them apart in 32 bits.

    So every evaluation tool sees the same order. Empty if a score is missing, as after a sort by fields, is negative,
    or is above the one before it.
    """
    known = [score for score in scores.values() if score is not None]
    if len(known) < len(scores) or any(after > before for before, after in pairwise(known)):
        return {}
    lowered, previous = [], np.float32(np.inf)
    for score in known:
        previous = min(np.float32(score), np.nextafter(previous, np.float32(-np.inf)))
        lowered.append(float(previous))
    return dict(zip(scores, lowered, strict=True)) if min(lowered, default=0) >= 0 else {}


def ranked_ids(scores: Mapping[str, float]) -> list[str]:
    """Product ids by descending score; equal scores keep their order."""
    return sorted(scores, key=scores.__getitem__, reverse=True)


# Not ir_measures.read_trec_run: `anthem rerank` works in the base install, and ir_measures brings SciPy. It also
# accepts a product that is listed twice and does not name the line of an error.
def read_run(path: Path) -> Run:
    """Read a TREC run, plain or gzipped, ordered by score; lines of equal score keep the order of the file.

    Raises:
        DataError: The file cannot be read or is empty, or a line is malformed or lists a product a second time.
    """
    run: Run = {}
    for place, fields in _split_lines(path):
        query, product, score = fields[0], fields[2], _parse_score(place, fields[4])
        if product in run.setdefault(query, {}):
            raise DataError(
                f"{place}: product {product!r} of query {query!r} is listed twice. Remove one of the lines."
            )
        run[query][product] = score
    if not run:
        raise DataError(f"{path} has no lines. Expected lines of the form '{_RUN_FORMAT}'. Check the path.")
    return run


def write_run(path: Path, run: Run, tag: str = "anthem") -> None:
    """Write a TREC run, best first, with ranks from 1.

    Raises:
        DataError: An id or the tag is empty or contains whitespace, which the format cannot hold; or the file cannot be
            written.
    """
    lines = [
        _format_line(query, "Q0", product, str(rank), repr(float(scores[product])), tag)
        for query, scores in run.items()
        for rank, product in enumerate(ranked_ids(scores), 1)
    ]
    write_text(path, "".join(lines))


def _split_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Place (file and line number) and fields of every line that is not blank."""
    expected = len(_RUN_FORMAT.split())
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        place, fields = f"{path}, line {number}", line.split()
        if fields and len(fields) != expected:
            raise DataError(f"{place}: found {len(fields)} fields, expected {expected} ({_RUN_FORMAT}). Fix the line.")
        if fields:
            yield place, fields


def _read_text(path: Path) -> str:
    try:
        return b"".join(read_lines(path)).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Expected UTF-8 text. Convert the file.") from error


def _parse_score(place: str, text: str) -> float:
    with suppress(ValueError):
        score = float(text)
        if math.isfinite(score):
            return score
    raise DataError(f"{place}: found the score {text!r}, expected a finite number. Fix the line.")


def _format_line(*fields: str) -> str:
    for field in fields:
        if field.split() != [field]:
            raise DataError(
                f"The id {field!r} is empty or contains whitespace, which TREC files cannot hold. Rename it."
            )
    return " ".join(fields) + "\n"
