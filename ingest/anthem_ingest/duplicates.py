"""Several rows of one id in a file: found before anything is written, then refused, merged, or reduced to the last."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.console import count_of
from anthem_core.errors import DataError
from anthem_core.opensearch.schema import product_text
from anthem_ingest.actions import FieldWatch, shorten_id
from anthem_ingest.json_values import is_empty_value, value_key
from anthem_ingest.product_files import read_numbered_products, read_product_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from anthem_core.beir import SkippedLine
    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.product_files import ProductFile

EXAMPLES = 2
WATCHED_IDS = 16  # ids among which examples are looked for: almost all of them occur again


@dataclass(frozen=True)
class CheckedProducts:
    """The products of a file, checked.

    Attributes:
        total: Number of products.
        documents: The products.
        joined_rows: Rows that were joined with others of their id.
        missing_fields: Text fields in which no product has text; only partial products may lack some.
        padded_ids: Ids that begin or end with a space; the first of them is in `padded_example`.
        padded_example: One of them.
        unused_ids: Rows whose `_id` is not their id and is lost; that of the first is in `unused_example`.
        unused_example: One of these.
    """

    total: int
    documents: Iterator[ProductDocument]
    joined_rows: int = 0
    missing_fields: tuple[str, ...] = ()
    padded_ids: int = 0
    padded_example: str = ""
    unused_ids: int = 0
    unused_example: str = ""

    def describe_oddities(self) -> Iterator[str]:
        """What a user should know about the rows before they are loaded."""
        if self.joined_rows:
            yield f"{count_of(self.joined_rows, 'row')} joined with others of the same id"
        if self.padded_ids:
            yield (
                f"{count_of(self.padded_ids, 'id')} with a leading or trailing space, such as {self.padded_example!r}; "
                "OpenSearch keeps it: the same id without it is another product"
            )
        if self.unused_ids:
            yield (
                f"{count_of(self.unused_ids, 'row')} with a value in _id, such as {self.unused_example!r}, which is "
                "not kept: --id names another field, and OpenSearch allows no field _id; to keep it, rename it"
            )


class IdHashes:
    """Hashes of the ids of a file, eight bytes each; two different ids may have the same hash, though hardly ever."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self.padded, self.padded_example = 0, ""  # ids with a space at one of their ends
        self.unused, self.unused_example = 0, ""  # values of `_id` that are not the id

    def watch(self, documents: Iterable[ProductDocument]) -> Iterator[ProductDocument]:
        """The same documents, while their ids are recorded."""
        for document in documents:
            self._hashes.append(hash(document.id))
            if document.id != document.id.strip():
                self.padded += 1
                self.padded_example = self.padded_example or document.id
            if document.unused_id is not None:
                self.unused += 1
                self.unused_example = self.unused_example or document.unused_id
            yield document

    def find_repeated(self) -> RepeatedHashes:
        """The hashes that occurred more than once."""
        hashes, counts = np.unique(np.frombuffer(self._hashes, np.int64), return_counts=True)
        return RepeatedHashes(hashes[counts > 1], counts[counts > 1])


@dataclass(frozen=True)
class RepeatedHashes:
    """Hashes that occur more than once, in ascending order, and how often each does."""

    hashes: NDArray[np.int64]
    counts: NDArray[np.int64]

    def find(self, product_id: str) -> int | None:
        """Place of an id's hash; None if it occurs once."""
        place = int(np.searchsorted(self.hashes, hash(product_id)))
        return place if place < len(self.hashes) and self.hashes[place] == hash(product_id) else None


def _no_check(documents: Iterable[ProductDocument]) -> Iterable[ProductDocument]:
    return documents


def check_product_file(
    file: ProductFile,
    text_fields: Sequence[str],
    report_skipped: Callable[[SkippedLine], object],
    on_duplicate: str | None = None,
    check: Callable[[Iterable[ProductDocument]], Iterable[ProductDocument]] = _no_check,
    *,
    partial: bool = False,
    recorded: Collection[str] = (),
) -> CheckedProducts:
    """Check all products of a file, which is then read once more for its products, one of each id.

    Of several rows of an id, `merge` makes one product and `last` keeps the last one. `check` is a further check; it
    returns the same products. Only `partial` products may all lack a text field; all may be without text in a field
    that they have and that is `recorded`, because the index was ingested from it.

    Raises:
        DataError: The file cannot be read or has no products, a text field has no text in it, an id has several rows
            and `on_duplicate` is None, rows of one id have different routings, or the last row of an id lacks a text
            that would be lost.
    """
    ids, fields = IdHashes(), FieldWatch(text_fields)
    fields.watch(ids.watch(check(read_product_file(file, report_skipped, fields.watch_record))))
    if not fields.count:
        raise DataError(f"{file.name} has no products: it is empty, or has a header only. Expected at least one row.")
    if not partial:
        fields.check(file.name, recorded)
    repeated = ids.find_repeated()
    documents = read_product_file(file, _ignore)
    checked = CheckedProducts(
        fields.count,
        documents,
        missing_fields=tuple(fields.missing),
        padded_ids=ids.padded,
        padded_example=ids.padded_example,
        unused_ids=ids.unused,
        unused_example=ids.unused_example,
    )
    if not len(repeated.hashes):
        return checked
    if on_duplicate is None:
        _check_joined_rows(file, repeated, ())  # `merge` and `last`, which the next message names, would not do
        _refuse_repeated_ids(file, repeated)
        return checked
    joined = int(repeated.counts.sum()) - len(repeated.counts)
    join = merge_rows if on_duplicate == "merge" else _keep_last
    _check_joined_rows(file, repeated, () if on_duplicate == "merge" else text_fields)
    documents = join_rows(documents, repeated, join)
    return replace(checked, total=checked.total - joined, documents=documents, joined_rows=joined)


def join_rows(
    documents: Iterable[ProductDocument],
    repeated: RepeatedHashes,
    join: Callable[[ProductDocument, ProductDocument], ProductDocument],
) -> Iterator[ProductDocument]:
    """One document for all rows of an id and routing, in place of the last one.

    Memory is needed for the ids of which some rows were read and others not yet.
    """
    remaining = repeated.counts.copy()
    pending: dict[int, dict[tuple[str, str | None], ProductDocument]] = {}
    for document in documents:
        place = repeated.find(document.id)
        if place is None:
            yield document
            continue
        rows = pending.setdefault(place, {})
        rows[document.key] = join(rows[document.key], document) if document.key in rows else document
        remaining[place] -= 1
        if remaining[place] == 0:
            yield from pending.pop(place).values()
    for rows in pending.values():  # the file has lost rows since it was checked
        yield from rows.values()


def merge_rows(first: ProductDocument, second: ProductDocument) -> ProductDocument:
    """Document with the fields of both; a field with different values becomes the list of them, in their order.

    An empty value, such as null, gives way to any other.
    """
    source = dict(first.source)
    for name, value in second.source.items():
        source[name] = _merge_values(source[name], value) if name in source else value
    return replace(first, source=source)


def _merge_values(first: Any, second: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if is_empty_value(second) or value_key(first) == value_key(second):
        return first
    if is_empty_value(first):
        return second
    values = first if isinstance(first, list) else [first]
    added = second if isinstance(second, list) else [second]
    known = {value_key(value) for value in values}
    return [*values, *(value for value in added if value_key(value) not in known)]


def _keep_last(_: ProductDocument, second: ProductDocument) -> ProductDocument:
    return second


def _check_joined_rows(file: ProductFile, repeated: RepeatedHashes, text_fields: Sequence[str]) -> None:
    """Raise a DataError if rows of one id differ in their routings, or a last row lacks one of these texts."""
    last_rows = join_rows(read_product_file(file, _ignore), repeated, _keep_last)
    merged_rows = join_rows(read_product_file(file, _ignore), repeated, merge_rows)
    routings: dict[str, str | None] = {}
    several, lacking = list[str](), list[str]()
    for last, merged in zip_longest(last_rows, merged_rows):  # reads both files to their ends
        if last is None or merged is None or repeated.find(last.id) is None:
            continue
        if routings.setdefault(last.id, last.routing) != last.routing:
            several.append(last.id)
        lost = (name for name in text_fields if not product_text(last.source, [name]))
        if any(product_text(merged.source, [name]) for name in lost):
            lacking.append(last.id)
    if several:
        raise _several_routings(file, several)
    if lacking:
        raise _texts_lost(file, lacking, text_fields)


def _several_routings(file: ProductFile, ids: Sequence[str]) -> DataError:
    return DataError(
        f"{file.name}: {count_of(len(ids), 'id')} with rows of different routings, such as {_examples(ids)}. A shard "
        "holds an id only once, so one of these products could replace the other; nothing was written. Make the ids "
        "unique, for example with the tenant as a prefix (tenant-id), or load the rows of each routing into an index "
        "of its own."
    )


def _texts_lost(file: ProductFile, ids: Sequence[str], text_fields: Sequence[str]) -> DataError:
    return DataError(
        f"{file.name}: {count_of(len(ids), 'id')}, such as {_examples(ids)}: the last row has no text in "
        f"{' or '.join(text_fields)}, but an earlier row of the same id has. --on-duplicate last would lose this "
        "text; nothing was written. Use --on-duplicate merge, which keeps the values of all rows, or repeat the text "
        "in the last row."
    )


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(repr(shorten_id(name)) for name in ids[:EXAMPLES])


def _ignore(_: SkippedLine) -> None:
    """The line was reported when the file was checked."""


def _refuse_repeated_ids(file: ProductFile, repeated: RepeatedHashes) -> None:
    """Raise a DataError with two examples, unless the ids only share their hashes."""
    unit = "rows" if file.format == "parquet" else "lines"
    examples = [
        f"{shorten_id(name)!r} in {unit} {first} and {second}" for name, first, second in _find_examples(file, repeated)
    ]
    if not examples:
        return
    number = len(repeated.hashes)
    ids = f"{number} ids have" if number > 1 else "1 id has"
    raise DataError(
        f"{file.name}: {ids} several rows, {int(repeated.counts.sum())} in all: {', '.join(examples)}. Each row would "
        "replace the one before. Expected one row per product; nothing was written. Use --on-duplicate merge to make "
        "one product of all rows of an id, --on-duplicate last to keep its last row, or name another column with --id."
    )


def _find_examples(file: ProductFile, repeated: RepeatedHashes) -> list[tuple[str, int, int]]:
    """Up to two ids with the numbers of their first two rows."""
    first_rows: dict[str, int] = {}
    examples: dict[str, tuple[str, int, int]] = {}
    for number, document in read_numbered_products(file, _ignore):
        name = document.id
        if repeated.find(name) is None or name in examples:
            continue
        if name in first_rows:
            examples[name] = name, first_rows[name], number
            if len(examples) == EXAMPLES:
                break
        elif len(first_rows) < WATCHED_IDS:
            first_rows[name] = number
    return list(examples.values())
