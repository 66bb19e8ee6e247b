"""Reads the rows of CSV and TSV; a row that cannot be read is reported, and reading goes on with the next line."""

from __future__ import annotations

import csv
import re
import shlex
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthem_core.console import count_of
from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from anthem_ingest.product_rows import NumberedRow

DELIMITERS = (",", ";", "\t", "|")  # recognised in the header; the first wins if several give as many columns
MAX_CELL_CHARACTERS = 100_000_000  # OpenSearch accepts no longer request
MAX_QUOTED_CHARACTERS = 2**20  # in a row of several lines; beyond it, a quotation mark is not closed
MAX_REST_LINES = 200  # lines that may be the rest of a row that cannot be read; more are reported one by one

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, as `surrogateescape` reads it
_PLAIN_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
_SEPARATOR_LINE = "sep="  # Excel writes it above the header
_UNREADABLE_HINT = "is a quotation mark not closed, or not doubled inside a quoted cell?"


class _Lines:
    """Lines of a text, counted; those of the present record after its first can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._remaining = iter(lines)
        self._returned: deque[str] = deque()
        self._characters = 0
        self.record: list[str] = []
        self.first_number = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.record and self._characters > MAX_QUOTED_CHARACTERS:
            raise csv.Error(f"a row of several lines and more than {MAX_QUOTED_CHARACTERS} characters")
        line = self._returned.popleft() if self._returned else next(self._remaining)
        self.record.append(line)
        self._characters += len(line)
        return line

    def start_record(self) -> None:
        self.first_number += len(self.record)
        self.record, self._characters = [], 0

    def give_back(self, kept: int = 1) -> None:
        """Make all lines of the record but the first `kept` the next ones to be read."""
        self._returned.extendleft(reversed(self.record[kept:]))
        del self.record[kept:]


@dataclass(slots=True)
class _BrokenRow:
    """The line of a row that cannot be read, the reason, and the number of lines after it that may belong to it."""

    number: int
    reason: str
    rest_lines: int = 0


def _join_returns(lines: Iterator[str], is_row: Callable[[str], bool]) -> Iterator[str]:
    """Lines of a text, in which a carriage return alone does not end a line if what follows is no row by itself.

    It is then a character in a cell, and the rest of the cell must not be taken for another row.
    """
    held = ""
    for line in lines:
        if held and (is_row(line) or len(held) > MAX_QUOTED_CHARACTERS):
            yield held
            held = ""
        held += line
        if not held.endswith("\r"):
            yield held
            held = ""
    if held:
        yield held


class EncodingWatch:
    """Counts the rows that are not UTF-8, and notes whether any other row has a letter beyond ASCII."""

    def __init__(self) -> None:
        self._foreign, self._has_unicode = 0, False

    def watch(self, row: Mapping[str, str]) -> None:
        """Look at the columns and cells of a row that was read with `surrogateescape`."""
        text = "".join((*row.keys(), *row.values()))
        if text.isascii():
            return
        is_foreign = _ESCAPED_BYTE.search(text) is not None
        self._foreign += is_foreign
        self._has_unicode = self._has_unicode or not is_foreign

    def check(self, name: str) -> None:
        """Check that the file is not in another encoding as a whole: just its rows with accents would be left out.

        Raises:
            DataError: Rows are not UTF-8, and no row has letters beyond ASCII that are.
        """
        if self._foreign and not self._has_unicode:
            path = shlex.quote(name) if Path(name).suffix in _PLAIN_SUFFIXES else "FILE"
            raise DataError(
                f"{name}: {count_of(self._foreign, 'row')} not in UTF-8; the other rows are all ASCII. The file looks "
                "like Windows-1252, as Excel saves CSV, or another encoding of one byte per letter. Convert it, then "
                "load the result: "
                f"iconv -f WINDOWS-1252 -t UTF-8 {path} > utf8.csv"
            )


class CsvRows:
    """Rows of a text by the number of their first line, as dictionaries; or why they cannot be read.

    Empty rows are ignored, and so is a first column without a name, as pandas writes an index; a value in another place
    that the header does not name makes its row bad. After a line that cannot be read, rows are trusted again once one
    looks like the rows before it, because the lines between may be the rest of a broken cell. So is a row of several
    lines refused if one of them is a row by itself: a quotation mark that is not closed must not swallow others.

    Raises:
        DataError: The header cannot be read, names a column twice, or has none of the id columns.
    """

    def __init__(
        self, text: Iterable[str], name: str, id_fields: Sequence[str], *, quoted: bool, delimiter: str | None
    ) -> None:
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        self._columns: list[str] = []
        self._lines = _Lines(_join_returns(iter(text), self._is_row))
        self._name = name
        self._dialect: dict[str, Any] = {"strict": True, "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE}
        self._dialect["delimiter"] = delimiter or (self._recognise_delimiter(id_fields) if quoted else "\t")
        self._reader = csv.reader(self._lines, **self._dialect)
        header = self._read_header(id_fields)
        self._width = len(header)
        # A value under an empty cell at the end of the header is one too many, so such cells are no columns.
        self._columns = header[: max((place for place, name in enumerate(header, start=1) if name), default=0)]
        self._unnamed = [place for place, name in enumerate(self._columns) if place and not name]
        self._id_place = next((self._columns.index(field) for field in id_fields if field in self._columns), 0)
        self._id_kinds: set[str] = set()
        self._broken: _BrokenRow | None = None

    def __iter__(self) -> Iterator[NumberedRow]:
        while self._columns:
            self._lines.start_record()
            try:
                cells = next(self._reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield from self._report_broken()
                self._mark_broken(_describe(error))
                continue
            if any(cell.strip() for cell in cells):
                yield from self._check_row(cells)
        yield from self._report_broken()

    def _is_row(self, line: str) -> bool:
        """Whether a line has as many cells as the header; true for the header."""
        return not self._columns or len(_split_line(line, **self._dialect)) >= self._width

    def _check_row(self, cells: list[str]) -> Iterator[NumberedRow]:
        number, columns = self._lines.first_number, self._columns
        is_even = len(cells) >= self._width and not any(cell.strip() for cell in cells[len(columns) :])
        if self._broken and not (is_even and self._resembles_earlier_rows(cells)):
            self._lines.give_back()
            if self._broken.rest_lines < MAX_REST_LINES:
                self._broken.rest_lines += 1
            else:
                yield number, f"follows line {self._broken.number}, which cannot be read, and is unlike earlier rows"
            return
        yield from self._report_broken()
        if not is_even:
            reason = self._describe_unnamed(cells)
            if len(self._lines.record) > 1:
                self._mark_broken(reason)
            else:
                yield number, reason
            return
        kinds = _character_kinds(cells[self._id_place])
        swallowed = self._find_swallowed_rows(kinds)
        if swallowed:
            yield from self._report_swallowed_rows(swallowed)
            return
        self._id_kinds |= kinds
        if any(cells[place].strip() for place in self._unnamed):
            yield number, self._describe_unnamed(cells)
            return
        yield number, {name: cell for name, cell in zip(columns, cells, strict=False) if name}

    def _describe_unnamed(self, cells: list[str]) -> str:
        """Why the cells of a row do not fit the header, and what to do about one that has no name there."""
        if len(cells) < self._width:
            return f"{len(cells)} cells under a header of {self._width}"
        places = (*self._unnamed, *range(len(self._columns), len(cells)))
        number = 1 + next(place for place in places if cells[place].strip())
        remedy = (
            "remove it"
            if self._dialect["quoting"] == csv.QUOTE_NONE
            else f"put a text that contains the delimiter {self._dialect['delimiter']!r} in quotation marks"
        )
        return f"a value in column {number}, which has no name in the header; add a name to the header, or {remedy}"

    def _mark_broken(self, reason: str) -> None:
        """Read on with the second line of the record, as if its first line were a row that cannot be read."""
        self._lines.give_back()
        self._broken = _BrokenRow(self._lines.first_number, reason)

    def _report_broken(self) -> Iterator[NumberedRow]:
        """Report a row that cannot be read, together with the lines after it that may be the rest of it."""
        broken, self._broken = self._broken, None
        if broken:
            rest = (
                f"; {broken.rest_lines} more of the lines after it are skipped, because they may belong to it"
                if broken.rest_lines
                else ""
            )
            yield broken.number, broken.reason + rest

    def _resembles_earlier_rows(self, cells: list[str]) -> bool:
        """Whether a line cannot be the rest of a cell: its id has the characters of earlier ids, or it is a row.

        The last line of a broken cell has its closing quotation mark, an odd number of them.
        """
        kinds = _character_kinds(cells[self._id_place])
        if self._id_kinds and kinds <= self._id_kinds:
            return True
        marks = sum(line.count('"') for line in self._lines.record)
        return not (" " in kinds or _is_prose(cells) or marks % 2)

    def _find_swallowed_rows(self, id_kinds: set[str]) -> list[int]:
        """Numbers of the record's lines after its first that are rows by themselves, with an id like others."""
        numbers, id_kinds = [], id_kinds | self._id_kinds
        for number, line in enumerate(self._lines.record[1:], start=self._lines.first_number + 1):
            cells = _split_line(line, **self._dialect)
            is_row = len(cells) == self._width > 1 and not _is_prose(cells)
            if is_row and _character_kinds(cells[self._id_place]) <= id_kinds:
                numbers.append(number)
        return numbers

    def _report_swallowed_rows(self, swallowed: list[int]) -> Iterator[NumberedRow]:
        """Read on with the second line if each after the first is a row; else some may be text, and none is read."""
        number = self._lines.first_number
        reason = f"its cell contains line {swallowed[0]}, which is a row of its own; {_UNREADABLE_HINT}"
        if len(swallowed) == len(self._lines.record) - 1:
            self._mark_broken(reason)
            return
        yield number, reason
        yield from ((line, f"inside a quoted cell of line {number}") for line in swallowed)

    def _recognise_delimiter(self, id_fields: Sequence[str]) -> str:
        """The delimiter that gives the header an id and the most columns, or the one that a line `sep=` names."""
        first = next((line for line in self._lines if line.strip()), "")
        if first.lower().startswith(_SEPARATOR_LINE) and len(first.strip("\r\n")) == len(_SEPARATOR_LINE) + 1:
            return first[len(_SEPARATOR_LINE)]
        self._lines.give_back(kept=len(self._lines.record) - 1)
        headers = {
            delimiter: _split_line(first, delimiter=delimiter, skipinitialspace=True) for delimiter in DELIMITERS
        }
        return max(
            headers, key=lambda delimiter: (not {*headers[delimiter]}.isdisjoint(id_fields), len(headers[delimiter]))
        )

    def _read_header(self, id_fields: Sequence[str]) -> list[str]:
        """Column names, without surrounding spaces; empty for a text without lines."""
        cells = self._read_header_cells()
        columns = [cell.strip() for cell in cells]
        names = [column for column in columns if column]
        place = f"{self._name}:{self._lines.first_number}"
        if cells and (not names or len(set(names)) < len(names)):
            raise DataError(f"{place}: found columns {columns}. Expected a header line of distinct names.")
        if cells and not set(id_fields) & set(names):
            raise DataError(
                f"{place}: no column {' or '.join(id_fields)}. The columns are: {', '.join(names)}. "
                "Name the one that holds the product id with --id."
            )
        return columns

    def _read_header_cells(self) -> list[str]:
        """Cells of the header; if spaces follow its delimiters, those in the rows are not part of the cells either."""
        above = len(self._lines.record)
        try:
            cells = next((cells for cells in self._reader if cells), [])
            if self._dialect["quoting"] != csv.QUOTE_NONE and _has_spaced_cells(cells):
                self._lines.give_back(kept=above)
                self._dialect["skipinitialspace"] = True
                self._reader = csv.reader(self._lines, **self._dialect)
                cells = next((cells for cells in self._reader if cells), [])
        except csv.Error as error:
            reason = _describe(error)
            end = "" if reason.endswith("?") else "."
            raise DataError(f"{self._name}:1: {reason}{end} Fix the header line.") from error
        return cells


def _split_line(line: str, **dialect: Any) -> list[str]:  # noqa: ANN401 (options of csv.reader)
    """Cells of a line; none if it cannot be read by itself."""
    try:
        return next(csv.reader([line], **dialect), [])
    except csv.Error:
        return []


def _describe(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a carriage return in a cell without quotation marks"
    return f"{error}; {_UNREADABLE_HINT}"


def _character_kinds(cell: str) -> set[str]:
    """Kinds of characters in a cell: `9` for digits, `a` for letters, each other character for itself."""
    return {"9" if letter.isdigit() else "a" if letter.isalpha() else letter for letter in cell}


def _has_spaced_cells(header: list[str]) -> bool:
    """Whether a header has a space before a quotation mark, or after each of its delimiters."""
    spaced = [cell for cell in header[1:] if cell.startswith(" ")]
    return len(spaced) == len(header) - 1 > 0 or any(cell.lstrip(" ").startswith('"') for cell in spaced)


def _is_prose(cells: list[str]) -> bool:
    """Whether a space follows a delimiter: text has commas too, but tables are written without spaces after them."""
    return any(cell.startswith(" ") for cell in cells)
