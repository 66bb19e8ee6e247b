"""Reads products from files or standard input as a stream: JSON lines, CSV, TSV or Parquet, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import math
import sys
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any

from anthem_core.beir import MAX_BAD_LINE_FRACTION, SkippedLine, find_corpus
from anthem_core.console import count_of
from anthem_core.errors import DataError, require_extra
from anthem_core.lines import GZIP_MAGIC
from anthem_ingest.actions import ProductDocument
from anthem_ingest.csv_rows import CsvRows, EncodingWatch
from anthem_ingest.json_rows import read_json_rows
from anthem_ingest.product_rows import choose_id_fields, parse_product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from anthem_ingest.product_rows import NumberedRow

STDIN_PATH = Path("-")
PARQUET_BATCH_ROWS = 500
COPY_CHUNK_BYTES = 2**20

_FORMAT_OF_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_ABSENT_VALUES: dict[str, str | None] = {"csv": "", "tsv": "", "parquet": None}  # JSON leaves out an absent field
_FOREIGN_MAGICS = {
    b"\xff\xfe\0\0": "UTF-32 text. Save it as UTF-8",
    b"\xff\xfe": "UTF-16 text. Save it as UTF-8",
    b"\xfe\xff": "UTF-16 text. Save it as UTF-8",
    b"PK\x03\x04": "a ZIP archive or a workbook. Unpack it, or save the sheet as CSV",
    b"PAR1": "Parquet. Set --format parquet",
}


@dataclass(frozen=True, slots=True)
class ProductFile:
    """A file of products and how to read it.

    Attributes:
        path: Where it is; `-` is standard input.
        format: `jsonl`, `csv`, `tsv` or `parquet`.
        id_field: Field that holds the product id; by default `_id` or `id`.
        delimiter: Character between the cells of CSV or TSV; by default the one that the header shows, or a tab.
        copy: Copy of a stream, see `make_rereadable`.
    """

    path: Path
    format: str
    id_field: str | None = None
    delimiter: str | None = None
    copy: BinaryIO | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Name for messages."""
        return "standard input" if self.path == STDIN_PATH else self.path.name


def locate_product_file(
    path: Path, file_format: str | None = None, id_field: str | None = None, delimiter: str | None = None
) -> ProductFile:
    """Product file at a path; `-` is standard input, a folder is searched for its BEIR corpus.

    The format defaults to the one that the file name suggests, JSON lines if it suggests none.

    Raises:
        DataError: The folder has no corpus, or a Parquet file is gzipped or on standard input.
    """
    path = find_corpus(path) if path.is_dir() else path
    is_gzipped = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix if is_gzipped else path.suffix
    file_format = file_format or _FORMAT_OF_SUFFIX.get(suffix.lower(), "jsonl")
    if file_format == "parquet" and (path == STDIN_PATH or is_gzipped):
        raise DataError(f"Parquet can only be read from a plain file, not from {path}. Decompress it or save it first.")
    return ProductFile(path, file_format, id_field, delimiter)


@contextmanager
def make_rereadable(file: ProductFile) -> Iterator[ProductFile]:
    """The same file, or a temporary copy of standard input or of a pipe, which cannot be read twice.

    Raises:
        DataError: The stream cannot be read, or there is no room for its copy.
    """
    if file.path.is_file() and file.path != STDIN_PATH:
        yield file
        return
    with TemporaryFile() as copy:
        with _explain_read_errors(file), _open_stream(file, decompress=False) as stream:
            _copy_stream(stream, copy, file.name)
        yield replace(file, copy=copy)


def _copy_stream(stream: BinaryIO, copy: BinaryIO, name: str) -> None:
    while chunk := stream.read(COPY_CHUNK_BYTES):
        try:
            copy.write(chunk)
            copy.flush()
        except OSError as error:
            raise DataError(
                f"{name} cannot be copied to {gettempdir()} ({error.strerror}). Make room there, set TMPDIR to another "
                "folder, or save it as a file and name that."
            ) from error


def _watch_nothing(_: Mapping[Any, Any]) -> None:
    """The records of a file are not looked at."""


def read_product_file(
    file: ProductFile,
    report_skipped: Callable[[SkippedLine], object],
    watch: Callable[[Mapping[Any, Any]], object] = _watch_nothing,
) -> Iterator[ProductDocument]:
    """Stream the products of a file; a line or row that cannot be used is reported and skipped.

    `watch` is called with the fields of each product, the empty ones included.

    Raises:
        DataError: The file cannot be read or, known at its end, more than one of its rows and more than 1 % are bad,
            or a table is in another encoding than UTF-8.
    """
    return (product for _, product in read_numbered_products(file, report_skipped, watch))


def read_numbered_products(
    file: ProductFile,
    report_skipped: Callable[[SkippedLine], object],
    watch: Callable[[Mapping[Any, Any]], object] = _watch_nothing,
) -> Iterator[tuple[int, ProductDocument]]:
    """The same products with the number of their line or row."""
    total, bad, examples = 0, 0, list[SkippedLine]()
    is_typed = file.format not in ("csv", "tsv")
    encoding = EncodingWatch()
    rows = _read_parquet(file) if file.format == "parquet" else _read_text_rows(file)
    for number, row in rows:
        total += 1
        if isinstance(row, dict) and not is_typed:
            encoding.watch(row)
        product = _parse_row(row, file, is_typed=is_typed)
        if isinstance(product, ProductDocument):
            watch((row.get("_source") or row) if isinstance(row, dict) else {})
            yield number, product
        else:
            bad += 1
            skipped = SkippedLine(file.name, number, product)
            examples = [*examples, skipped][:3]
            report_skipped(skipped)
    encoding.check(file.name)
    if bad > max(1, MAX_BAD_LINE_FRACTION * total) or bad == total > 0:
        raise DataError(
            f"{bad} of {count_of(total)} of {file.name} cannot be used; at most 1 % may be bad: "
            f"{'; '.join(map(str, examples))}. Fix or remove them, set --format or --id, or name another file."
        )


def _parse_row(row: dict[Any, Any] | str, file: ProductFile, *, is_typed: bool) -> ProductDocument | str:
    """The product of a row, or the reason why it cannot be used; empty cells and nulls of a table are omitted."""
    if isinstance(row, str):
        return row
    if file.format in _ABSENT_VALUES:  # tables have every column in each row
        absent = _ABSENT_VALUES[file.format]
        row = {name: value for name, value in row.items() if value != absent}
    return parse_product(row, file.id_field, is_typed=is_typed)


def _read_text_rows(file: ProductFile) -> Iterator[NumberedRow]:
    with _explain_read_errors(file), _open_stream(file) as stream:
        yield from read_json_rows(stream, file.name) if file.format == "jsonl" else _read_table(stream, file)


@contextmanager
def _explain_read_errors(file: ProductFile) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.name} cannot be read ({error}). Fetch or write it again.") from error


@contextmanager
def _open_stream(file: ProductFile, *, decompress: bool = True) -> Iterator[io.BufferedReader]:
    """Bytes of a file or of standard input, decompressed if they start with the gzip magic number."""
    raw: Any = file.copy or (sys.stdin.buffer if file.path == STDIN_PATH else file.path.open("rb"))
    if file.copy:
        file.copy.seek(0)
    stream: Any = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    try:
        if decompress and stream.peek(2)[:2] == GZIP_MAGIC:
            stream = io.BufferedReader(gzip.GzipFile(fileobj=stream))
        if decompress:
            _check_is_text(stream.peek(4)[:4], file.name)  # `peek` returns the whole buffer
        yield stream
    finally:
        if not file.copy and file.path != STDIN_PATH:
            raw.close()


def _check_is_text(start: bytes, name: str) -> None:
    found = next((found for magic, found in _FOREIGN_MAGICS.items() if start.startswith(magic)), None)
    if found is None and b"\0" in start:
        found = "not UTF-8 text: its first four bytes have a zero byte, as in UTF-16 and UTF-32. Save it as UTF-8"
    if found:
        raise DataError(f"{name} is {found}.")


def _read_table(stream: io.BufferedReader, file: ProductFile) -> Iterator[NumberedRow]:
    """Rows by line number; in TSV a quotation mark is an ordinary character."""
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        is_quoted = file.format == "csv"
        yield from CsvRows(text, file.name, choose_id_fields(file.id_field), quoted=is_quoted, delimiter=file.delimiter)
    finally:
        text.detach()


def _read_parquet(file: ProductFile) -> Iterator[NumberedRow]:
    require_extra("parquet", "pyarrow")
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(file.copy or file.path) as table:
            columns = table.schema_arrow.names
            if len(set(columns)) < len(columns):
                raise DataError(f"{file.name}: found columns {columns}. Expected distinct names.")
            # As in CSV, a first column without a name is an index; a value in another one makes its row bad.
            index = next((name for name in columns[:1] if not name.strip()), None)
            maps = {field.name for field in table.schema_arrow if pa.types.is_map(field.type)}
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    row.pop(index, None)
                    row |= {name: {} for name in maps if row.get(name) == []}
                    yield number, {name: _to_json_value(value) for name, value in row.items()}
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:  # such as a date outside Python's range
        raise DataError(f"{file.name} cannot be read as Parquet ({error}). Write it again.") from error


def _to_json_value(value: Any) -> Any:  # noqa: ANN401 (any value that Parquet can hold)
    """A Parquet value as a JSON value; NaN (a missing value of pandas) becomes null; nulls in a struct are left out."""
    match value:
        case dict():
            items = ((str(key), _to_json_value(item)) for key, item in value.items())
            return {key: item for key, item in items if item is not None}
        case list():
            is_map = value and isinstance(value[0], tuple)
            return _to_object(value) if is_map else [_to_json_value(item) for item in value]
        case float() | Decimal():
            return _to_number(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "surrogateescape")
    return value


def _to_object(pairs: list[tuple[Any, Any]]) -> Any:  # noqa: ANN401 (any JSON value)
    """A map as an object, or as a list of its pairs if its keys cannot be those of an object."""
    if all(isinstance(key, str) for key, _ in pairs) and len(dict(pairs)) == len(pairs):
        return _to_json_value(dict(pairs))
    return [_to_json_value({"key": key, "value": value}) for key, value in pairs]


def _to_number(value: float | Decimal) -> int | float | str | None:
    """A number as it is, null for NaN; a decimal with too many digits for a float is text, which OpenSearch reads too.

    As a JSON number it would be exact only until the first update, in which OpenSearch converts it to a double.
    """
    if isinstance(value, float):
        return None if math.isnan(value) else value
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0:
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value, "f")
