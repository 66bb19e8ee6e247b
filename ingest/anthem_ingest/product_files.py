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

from anthem_core.beir import MAX_BAD_LINE_FRACTION, SkippedLine, find_corpus
from anthem_core.errors import DataError, require_extra
from anthem_ingest.actions import VECTOR_OBJECT_PATTERN, ProductDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE_FORMATS = ("jsonl", "csv", "tsv", "parquet")
STDIN_PATH = Path("-")
PARQUET_BATCH_ROWS = 500

_FORMAT_OF_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_GZIP_MAGIC = b"\x1f\x8b"
_DEFAULT_ID_FIELDS = ("_id", "id")

_NumberedRow: TypeAlias = tuple[int, dict[Any, Any] | str]  # where it stands, and the record or why there is none


@dataclass(frozen=True, slots=True)
class ProductFile:
    """A file of products: where it is, how it is written, and which field names the products."""

    path: Path
    format: str
    id_field: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.path == STDIN_PATH else self.path.name


def locate_product_file(path: Path, kind: str | None = None, id_field: str | None = None) -> ProductFile:
    """File of products at a path, `-` for standard input; its format, where none is named, is told by its name.

    Raises:
        DataError: A folder without a corpus, or Parquet where it cannot be read piece by piece.
    """
    path = find_corpus(path) if path.is_dir() else path
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    kind = kind or _FORMAT_OF_SUFFIX.get(suffix.lower(), "jsonl")
    if kind == "parquet" and (path == STDIN_PATH or path.suffix == ".gz"):
        raise DataError(
            f"Parquet is read from a plain file, and {path} is none; unpack it, or save it to a file first."
        )
    return ProductFile(path, kind, id_field)


def read_product_file(file: ProductFile, report: Callable[[SkippedLine], object]) -> Iterator[ProductDocument]:
    """Stream the products of a file; a line or row that cannot be used is skipped and reported.

    Raises:
        DataError: The file cannot be read or, known at its end, more than 1 % of it is bad.
    """
    total, bad, first = 0, 0, list[SkippedLine]()
    rows = _read_parquet(file) if file.format == "parquet" else _read_text_rows(file)
    for line, row in rows:
        total += 1
        product = _parse_product(row, file.id_field) if isinstance(row, dict) else row
        if isinstance(product, ProductDocument):
            yield product
        else:
            bad += 1
            problem = SkippedLine(file.name, line, product)
            first = [*first, problem][:3]
            report(problem)
    if bad > MAX_BAD_LINE_FRACTION * total:
        raise DataError(
            f"{bad} of {total} products of {file.name} cannot be used, at most 1 % may be: "
            f"{'; '.join(map(str, first))}. Mend or remove them, name the format with --format, or another file."
        )


def _parse_product(record: dict[Any, Any], id_field: str | None) -> ProductDocument | str:
    """The product of a record, without what is empty or was ours; or why there is none."""
    names = (id_field,) if id_field else _DEFAULT_ID_FIELDS
    value = next((record[name] for name in names if record.get(name) not in (None, "")), None)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return f"no {' or '.join(names)}"
    kept = {str(key): item for key, item in record.items() if item not in (None, "", {})}
    source = {key: item for key, item in kept.items() if key != "_id" and not VECTOR_OBJECT_PATTERN.fullmatch(key)}
    try:
        (json.dumps(source, ensure_ascii=False) + str(value)).encode()
    except (UnicodeEncodeError, TypeError) as error:
        half = isinstance(error, UnicodeEncodeError)
        return "not UTF-8, or half a surrogate pair" if half else f"a value that JSON cannot hold ({error})"
    return ProductDocument(str(value), source)


def _read_text_rows(file: ProductFile) -> Iterator[_NumberedRow]:
    with _explain_read_errors(file), _open_stream(file.path) as stream:
        yield from _read_json_lines(stream) if file.format == "jsonl" else _read_table(stream, file)


@contextmanager
def _explain_read_errors(file: ProductFile) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.name} cannot be read ({error}); fetch or write it anew.") from error


@contextmanager
def _open_stream(path: Path) -> Iterator[io.BufferedReader]:
    """Bytes of a file or of standard input, unpacked where they begin as gzip does."""
    raw: Any = sys.stdin.buffer if path == STDIN_PATH else path.open("rb")
    stream: Any = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    try:
        packed = stream.peek(2)[:2] == _GZIP_MAGIC
        yield io.BufferedReader(gzip.GzipFile(fileobj=stream)) if packed else stream
    finally:
        if path != STDIN_PATH:
            stream.close()


def _read_json_lines(stream: io.BufferedReader) -> Iterator[_NumberedRow]:
    """Lines end at a line feed and nowhere else, so U+2028 and its kin stay inside."""
    for number, line in enumerate(stream, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        if text.strip():
            yield number, _parse_json_line(text)


def _parse_json_line(text: str) -> dict[str, Any] | str:
    try:
        record = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return record if isinstance(record, dict) else "not a JSON object"


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _read_table(stream: io.BufferedReader, file: ProductFile) -> Iterator[_NumberedRow]:
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


def _read_parquet(file: ProductFile) -> Iterator[_NumberedRow]:
    require_extra("parquet", "pyarrow")
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(file.path) as table:
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _to_json_value(row)
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:  # a date may lie beyond Python's
        raise DataError(f"{file.name} cannot be read as Parquet ({error}); write it anew.") from error


def _to_json_value(value: Any) -> Any:  # noqa: ANN401 (whatever Parquet holds)
    """A Parquet value as JSON knows it; what JSON has no word for becomes null."""
    match value:
        case dict():
            return {str(key): _to_json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_to_json_value(item) for item in value]
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "surrogateescape")
    return value
