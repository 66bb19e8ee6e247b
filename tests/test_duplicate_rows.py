"""Several rows of one id: no file loses a row in silence, whatever its format, and a copy is read in one go."""

import csv
import gzip
import io
import json
import os
import threading
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from anthem_core.errors import DataError
from anthem_ingest import duplicates, product_files
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.duplicates import IdHashes, check_product_file, join_rows, merge_rows
from anthem_ingest.product_files import locate_product_file, make_rereadable

SHOPIFY = """Handle,Title,Option1 Value,Variant SKU,Variant Price,Image Src
d1,Red shirt,S,d1-s,9.99,1.jpg
d1,,M,d1-m,9.99,2.jpg
d1,,,,,3.jpg
d2,Blue shirt,,d2,5.00,4.jpg
"""
PRODUCTS = [{"id": "d1", "title": "a"}, {"id": "d2", "title": "b"}, {"id": "d1", "brand": "c"}, {"id": "d3"}]


def write_products(folder, file_format, rows=PRODUCTS):
    """Rows in a file of a format; returns its path."""
    path, columns = folder / f"shop.{file_format}", ["id", "title", "brand"]
    if file_format == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in columns])), path)
    elif file_format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, delimiter="\t" if file_format == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue())
    return path


def check(path, on_duplicate=None, fields=("title",), **options):
    """The products of a file, checked, in a list."""
    checked = check_product_file(locate_product_file(path, **options), fields, lambda _: None, on_duplicate)
    return checked, list(checked.documents)


@pytest.mark.parametrize(
    ("file_format", "places"),
    [
        ("jsonl", "lines 1 and 3"),
        ("csv", "lines 2 and 4"),
        ("tsv", "lines 2 and 4"),
        ("parquet", "rows 1 and 3"),
    ],
)
def test_several_rows_of_an_id_are_refused(tmp_path, file_format, places):
    """The message has the count, an example with its lines, and the options."""
    path = write_products(tmp_path, file_format)
    with pytest.raises(DataError, match=rf"1 id has several rows, 2 in all: 'd1' in {places}.*--on-duplicate merge"):
        check(path)


def test_two_examples_are_named(tmp_path):
    """Of many ids with several rows, the first two are named."""
    rows = [{"id": f"p{number % 40}", "title": "sofa"} for number in range(100)]
    with pytest.raises(DataError, match=r"40 ids have several rows, 100 in all: 'p0' in lines 1 and 41, 'p1' in lines"):
        check(write_products(tmp_path, "jsonl", rows))


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "tsv", "parquet"])
def test_rows_are_merged_or_the_last_is_kept(tmp_path, file_format):
    """Merged, the product has the fields of both rows, otherwise those of the last; its place is that of the last."""
    path = write_products(tmp_path, file_format)
    checked, merged = check(path, "merge")
    assert [product.id for product in merged] == ["d2", "d1", "d3"]
    assert merged[1].source == {"id": "d1", "title": "a", "brand": "c"}
    assert (checked.total, checked.joined_rows) == (3, 1)
    path = write_products(tmp_path, file_format, [*PRODUCTS, {"id": "d1", "title": "e"}])
    assert check(path, "last")[1][2].source == {"id": "d1", "title": "e"}


def test_the_last_row_must_have_the_texts_of_the_others(tmp_path):
    """A file whose last rows would drop a text is refused, with the number of ids; a text of no row is no loss."""
    rows = [
        {"id": name, "title": title} for name, title in zip("aabbccd", ["x", "", "x", "y", "", "x", ""], strict=True)
    ]
    rows += [{"id": "d", "brand": "z"}, {"id": "e", "brand": "z"}, {"id": "e", "title": "x"}, {"id": "e"}]
    path = write_products(tmp_path, "csv", rows)
    with pytest.raises(
        DataError, match=r"2 ids, such as 'a', 'e': the last row has no text in title.*--on-duplicate merge"
    ):
        check(path, "last")
    assert len(check(path, "merge")[1]) == 5


def test_numbers_and_text_are_the_same_id(tmp_path):
    """OpenSearch has only text ids, so 7 and "7" are one product."""
    (tmp_path / "shop.jsonl").write_text('{"id": 7, "title": "a"}\n{"_id": "7", "title": "b"}\n')
    with pytest.raises(DataError, match="1 id has several rows"):
        check(tmp_path / "shop.jsonl")


def test_a_shopify_export_becomes_one_product_per_handle(tmp_path):
    """The title comes from the row that has one; what differs between variants and images becomes a list."""
    (tmp_path / "shopify.csv").write_text(SHOPIFY)
    options = {"id_field": "Handle", "fields": ("Title",)}
    with pytest.raises(DataError, match=r"1 id has several rows, 3 in all: 'd1' in lines 2 and 3"):
        check(tmp_path / "shopify.csv", **options)
    first, second = check(tmp_path / "shopify.csv", "merge", **options)[1]
    expected = {"Handle": "d1", "Title": "Red shirt", "Option1 Value": ["S", "M"], "Variant SKU": ["d1-s", "d1-m"]}
    assert first.source == expected | {"Variant Price": "9.99", "Image Src": ["1.jpg", "2.jpg", "3.jpg"]}
    assert second.source["Title"] == "Blue shirt"


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)))))
def test_merging_loses_no_value(rows):
    """Each id has one product, with exactly the values of its rows, in their order and without repetition."""
    documents = [ProductDocument(name, source) for name, source in rows]
    hashes = IdHashes()
    read = list(hashes.watch(documents))
    merged = list(join_rows(read, hashes.find_repeated(), merge_rows))
    assert sorted(product.id for product in merged) == sorted({name for name, _ in rows})
    for product in merged:
        for key in "xyz":
            values = list(dict.fromkeys(source[key] for name, source in rows if name == product.id and key in source))
            assert product.source.get(key, []) == (values if len(values) != 1 else values[0])


def test_lists_and_objects_are_merged():
    """Lists are concatenated, objects listed, and equal values stay as they are."""
    first = ProductDocument("1", {"tags": ["a", "b"], "brand": {"name": "x"}, "sizes": [1, 1]}, "tenant")
    second = ProductDocument("1", {"tags": ["b", "c"], "brand": {"name": "y"}, "sizes": [1, 1], "new": 5}, "tenant")
    expected = {"tags": ["a", "b", "c"], "brand": [{"name": "x"}, {"name": "y"}], "sizes": [1, 1], "new": 5}
    assert merge_rows(first, second) == ProductDocument("1", expected, "tenant")


JSON_VALUES = [0, False, 1, True, 1.0, "1", None, "", {}, [], [0], [False], {"a": 0}, {"a": False}, {"a": 0.0}]


@given(st.sampled_from(JSON_VALUES), st.sampled_from(JSON_VALUES))
def test_values_of_different_types_are_different(first, second):
    """`false` is not 0, at any depth; `1` and `1.0` are the same number; and an empty value gives way to another."""
    merged = merge_rows(ProductDocument("1", {"v": first}), ProductDocument("1", {"v": second})).source["v"]
    types = {json.dumps(value).replace(".0", "") for value in (first, second)}
    filled = [value for value in (first, second) if json.dumps(value) not in ("null", '""', "{}", "[]")]
    if len(types) == 1 or len(filled) < 2:
        assert json.dumps(merged) == json.dumps((filled or [first])[0])
    else:
        parts = [item for value in filled for item in (value if isinstance(value, list) else [value])]
        assert {json.dumps(item).replace(".0", "") for item in merged} == {
            json.dumps(item).replace(".0", "") for item in parts
        }


def test_products_of_several_routings_stay_apart(tmp_path):
    """An id of two tenants is refused, because a shard can hold it once; one tenant's rows are joined."""
    lines = [{"_id": "1", "_routing": tenant, "title": f"sofa {tenant}"} for tenant in ("a", "b", "a")]
    path = tmp_path / "dump.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for choice in (None, "merge", "last"):
        with pytest.raises(DataError, match=r"1 id with rows of different routings, such as '1'"):
            check(path, choice)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[::2]))
    assert [(product.id, product.routing) for product in check(path, "merge")[1]] == [("1", "a")]


def test_equal_hashes_are_not_equal_ids(tmp_path, monkeypatch):
    """Ids that share their hash are neither refused nor joined."""
    monkeypatch.setattr(duplicates, "hash", lambda _: 7, raising=False)
    rows = [{"id": "a", "title": "x"}, {"id": "b", "title": "y"}]
    path = write_products(tmp_path, "jsonl", rows)
    for choice in (None, "merge", "last"):
        assert [product.source for product in check(path, choice)[1]] == rows


def test_a_file_that_shrinks_loses_no_product():
    """Rows that wait for another one, which the file no longer has, are written all the same."""
    hashes = IdHashes()
    documents = [ProductDocument("a", {"x": 1}), ProductDocument("a", {"x": 2})]
    list(hashes.watch(documents))
    assert list(join_rows(documents[:1], hashes.find_repeated(), merge_rows)) == documents[:1]


def test_memory_is_a_few_bytes_per_id():
    """A million ids take about 8 MB, not their text."""
    hashes = IdHashes()
    tracemalloc.start()
    for _ in hashes.watch(ProductDocument(f"product-{number}", {}) for number in range(200_000)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
    assert len(hashes.find_repeated().hashes) == 0
    assert np.all(np.diff(hashes.find_repeated().hashes) > 0)


@pytest.mark.parametrize("is_gzipped", [False, True])
def test_a_pipe_is_copied_and_read_twice(tmp_path, is_gzipped):
    """What a pipe delivers is checked as a whole before its first product is returned."""
    content = write_products(tmp_path, "csv").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    data = gzip.compress(content) if is_gzipped else content
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    with make_rereadable(locate_product_file(tmp_path / "pipe", "csv")) as file:
        writer.join()
        assert file.name == "pipe"
        with pytest.raises(DataError, match="'d1' in lines 2 and 4"):
            check_product_file(file, ("title",), print)
        assert len(list(check_product_file(file, ("title",), print, "merge").documents)) == 3


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    """If there is no room for the copy of a stream, the message names the folder and what to do."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"id,title\n" * 10,))
    writer.start()
    monkeypatch.setattr(product_files, "TemporaryFile", partial(Path("/dev/full").open, "wb", buffering=0))
    refused = pytest.raises(DataError, match=r"pipe cannot be copied to .*No space left.*TMPDIR")
    with refused, make_rereadable(locate_product_file(tmp_path / "pipe", "csv")):
        pytest.fail("an incomplete copy is not read")
    writer.join()


@pytest.mark.node
def test_nothing_is_written_from_a_file_with_several_rows_of_an_id(client, cluster, index, tmp_path):
    """Standard input is refused as a file is, before the index is created; with `merge` each handle is one product."""
    command = [index, "--corpus", "-", "--format", "csv", "--id", "Handle", "--field", "Title", "--url", cluster]
    command += ["--dead-letter", str(tmp_path / "dead")]
    refused = CliRunner().invoke(ingest, command, input=SHOPIFY)
    assert (refused.exit_code, client.indices.exists(index=index)) == (4, False)
    assert "standard input: 1 id has several rows, 3 in all: 'd1' in lines 2 and 3" in refused.stderr
    merged = CliRunner().invoke(ingest, [*command, "--on-duplicate", "merge", "--json"], input=SHOPIFY)
    assert merged.exit_code == 0, merged.stderr
    assert json.loads(merged.stdout)["written"] == 2
    assert "2 rows joined with others of the same id" in merged.stderr
    source = client.get(index=index, id="d1")["_source"]
    assert (source["Title"], source["Variant SKU"]) == ("Red shirt", ["d1-s", "d1-m"])
    last = CliRunner().invoke(ingest, [*command, "--on-duplicate", "last"], input=SHOPIFY)
    assert (last.exit_code, "--on-duplicate last would lose this text" in last.stderr) == (4, True)
    assert client.get(index=index, id="d1")["_source"] == source
