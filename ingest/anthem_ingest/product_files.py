"""Reads products from files or standard input as a stream: JSON lines, CSV, TSV or Parquet, plain or gzipped."""

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
from anthem_ingest.actions import MODEL_OBJECT_PATTERN, ProductDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDIN_PATH = Path("-")
PARQUET_BATCH_ROWS = 500

_FORMAT_OF_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_GZIP_MAGIC = b"\x1f\x8b"
_DEFAULT_ID_FIELDS = ("_id", "id")

_NumberedRow: TypeAlias = tuple[int, dict[Any, Any] | str]  # line or row number; the record, or why it cannot be read


@dataclass(frozen=True, slots=True)
class ProductFile:
    """A file of products: path, format, and the field that holds the product id (default `_id` or `id`)."""

    path: Path
    format: str
    id_field: str | None = None

    @property
    def name(self) -> str:
        """Name for messages."""
        return "standard input" if self.path == STDIN_PATH else self.path.name


def locate_product_file(path: Path, file_format: str | None = None, id_field: str | None = None) -> ProductFile:
    """Product file at a path; `-` is standard input, a folder is searched for its BEIR corpus.

    The format defaults to the one that the file name suggests, JSON lines if it suggests none.

    Raises:
        DataError: The folder has no corpus, or a Parquet file is gzipped or on standard input.
    """
    path = find_corpus(path) if path.is_dir() else path
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    file_format = file_format or _FORMAT_OF_SUFFIX.get(suffix.lower(), "jsonl")
    if file_format == "parquet" and (path == STDIN_PATH or path.suffix == ".gz"):
        raise DataError(f"Parquet can only be read from a plain file, not from {path}. Decompress it or save it first.")
    return ProductFile(path, file_format, id_field)


def read_product_file(file: ProductFile, report_skipped: Callable[[SkippedLine], object]) -> Iterator[ProductDocument]:
    """Stream the products of a file; a line or row that cannot be used is reported and skipped.

    Raises:
        DataError: The file cannot be read or, known at its end, more than 1 % of it is bad.
    """
    total, bad, examples = 0, 0, list[SkippedLine]()
    rows = _read_parquet(file) if file.format == "parquet" else _read_text_rows(file)
    for number, row in rows:
        total += 1
        product = _parse_product(row, file.id_field) if isinstance(row, dict) else row
        if isinstance(product, ProductDocument):
            yield product
        else:
            bad += 1
            skipped = SkippedLine(file.name, number, product)
            examples = [*examples, skipped][:3]
            report_skipped(skipped)
    if bad > MAX_BAD_LINE_FRACTION * total:
        raise DataError(
            f"{bad} of {total} products of {file.name} cannot be used; at most 1 % may be bad: "
            f"{'; '.join(map(str, examples))}. Fix or remove them, set --format, or name another file."
        )


def _parse_product(record: dict[Any, Any], id_field: str | None) -> ProductDocument | str:
    """The product of a record, without empty fields and a model's values; or the reason why it cannot be used."""
    id_fields = (id_field,) if id_field else _DEFAULT_ID_FIELDS
    product_id = next((record[name] for name in id_fields if record.get(name) not in (None, "")), None)
    if not isinstance(product_id, str | int) or isinstance(product_id, bool):
        return f"no {' or '.join(id_fields)}"
    values = {str(key): value for key, value in record.items() if value not in (None, "", {})}
    source = {key: value for key, value in values.items() if key != "_id" and not MODEL_OBJECT_PATTERN.fullmatch(key)}
    try:
        (json.dumps(source, ensure_ascii=False) + str(product_id)).encode()
    except UnicodeEncodeError:
        return "not UTF-8, or a lone surrogate"
    except TypeError as error:
        return f"a value that JSON cannot represent ({error})"
    return ProductDocument(str(product_id), source)


def _read_text_rows(file: ProductFile) -> Iterator[_NumberedRow]:
    with _explain_read_errors(file), _open_stream(file.path) as stream:
        yield from _read_json_lines(stream) if file.format == "jsonl" else _read_table(stream, file)


@contextmanager
def _explain_read_errors(file: ProductFile) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.name} cannot be read ({error}). Fetch or write it again.") from error


@contextmanager
def _open_stream(path: Path) -> Iterator[io.BufferedReader]:
    """Bytes of a file or of standard input, decompressed if they start with the gzip magic number."""
    raw: Any = sys.stdin.buffer if path == STDIN_PATH else path.open("rb")
    stream: Any = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    try:
        is_gzipped = stream.peek(2)[:2] == _GZIP_MAGIC
        yield io.BufferedReader(gzip.GzipFile(fileobj=stream)) if is_gzipped else stream
    finally:
        if path != STDIN_PATH:
            stream.close()


def _read_json_lines(stream: io.BufferedReader) -> Iterator[_NumberedRow]:
    """Records by line number; only a line feed ends a line, so U+2028 and similar characters stay inside."""
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
    raise ValueError(f"{name} is not a JSON number")


def _read_table(stream: io.BufferedReader, file: ProductFile) -> Iterator[_NumberedRow]:
    """Rows by line number; in TSV a quotation mark is an ordinary character."""
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    dialect: dict[str, Any] = {} if file.format == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    rows = csv.DictReader(text, strict=True, **dialect)
    try:
        header = rows.fieldnames or ()
        if len(set(header)) < max(1, len(header)):
            raise DataError(f"{file.name}:1: found columns {list(header)}. Expected a header line of distinct names.")
        for row in rows:
            is_uneven = None in row or None in row.values()
            yield rows.line_num, f"not {len(header)} columns" if is_uneven else row
    except csv.Error as error:
        raise DataError(
            f"{file.name}:{rows.line_num + 1}: {error}. Is a quotation mark not closed? Fix the line, or set --format."
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
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:  # such as a date outside Python's range
        raise DataError(f"{file.name} cannot be read as Parquet ({error}). Write it again.") from error


def _to_json_value(value: Any) -> Any:  # noqa: ANN401 (any value that Parquet can hold)
    """A Parquet value as a JSON value; NaN and infinity become null."""
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
