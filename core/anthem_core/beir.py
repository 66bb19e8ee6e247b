"""BEIR folders: products, queries and judgments as files, read with their faults counted, written to the same bytes.

```
corpus.jsonl[.gz]    {"_id": "p1", "title": "...", "text": "...", "metadata": {...}}
queries.jsonl[.gz]   {"_id": "q1", "text": "...", "metadata": {...}}
qrels/<split>.tsv    query-id <tab> corpus-id <tab> score, under a header of these names
```
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

T = TypeVar("T")
Qrels: TypeAlias = dict[str, dict[str, int]]  # query id -> product id -> grade

MAX_BAD_LINE_FRACTION = 0.01  # of a file's lines; beyond it the file is the wrong one rather than a little damaged
QRELS_COLUMNS = ("query-id", "corpus-id", "score")


@dataclass(frozen=True, slots=True)
class Product:
    """One product; only its title is needed."""

    id: str
    title: str
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """One line that could not be used and was skipped."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A BEIR folder as a value: products, query texts, judgments by split, and the lines that were skipped."""

    products: dict[str, Product]
    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, Qrels] = field(default_factory=dict)
    problems: list[SkippedLine] = field(default_factory=list)
    query_metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


class _BadLineError(Exception):
    """Why one line cannot be used."""


def read_dataset(folder: Path, split: str | None = None) -> Dataset:
    """Read a BEIR folder, with all its splits or with one; a corpus alone, without queries and qrels, is fine.

    Raises:
        DataError: The folder or its corpus is missing, a file cannot be read, or more than 1 % of its lines are bad.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; wanted a BEIR folder with corpus.jsonl or corpus.jsonl.gz in it.")
    dataset = Dataset({})
    dataset.products.update((product.id, product) for product in read_products(find_corpus(folder), dataset.problems))
    _add_queries(dataset, folder)
    for path in sorted((folder / "qrels").glob(f"{split or '*'}.tsv")):
        dataset.qrels[path.stem] = _read_qrels(path, dataset)
    return dataset


def find_corpus(folder: Path) -> Path:
    """Corpus file of a BEIR folder, plain or gzipped.

    Raises:
        DataError: The folder has none, or both.
    """
    corpus = _find_jsonl(folder, "corpus")
    if corpus is None:
        raise DataError(f"No corpus.jsonl or corpus.jsonl.gz in {folder}; put one there or name the right folder.")
    return corpus


def read_products(path: Path, problems: list[SkippedLine] | None = None) -> Iterator[Product]:
    """Stream the products of one corpus file, plain or gzipped; bad lines are skipped and added to `problems`.

    Raises:
        DataError: The file cannot be read or, known at its end, more than 1 % of its lines are bad.
    """
    seen: set[str] = set()

    def parse(line: bytes) -> Product:
        record = _parse_record(line)
        product = Product(
            _new_id(record, seen),
            _required_text(record, "title"),
            _optional_text(record, "text"),
            _optional_metadata(record),
        )
        seen.add(product.id)
        return product

    return _parse_lines(path, path.name, parse, [] if problems is None else problems)


def find_unanswered_queries(folder: Path, dataset: Dataset, split: str) -> list[SkippedLine]:
    """Judged queries of a split without a relevant product, each where its first judgment stands.

    Raises:
        DataError: They are more than 1 % of the split's queries.
    """
    judged = dataset.qrels.get(split, {})
    lacking = {query for query, grades in judged.items() if max(grades.values()) <= 0}
    if not lacking:
        return []
    name = f"qrels/{split}.tsv"
    found: dict[str, SkippedLine] = {}
    lines = enumerate(_read_lines(folder / name), start=1)
    columns = _parse_header(next(lines)[1], name)
    for number, line in lines:
        with suppress(_BadLineError):  # already told
            query, _, _ = _parse_judgment(line, columns)
            if query in lacking:
                found.setdefault(query, SkippedLine(name, number, f"{query!r} has no relevant product"))
    problems = list(found.values())
    if len(lacking) > MAX_BAD_LINE_FRACTION * len(judged):
        raise DataError(
            f"{len(lacking)} of {len(judged)} queries of {name} have no relevant product, at most 1 % may: "
            f"{'; '.join(map(str, problems[:3]))}. Judge a product above 0 for each, or remove them."
        )
    return problems


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a BEIR folder: the same dataset gives the same bytes, in the order of its dictionaries."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl.gz").open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write(_to_json_lines(_product_record(product) for product in dataset.products.values()))
    queries = (_query_record(dataset, query) for query in dataset.queries)
    (folder / "queries.jsonl").write_bytes(_to_json_lines(queries))
    for split, qrels in dataset.qrels.items():
        rows = ["\t".join(QRELS_COLUMNS)]
        rows += [f"{query}\t{product}\t{grade}" for query, judged in qrels.items() for product, grade in judged.items()]
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
    found = [path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file()]
    if len(found) > 1:
        raise DataError(f"Both {found[0].name} and {found[1].name} are in {folder}; keep the one that is meant.")
    return found[0] if found else None


def _add_queries(dataset: Dataset, folder: Path) -> None:
    def parse(line: bytes) -> tuple[str, str, dict[str, Any]]:
        record = _parse_record(line)
        return _new_id(record, dataset.queries), _required_text(record, "text"), _optional_metadata(record)

    path = _find_jsonl(folder, "queries")
    if path is None:
        return
    for query, text, metadata in _parse_lines(path, path.name, parse, dataset.problems):
        dataset.queries[query] = text
        if metadata:
            dataset.query_metadata[query] = metadata


def _read_qrels(path: Path, dataset: Dataset) -> Qrels:
    qrels: Qrels = {}
    name = f"qrels/{path.name}"
    columns = _parse_header(next(_read_lines(path), b""), name)

    def parse(line: bytes) -> tuple[str, str, int]:
        query, product, grade = _parse_judgment(line, columns)
        if query not in dataset.queries:
            raise _BadLineError(f"unknown query {query!r}")
        if product not in dataset.products:
            raise _BadLineError(f"unknown product {product!r}")
        if product in qrels.get(query, {}):
            raise _BadLineError(f"{product!r} is judged twice for {query!r}")
        return query, product, grade

    for query, product, grade in _parse_lines(path, name, parse, dataset.problems, header=1):
        qrels.setdefault(query, {})[product] = grade
    return qrels


def _parse_header(header: bytes, name: str) -> list[int]:
    """Where the three columns stand; others beside them are left alone."""
    found = header.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")
    if not set(QRELS_COLUMNS) <= set(found):
        raise DataError(
            f"{name}:1: found {found}; wanted a header line of {', '.join(QRELS_COLUMNS)} with tabs between."
        )
    return [found.index(column) for column in QRELS_COLUMNS]


def _parse_judgment(line: bytes, columns: list[int]) -> tuple[str, str, int]:
    cells = _decode_line(line).rstrip("\r\n").split("\t")
    if len(cells) <= max(columns):
        raise _BadLineError(f"{len(cells)} of {max(columns) + 1} columns")
    query, product, grade = (cells[column] for column in columns)
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", grade):
        raise _BadLineError(f"grade {grade!r} is no integer")
    return query, product, int(grade)


def _parse_lines(
    path: Path, name: str, parse: Callable[[bytes], T], problems: list[SkippedLine], *, header: int = 0
) -> Iterator[T]:
    """Parse each line that is not blank, note those that cannot be, and judge the file at its end."""
    bad: list[SkippedLine] = []
    total = 0
    for number, line in islice(enumerate(_read_lines(path), start=1), header, None):
        if not line.strip():
            continue
        total += 1
        try:
            value = parse(line)
        except _BadLineError as error:
            bad.append(SkippedLine(name, number, str(error)))
            problems.append(bad[-1])
        else:
            yield value
    if len(bad) > MAX_BAD_LINE_FRACTION * total:
        raise DataError(
            f"{len(bad)} of {total} lines of {name} cannot be used, at most 1 % may be: "
            f"{'; '.join(map(str, bad[:3]))}. Mend or remove these lines, or name another file."
        )


def _read_lines(path: Path) -> Iterator[bytes]:
    """Lines as bytes: they end at a line feed and nowhere else, so U+2028 and its kin stay inside."""
    try:
        with _open(path) as file:
            yield file.readline().removeprefix(BOM_UTF8)
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch or write it anew.") from error


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


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
        raise _BadLineError("half a surrogate pair")
    return record


def _new_id(record: dict[str, Any], seen: Container[str]) -> str:
    """Return the id, a string or an integer, where it is new and a line of qrels can hold it."""
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


def _optional_text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadLineError(f"{key} is no string")
    return value


def _optional_metadata(record: dict[str, Any]) -> dict[str, Any]:
    value = record.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _BadLineError("metadata is no object")
    return value
