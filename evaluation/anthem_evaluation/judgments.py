"""Reads judged queries in the forms that search teams have: BEIR, TREC, ranx, Quepid and Search Relevance Workbench."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from anthem_core.beir import MAX_BAD_LINE_FRACTION, QRELS_COLUMNS, SkippedLine, read_queries
from anthem_core.errors import DataError
from anthem_core.lines import find_plain_or_gzipped, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from anthem_core.beir import Qrels

JudgmentFormat: TypeAlias = Literal["beir", "trec", "ranx", "quepid", "workbench"]
Rating: TypeAlias = tuple[str, str, float]  # query id or text, product id, grade

JUDGMENT_FORMATS: tuple[JudgmentFormat, ...] = get_args(JudgmentFormat)
QUEPID_COLUMNS = ("query", "docid", "rating")
QUEPID_DELIMITERS = (",", ";", "\t")  # the last two as spreadsheets save them
DEFAULT_SPLITS = ("test", "dev")  # of a BEIR folder, if none is named
FRACTION_STEPS = 1000  # a fractional grade is counted in thousandths, because the measures read whole numbers
_FORMS_WITH_TEXTS = ("quepid", "workbench")  # their judgments name the text of the query, not its id


@dataclass(frozen=True)
class JudgedQueries:
    """Query texts and judgments by query id, and the lines that could not be used.

    Grades are whole numbers, counted in units of `1 / grade_unit`.
    """

    queries: dict[str, str]
    qrels: Qrels
    skipped: list[SkippedLine] = field(default_factory=list)
    grade_unit: int = 1

    @property
    def judgment_count(self) -> int:
        """Number of judged pairs of a query and a product."""
        return sum(map(len, self.qrels.values()))


def comparable_text(text: str) -> str:
    """A query's text without differences of case and spaces."""
    return " ".join(text.casefold().split())


def read_judgments(
    path: Path, queries_path: Path | None = None, file_format: JudgmentFormat | None = None, split: str | None = None
) -> JudgedQueries:
    """Read judgments and the texts of their queries; the form is recognised unless `file_format` names it.

    `path` is a BEIR folder (its `split`, by default `test` or else `dev`) or a file, plain or gzipped. TREC, ranx and
    single BEIR qrels files need `queries_path`, with lines `{"_id": …, "text": …}` or `id<tab>text`. The same pair
    judged twice counts with the first grade, and is named. Queries that are named by their texts get the ids q1, q2 and
    so on. Fractional grades are multiplied by 1,000; nDCG stays the same.

    Raises:
        DataError: A file cannot be read or has another form, or no query has both a text and a judgment.
    """
    skipped: list[SkippedLine] = []
    if path.is_dir():
        queries_path = queries_path or _find_queries(path)
        path, file_format = _find_split(path, split), "beir"
    form = file_format or recognise_format(path)
    ratings = list(_READERS[form](path, skipped))
    if form in _FORMS_WITH_TEXTS:
        ids = {text: f"q{number}" for number, text in enumerate(dict.fromkeys(text for text, _, _ in ratings), start=1)}
        queries = {query: text for text, query in ids.items()}
        ratings = [(ids[text], product, grade) for text, product, grade in ratings]
    elif queries_path is None:
        raise DataError(f"{path} has the ids of queries, but not their texts. Name a file of them with --queries.")
    else:
        queries = _read_texts(queries_path, skipped)
    return _join(path, ratings, queries, skipped)


def recognise_format(path: Path) -> JudgmentFormat:
    """Form of a file of judgments, by its first line and its name.

    Raises:
        DataError: It is none of the known forms.
    """
    first = next(iter(read_lines(path)), b"").decode("utf-8", "replace").strip()
    if _is_trec(first):  # even if the id of the query starts with `{`
        return "trec"
    if first.startswith("{") or path.name.removesuffix(".gz").endswith(".json"):
        return "workbench" if "judgmentRatings" in _read_json(path) else "ranx"
    if _quepid_delimiter(first):
        return "quepid"
    if set(QRELS_COLUMNS) <= set(first.split("\t")):
        return "beir"
    if len(first.split()) == 4:
        return "trec"
    raise DataError(
        f"{path}: the first line is {first[:60]!r}. Expected judgments as TREC qrels (query 0 product grade), a BEIR "
        f"folder or qrels file ({', '.join(QRELS_COLUMNS)}), a ranx JSON file, a Quepid CSV file "
        f"({','.join(QUEPID_COLUMNS)}) or judgments of Search Relevance Workbench. Name the form with --format."
    )


def _is_trec(line: str) -> bool:
    """Whether a line has four columns, the last of which is a number."""
    columns = line.split()
    return len(columns) == 4 and _parse_grade(columns[3]) is not None


def _join(path: Path, ratings: Iterable[Rating], queries: dict[str, str], skipped: list[SkippedLine]) -> JudgedQueries:
    """Group the ratings by query; those of a query without a text are counted and left out."""
    ratings = list(ratings)
    factor = 1 if all(grade.is_integer() for _, _, grade in ratings) else FRACTION_STEPS
    qrels: Qrels = {}
    unknown: dict[str, None] = {}
    for query, product, grade in ratings:
        if query not in queries:
            unknown[query] = None
        elif product in qrels.get(query, {}):
            skipped.append(SkippedLine(path.name, 0, f"{product!r} is judged twice for {queries[query]!r}"))
        else:
            qrels.setdefault(query, {})[product] = round(grade * factor)
    _check_ratings(path, ratings, skipped)
    if not qrels:
        raise DataError(
            f"{path}: none of {len(unknown)} judged queries has a text. Expected the same ids in both files, such as "
            f"{next(iter(unknown), 'q1')!r}. Check --queries."
        )
    skipped += [SkippedLine(path.name, 0, f"no text for query {query!r}") for query in unknown]
    return JudgedQueries({query: queries[query] for query in qrels}, qrels, skipped, factor)


def _check_ratings(path: Path, ratings: Sequence[Rating], skipped: Sequence[SkippedLine]) -> None:
    """Refuse a file that has no relevant judgment, or many lines that are none.

    Raises:
        DataError: No grade is above 0, or more than one line and more than 1 % of all cannot be used.
    """
    bad = [line for line in skipped if line.file == path.name]
    if len(bad) > max(1, MAX_BAD_LINE_FRACTION * (len(bad) + len(ratings))):
        raise DataError(
            f"{len(bad)} lines of {path.name} cannot be used; at most 1 % may be bad: {'; '.join(map(str, bad[:3]))}. "
            "Fix or remove these lines."
        )
    if not any(grade > 0 for _, _, grade in ratings):
        raise DataError(f"{path} has {len(ratings)} judgments, none of a grade above 0, so nothing can be compared.")


def _find_queries(folder: Path) -> Path:
    found = find_plain_or_gzipped(folder, "queries", ".jsonl")
    if not found:
        raise DataError(f"{folder} has no queries.jsonl or queries.jsonl.gz. Name the file with --queries.")
    return found["queries"]


def _find_split(folder: Path, split: str | None) -> Path:
    found = find_plain_or_gzipped(folder / "qrels", "*", ".tsv")
    for name in (split,) if split else DEFAULT_SPLITS:
        if name in found:
            return found[name]
    raise DataError(
        f"{folder} has qrels {sorted(found) or 'in no file'}; expected {split or ' or '.join(DEFAULT_SPLITS)}. "
        "Name one with --split."
    )


def _is_tab_separated(line: bytes) -> bool:
    """Whether a line that starts with `{` is an id and a text, because it has a tab and is not JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return b"\t" in line
    return False


def _read_texts(path: Path, skipped: list[SkippedLine]) -> dict[str, str]:
    first = next(iter(read_lines(path)), b"")
    if first.lstrip().startswith(b"{") and not _is_tab_separated(first):
        return read_queries(path, skipped)
    texts: dict[str, str] = {}
    for number, line in _text_lines(path):
        query, tab, text = line.partition("\t")
        if not (tab and text.strip()):
            skipped.append(SkippedLine(path.name, number, "not of the form id<tab>text"))
        elif query in texts:
            skipped.append(SkippedLine(path.name, number, f"duplicate id {query!r}"))
        else:
            texts[query] = text.strip()
    return texts


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    for number, raw in enumerate(read_lines(path), start=1):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.strip():
            yield number, line


def _read_trec(path: Path, skipped: list[SkippedLine]) -> Iterator[Rating]:
    for number, line in _text_lines(path):
        fields = line.split()
        grade = _parse_grade(fields[3]) if len(fields) == 4 else None
        if grade is None:
            skipped.append(SkippedLine(path.name, number, "not of the form query 0 product grade"))
        else:
            yield fields[0], fields[2], grade


def _read_beir(path: Path, skipped: list[SkippedLine]) -> Iterator[Rating]:
    return _read_columns(path, skipped, QRELS_COLUMNS, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_quepid(path: Path, skipped: list[SkippedLine]) -> Iterator[Rating]:
    header = next(iter(read_lines(path)), b"").decode("utf-8", "replace").strip()
    delimiter = _quepid_delimiter(header) or ","
    return _read_columns(path, skipped, QUEPID_COLUMNS, rename=_plain_name, delimiter=delimiter)


def _read_columns(
    path: Path,
    skipped: list[SkippedLine],
    columns: tuple[str, str, str],
    rename: Callable[[str], str] = str,
    **dialect: Any,  # noqa: ANN401 (options of csv)
) -> Iterator[Rating]:
    """Ratings of a table with a header line; a product without a rating is not judged."""
    text = io.StringIO("".join(line.decode("utf-8", "replace") for line in read_lines(path)), newline="")
    rows = csv.DictReader(text, **dialect)
    rows.fieldnames = [rename(name) for name in rows.fieldnames or ()]
    if not set(columns) <= set(rows.fieldnames or ()):
        raise DataError(f"{path}: found columns {list(rows.fieldnames or ())}; expected {', '.join(columns)}.")
    try:
        for row in rows:
            query, product, rating = ((row[column] or "").strip() for column in columns)
            grade = _parse_grade(rating)
            if not rating:
                continue
            if not (query and product):
                skipped.append(SkippedLine(path.name, rows.line_num, f"no query or product: {row}"[:120]))
            elif grade is None:
                skipped.append(SkippedLine(path.name, rows.line_num, f"the rating {rating[:40]!r} is not a number"))
            else:
                yield query, product, grade
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num + 1}: {error}. Fix the line.") from error


def _quepid_delimiter(header: str) -> str | None:
    """The character that separates the columns of a Quepid file; None if the line is not its header."""
    for delimiter in QUEPID_DELIMITERS:
        names = next(csv.reader([header], delimiter=delimiter), [])
        if set(QUEPID_COLUMNS) <= {*map(_plain_name, names)}:
            return delimiter
    return None


def _plain_name(column: str) -> str:
    """The name of a column without differences of case, spaces and marks: `docid` for `Doc ID` and `doc_id`."""
    return re.sub(r"[\s_-]", "", column).casefold()


def _read_ranx(path: Path, skipped: list[SkippedLine]) -> Iterator[Rating]:
    for query, grades in _read_json(path).items():
        if not isinstance(grades, dict):
            raise DataError(f"{path}: query {query!r} has {type(grades).__name__}; expected {{product: grade}}.")
        for product, value in grades.items():
            yield from _rating(path, query, product, value, skipped)


def _read_workbench(path: Path, skipped: list[SkippedLine]) -> Iterator[Rating]:
    lists = _read_json(path).get("judgmentRatings")
    try:
        for judged in lists or ():
            for rating in judged["ratings"]:
                yield from _rating(path, judged["query"], rating["docId"], rating["rating"], skipped)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: a judgment lacks {error}. Expected judgmentRatings: [{{query, ratings: [{{docId, rating}}]}}]."
        ) from error


def _rating(path: Path, query: object, product: object, value: object, skipped: list[SkippedLine]) -> Iterator[Rating]:
    grade = _parse_grade(value)
    if grade is None:
        skipped.append(SkippedLine(path.name, 0, f"grade {value!r} of {product!r} for {query!r} is not a number"))
    else:
        yield str(query), str(product), grade


def _parse_grade(value: object) -> float | None:
    """A grade as a finite number; None for anything else, `true` included."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        grade = float(value)
    except (ValueError, OverflowError):
        return None
    return grade if math.isfinite(grade) and abs(grade) < 10**9 else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(b"".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}). Export it again.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: found a JSON {type(value).__name__}; expected an object.")
    return value


_READERS = {
    "beir": _read_beir,
    "trec": _read_trec,
    "ranx": _read_ranx,
    "quepid": _read_quepid,
    "workbench": _read_workbench,
}
