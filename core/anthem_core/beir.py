"""BEIR folders: products, queries and judgments as files. Bad lines are skipped and counted; writing is reproducible.

```
corpus.jsonl[.gz]         {"_id": "p1", "title": "...", "text": "...", "metadata": {...}}
queries.jsonl[.gz]        {"_id": "q1", "text": "...", "metadata": {...}}
qrels/<split>.tsv[.gz]    query-id <tab> corpus-id <tab> score, below a header line with these names
```
"""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from anthem_core.errors import DataError
from anthem_core.lines import find_plain_or_gzipped, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
Qrels: TypeAlias = dict[str, dict[str, int]]  # query id -> product id -> grade

MAX_BAD_LINE_FRACTION = 0.01  # above this, the file is more likely the wrong file than a slightly damaged one
QRELS_COLUMNS = ("query-id", "corpus-id", "score")


@dataclass(frozen=True, slots=True)
class Product:
    """One product; only the id is always there, and most readers require a title."""

    id: str
    title: str
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """One line that could not be used, with the reason; line 0 is no line in particular."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Contents of a BEIR folder: products, query texts, judgments by split, and the lines that were skipped."""

    products: dict[str, Product]
    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, Qrels] = field(default_factory=dict)
    skipped_lines: list[SkippedLine] = field(default_factory=list)
    query_metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


class _BadLineError(Exception):
    """The reason why a line cannot be used."""


def read_dataset(folder: Path, split: str | None = None) -> Dataset:
    """Read a BEIR folder with all its splits, or with one; queries and qrels may be missing.

    Raises:
        DataError: The folder or its corpus is missing, a file cannot be read, or more than 1 % of its lines are bad.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder. Expected a BEIR folder with corpus.jsonl or corpus.jsonl.gz. Check the path."
        )
    dataset = Dataset({})
    products = read_products(find_corpus(folder), dataset.skipped_lines)
    dataset.products.update((product.id, product) for product in products)
    _add_queries(dataset, folder)
    for name, path in _find_qrels(folder, split or "*").items():
        dataset.qrels[name] = _read_qrels(path, dataset)
    return dataset


def find_corpus(folder: Path) -> Path:
    """Corpus file of a BEIR folder, plain or gzipped.

    Raises:
        DataError: The folder has no corpus, or both a plain and a gzipped one.
    """
    corpus = _find_jsonl(folder, "corpus")
    if corpus is None:
        raise DataError(f"{folder} has no corpus.jsonl or corpus.jsonl.gz. Add one, or name another folder.")
    return corpus


def read_products(
    path: Path, skipped_lines: list[SkippedLine] | None = None, required: Sequence[str] = ("title",)
) -> Iterator[Product]:
    """Stream the products of a corpus file, plain or gzipped; bad lines are skipped and added to `skipped_lines`.

    A line without any of the `required` fields is bad.

    Raises:
        DataError: The file cannot be read or, raised at its end, more than 1 % of its lines are bad.
    """
    seen: set[str] = set()

    def parse(line: bytes) -> Product:
        record = _parse_record(line)
        name = _new_id(record, seen)
        product = Product(
            name, _optional_text(record, "title"), _optional_text(record, "text"), _optional_metadata(record)
        )
        filled = [key for key in ("title", "text", "metadata") if _has_content(getattr(product, key))]
        if not set(required) & set(filled):
            raise _BadLineError(f"no {' or '.join(required)}" + (f", only {' and '.join(filled)}" if filled else ""))
        seen.add(name)
        return product

    return _parse_lines(path, path.name, parse, [] if skipped_lines is None else skipped_lines)


def read_queries(path: Path, skipped_lines: list[SkippedLine] | None = None) -> dict[str, str]:
    """Texts by id of a queries file, plain or gzipped; bad lines are skipped and added to `skipped_lines`.

    Raises:
        DataError: The file cannot be read, or more than 1 % of its lines are bad.
    """
    return {query: text for query, text, _ in _parse_queries(path, [] if skipped_lines is None else skipped_lines)}


def find_unanswered_queries(folder: Path, dataset: Dataset, split: str) -> list[SkippedLine]:
    """Judged queries of a split without a relevant product, each with the line of its first judgment.

    Raises:
        DataError: They are more than 1 % of the split's queries.
    """
    qrels = dataset.qrels.get(split, {})
    unanswered = {query for query, grades in qrels.items() if max(grades.values()) <= 0}
    if not unanswered:
        return []
    path = _find_qrels(folder, split)[split]
    name = f"qrels/{path.name}"
    first_lines: dict[str, SkippedLine] = {}
    lines = enumerate(read_lines(path), start=1)
    columns = _parse_header(next(lines)[1], name)
    for number, line in lines:
        with suppress(_BadLineError):  # already reported
            query, _, _ = _parse_judgment(line, columns)
            if query in unanswered:
                first_lines.setdefault(query, SkippedLine(name, number, f"{query!r} has no relevant product"))
    skipped_lines = list(first_lines.values())
    if len(unanswered) > MAX_BAD_LINE_FRACTION * len(qrels):
        raise DataError(
            f"{len(unanswered)} of {len(qrels)} queries of {name} have no relevant product; at most 1 % may have none: "
            f"{'; '.join(map(str, skipped_lines[:3]))}. Judge a product above 0 for each of them, or remove them."
        )
    return skipped_lines


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a BEIR folder in the order of the dataset's dictionaries; the same dataset gives the same bytes."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl.gz").open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write(_to_json_lines(_product_record(product) for product in dataset.products.values()))
    queries = (_query_record(dataset, query) for query in dataset.queries)
    (folder / "queries.jsonl").write_bytes(_to_json_lines(queries))
    for split, qrels in dataset.qrels.items():
        rows = ["\t".join(QRELS_COLUMNS)]
        rows += [f"{query}\t{product}\t{grade}" for query, grades in qrels.items() for product, grade in grades.items()]
        (folder / "qrels" / f"{split}.tsv").write_bytes(("\n".join(rows) + "\n").encode())


def _product_record(product: Product) -> dict[str, Any]:
    record: dict[str, Any] = {"_id": product.id, "title": product.title, "text": product.text}
    return record | ({"metadata": dict(product.metadata)} if product.metadata else {})


def _query_record(dataset: Dataset, query: str) -> dict[str, Any]:
    metadata = dataset.query_metadata.get(query)
    return {"_id": query, "text": dataset.queries[query]} | ({"metadata": metadata} if metadata else {})


def _to_json_lines(records: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records).encode()


def _find_jsonl(folder: Path, name: str) -> Path | None:
    return find_plain_or_gzipped(folder, name, ".jsonl").get(name)


def _find_qrels(folder: Path, split: str) -> dict[str, Path]:
    return find_plain_or_gzipped(folder / "qrels", split, ".tsv")


def _add_queries(dataset: Dataset, folder: Path) -> None:
    path = _find_jsonl(folder, "queries")
    if path is None:
        return
    for query, text, metadata in _parse_queries(path, dataset.skipped_lines):
        dataset.queries[query] = text
        if metadata:
            dataset.query_metadata[query] = metadata


def _parse_queries(path: Path, skipped_lines: list[SkippedLine]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    seen: set[str] = set()

    def parse(line: bytes) -> tuple[str, str, dict[str, Any]]:
        record = _parse_record(line)
        query = _new_id(record, seen), _required_text(record, "text"), _optional_metadata(record)
        seen.add(query[0])
        return query

    return _parse_lines(path, path.name, parse, skipped_lines)


def _read_qrels(path: Path, dataset: Dataset) -> Qrels:
    qrels: Qrels = {}
    name = f"qrels/{path.name}"
    columns = _parse_header(next(read_lines(path), b""), name)

    def parse(line: bytes) -> tuple[str, str, int]:
        query, product, grade = _parse_judgment(line, columns)
        if query not in dataset.queries:
            raise _BadLineError(f"unknown query {query!r}")
        if product not in dataset.products:
            raise _BadLineError(f"unknown product {product!r}")
        if product in qrels.get(query, {}):
            raise _BadLineError(f"{product!r} is judged twice for {query!r}")
        return query, product, grade

    for query, product, grade in _parse_lines(path, name, parse, dataset.skipped_lines, header_lines=1):
        qrels.setdefault(query, {})[product] = grade
    return qrels


def _parse_header(header: bytes, name: str) -> list[int]:
    """Positions of the three columns; additional columns are ignored."""
    columns = header.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")
    if not set(QRELS_COLUMNS) <= set(columns):
        raise DataError(
            f"{name}:1: found the header {columns}. Expected {', '.join(QRELS_COLUMNS)}, separated by tabs. "
            "Fix the first line."
        )
    return [columns.index(column) for column in QRELS_COLUMNS]


def _parse_judgment(line: bytes, columns: list[int]) -> tuple[str, str, int]:
    cells = _decode_line(line).rstrip("\r\n").split("\t")
    if len(cells) <= max(columns):
        raise _BadLineError(f"{len(cells)} of {max(columns) + 1} columns")
    query, product, grade = (cells[column] for column in columns)
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", grade):
        raise _BadLineError(f"grade {grade!r} is not an integer")
    return query, product, int(grade)


def _parse_lines(
    path: Path, name: str, parse: Callable[[bytes], T], skipped_lines: list[SkippedLine], *, header_lines: int = 0
) -> Iterator[T]:
    """Parse every line that is not blank, record bad lines, and reject the file at its end if there were too many."""
    bad: list[SkippedLine] = []
    total = 0
    for number, line in islice(enumerate(read_lines(path), start=1), header_lines, None):
        if not line.strip():
            continue
        total += 1
        try:
            value = parse(line)
        except _BadLineError as error:
            bad.append(SkippedLine(name, number, str(error)))
            skipped_lines.append(bad[-1])
        else:
            yield value
    if len(bad) > MAX_BAD_LINE_FRACTION * total:
        raise DataError(
            f"{len(bad)} of {total} lines of {name} cannot be used; at most 1 % may be bad: "
            f"{'; '.join(map(str, bad[:3]))}. Fix or remove these lines, or name another file."
        )


def _decode_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _BadLineError(f"not UTF-8 (byte {error.start})") from error


def _parse_record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(_decode_line(line))
    except (ValueError, RecursionError) as error:
        raise _BadLineError(f"not JSON ({error})") from error
    if not isinstance(record, dict):
        raise _BadLineError("not a JSON object")
    if b"\\u" in line and re.search("[\ud800-\udfff]", json.dumps(record, ensure_ascii=False)):
        raise _BadLineError("contains a lone surrogate")
    return record


def _new_id(record: dict[str, Any], seen: Container[str]) -> str:
    """The id, a string or an integer, if it is new and can be written in a line of qrels."""
    value = record.get("_id")
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise _BadLineError("no _id")
    name = str(value)
    if re.search(r"[\t\r\n]", name):
        raise _BadLineError("a tab or line break in _id")
    if name in seen:
        raise _BadLineError(f"duplicate id {name!r}")
    return name


def _required_text(record: dict[str, Any], key: str) -> str:
    value = _optional_text(record, key)
    if not value.strip():
        raise _BadLineError(f"no {key}")
    return value


def _has_content(value: object) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def _optional_text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadLineError(f"{key} is not a string")
    return value


def _optional_metadata(record: dict[str, Any]) -> dict[str, Any]:
    value = record.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _BadLineError("metadata is not an object")
    return value
