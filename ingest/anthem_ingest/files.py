"""Products from files: JSON lines, CSV, TSV or Parquet, plain or gzipped, or from standard input, read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import sys
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from anthem_core.beir import BAD_SHARE, Problem, corpus_of
from anthem_core.errors import DataError, require_extra
from anthem_ingest.actions import OBJECT, Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMATS = ("jsonl", "csv", "tsv", "parquet")
STDIN = Path("-")
PAGE = 500

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_GZIP = b"\x1f\x8b"
_IDS = ("_id", "id")

_Row: TypeAlias = tuple[int, dict[Any, Any] | str]  # where it stands, and the record or why there is none


@dataclass(frozen=True, slots=True)
class ProductFile:
    """A file of products: where it is, how it is written, and which field names the products."""

    path: Path
    format: str
    id_field: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.path == STDIN else self.path.name


def product_file(path: Path, kind: str | None = None, id_field: str | None = None) -> ProductFile:
    """File of products at a path, `-` for standard input; its format, where none is named, is told by its name.

    Raises:
        DataError: A folder without a corpus, or Parquet where it cannot be read piece by piece.
    """
    path = corpus_of(path) if path.is_dir() else path
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    kind = kind or _SUFFIXES.get(suffix.lower(), "jsonl")
    if kind == "parquet" and (path == STDIN or path.suffix == ".gz"):
        raise DataError(
            f"Parquet is read from a plain file, and {path} is none; unpack it, or save it to a file first."
        )
    return ProductFile(path, kind, id_field)


def documents(file: ProductFile, report: Callable[[Problem], object]) -> Iterator[Document]:
    """Stream the products of a file; a line or row that cannot be used is skipped and reported.

    Raises:
        DataError: The file cannot be read or, known at its end, more than 1 % of it is bad.
    """
    total, bad, first = 0, 0, list[Problem]()
    rows = _parquet(file) if file.format == "parquet" else _text_rows(file)
    for line, row in rows:
        total += 1
        product = _document(row, file.id_field) if isinstance(row, dict) else row
        if isinstance(product, Document):
            yield product
        else:
            bad += 1
            problem = Problem(file.name, line, product)
            first = [*first, problem][:3]
            report(problem)
    if bad > BAD_SHARE * total:
        raise DataError(
            f"{bad} of {total} products of {file.name} cannot be used, at most 1 % may be: "
            f"{'; '.join(map(str, first))}. Mend or remove them, name the format with --format, or another file."
        )


def _document(record: dict[Any, Any], id_field: str | None) -> Document | str:
    """The product of a record, without what is empty or was ours; or why there is none."""
    names = (id_field,) if id_field else _IDS
    value = next((record[name] for name in names if record.get(name) not in (None, "")), None)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return f"no {' or '.join(names)}"
    kept = {str(key): item for key, item in record.items() if item not in (None, "", {})}
    source = {key: item for key, item in kept.items() if key != "_id" and not OBJECT.fullmatch(key)}
    try:
        (json.dumps(source, ensure_ascii=False) + str(value)).encode()
    except (UnicodeEncodeError, TypeError) as error:
        half = isinstance(error, UnicodeEncodeError)
        return "not UTF-8, or half a surrogate pair" if half else f"a value that JSON cannot hold ({error})"
    return Document(str(value), source)


def _text_rows(file: ProductFile) -> Iterator[_Row]:
    with _readable(file), _opened(file.path) as stream:
        yield from _json_lines(stream) if file.format == "jsonl" else _table(stream, file)


@contextmanager
def _readable(file: ProductFile) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.name} cannot be read ({error}); fetch or write it anew.") from error


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """Bytes of a file or of standard input, unpacked where they begin as gzip does."""
    raw: Any = sys.stdin.buffer if path == STDIN else path.open("rb")
    stream: Any = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    try:
        packed = stream.peek(2)[:2] == _GZIP
        yield io.BufferedReader(gzip.GzipFile(fileobj=stream)) if packed else stream
    finally:
        if path != STDIN:
            stream.close()


def _json_lines(stream: io.BufferedReader) -> Iterator[_Row]:
    """Lines end at a line feed and nowhere else, so U+2028 and its kin stay inside."""
    for number, line in enumerate(stream, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        if text.strip():
            yield number, _record(text)


def _record(text: str) -> dict[str, Any] | str:
    try:
        record = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return record if isinstance(record, dict) else "not a JSON object"


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _table(stream: io.BufferedReader, file: ProductFile) -> Iterator[_Row]:
    """Rows under a header; in TSV a quotation mark is a character like any other."""
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    form: dict[str, Any] = {} if file.format == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    rows = csv.DictReader(text, strict=True, **form)
    try:
        header = rows.fieldnames or ()
        if len(set(header)) < max(1, len(header)):
            raise DataError(f"{file.name}:1: found columns {list(header)}; wanted a header line of different names.")
        for row in rows:
            uneven = None in row or None in row.values()
            yield rows.line_num, f"not {len(header)} columns" if uneven else row
    except csv.Error as error:
        raise DataError(
            f"{file.name}:{rows.line_num + 1}: {error}. Is a quotation mark open? Mend the line, or name the "
            "format with --format."
        ) from error
    finally:
        text.detach()


def _parquet(file: ProductFile) -> Iterator[_Row]:
    require_extra("parquet", "pyarrow")
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(file.path) as table:
            for batch in table.iter_batches(batch_size=PAGE):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _plain(row)
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:  # a date may lie beyond Python's
        raise DataError(f"{file.name} cannot be read as Parquet ({error}); write it anew.") from error


def _plain(value: Any) -> Any:  # noqa: ANN401 (whatever Parquet holds)
    """A Parquet value as JSON knows it; what JSON has no word for becomes null."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "surrogateescape")
    return value
