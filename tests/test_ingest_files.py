"""Reading products from files of every format, and loading them on a real node."""

import csv
import gzip
import io
import json
import tracemalloc
import warnings
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.product_files import locate_product_file, read_product_file
from anthem_ingest.report import IngestFailure

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

cells = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12).map(str.strip)
rows = st.lists(st.fixed_dictionaries({"id": st.integers(0).map(str), "title": cells, "brand": cells}), max_size=8)


def write_table(path, table, file_format):
    """Write rows in a format; returns the path."""
    columns = ["id", "title", "brand"]
    if file_format == "parquet":
        parquet.write_table(pa.Table.from_pylist(table, pa.schema([(name, pa.string()) for name in columns])), path)
        return path
    if file_format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
        return path
    dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if file_format == "tsv" else {}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, **dialect)
    writer.writeheader()
    writer.writerows(table)
    path.write_bytes(text.getvalue().encode("utf-8-sig"))
    return path


def read(path):
    """Products and skipped lines of a file."""
    skipped = []
    return list(read_product_file(locate_product_file(path), skipped.append)), skipped


@given(rows, st.booleans())
@pytest.mark.parametrize("file_format", ["jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_products(tmp_path_factory, file_format, table, is_gzipped):
    """A table reads the same from every format, plain or gzipped, as its name suggests; empty cells are no values."""
    path = write_table(tmp_path_factory.mktemp("files") / f"products.{file_format}", table, file_format)
    if is_gzipped and file_format != "parquet":
        content, path = path.read_bytes(), path.with_name(f"PRODUCTS.{file_format.upper()}.GZ")
        path.write_bytes(gzip.compress(content))
    expected = [ProductDocument(row["id"], {key: value for key, value in row.items() if value}) for row in table]
    assert read(path) == (expected, [])


def test_parquet_values_become_json(tmp_path):
    """Lists, objects, dates and decimals keep their meaning; NaN is omitted."""
    row = {"id": 7, "title": "sofa", "sizes": ["s", None], "brand": {"name": "Acme"}, "price": Decimal("9.50")}
    row |= {"made": datetime(2026, 1, 2, tzinfo=UTC), "rank": float("nan")}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "products.parquet")
    ((product,), skipped) = read(tmp_path / "products.parquet")
    assert not skipped
    assert product.id == "7"
    expected = {"id": 7, "title": "sofa", "sizes": ["s", None], "brand": {"name": "Acme"}, "price": 9.5}
    assert product.source == expected | {"made": "2026-01-02T00:00:00+00:00"}


def test_parquet_decimals_stay_exact(tmp_path):
    """A decimal of scale 0 becomes an integer, also as an id; any other a float, or text if a float would round it."""
    whole, price = pa.decimal128(38, 0), pa.decimal128(20, 2)
    columns = {"id": pa.array([Decimal(101), Decimal(102)], whole), "title": ["sofa", "lamp"]}
    columns["gtin"] = pa.array([Decimal(94006381333931123456), Decimal(94006381333931123457)], whole)
    columns["price"] = pa.array([Decimal("12345678901234567.89"), Decimal("0.10")], price)
    parquet.write_table(pa.table(columns), tmp_path / "products.parquet")
    (sofa, lamp), _ = read(tmp_path / "products.parquet")
    assert (sofa.id, lamp.id, sofa.source["id"]) == ("101", "102", 101)
    assert (sofa.source["gtin"], lamp.source["gtin"]) == (94006381333931123456, 94006381333931123457)
    assert (sofa.source["price"], lamp.source["price"]) == ("12345678901234567.89", 0.1)


def test_parquet_maps_become_objects(tmp_path):
    """A map of texts is an object; keys that are no texts, or occur twice, stay values of a list."""
    texts, numbers = pa.map_(pa.string(), pa.int64()), pa.map_(pa.int64(), pa.string())
    columns = {"id": [1, 2], "size": pa.array([[("a", 1), ("b", 2)], [("a", 1), ("a", 2)]], texts)}
    columns["parts"] = pa.array([[(1, "x")], None], numbers)
    parquet.write_table(pa.table(columns), tmp_path / "products.parquet")
    (first, second), _ = read(tmp_path / "products.parquet")
    assert first.source == {"id": 1, "size": {"a": 1, "b": 2}, "parts": [{"key": 1, "value": "x"}]}
    assert second.source == {"id": 2, "size": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]}
    parquet.write_table(pa.table({"id": [1], "size": pa.array([[]], texts)}), tmp_path / "empty.parquet")
    ((product,), _) = read(tmp_path / "empty.parquet")
    assert product.source == {"id": 1}, "an empty map is an empty object, which counts as no value"


def test_parquet_columns_without_a_name(tmp_path):
    """As in CSV, the first is an index; a value in another one makes its row bad."""
    parquet.write_table(pa.table({"": [0, 1], "id": [1, 2]}), tmp_path / "index.parquet")
    assert [product.source for product in read(tmp_path / "index.parquet")[0]] == [{"id": 1}, {"id": 2}]
    parquet.write_table(pa.table({"id": [1, 2], " ": [None, "junk"]}), tmp_path / "late.parquet")
    (product,), (skipped,) = read(tmp_path / "late.parquet")
    assert (product.source, skipped.reason) == ({"id": 1}, "a field without a name; give it one, or remove it")


def test_an_infinite_number_makes_its_row_bad(tmp_path):
    """JSON cannot represent infinity, so the row is bad; NaN in Parquet is a missing value."""
    column = [1.5, float("inf"), float("nan")]
    parquet.write_table(pa.table({"id": [1, 2, 3], "price": column}), tmp_path / "products.parquet")
    products, (skipped,) = read(tmp_path / "products.parquet")
    assert [product.source for product in products] == [{"id": 1, "price": 1.5}, {"id": 3}]
    assert (skipped.line, skipped.reason[:32]) == (2, "price is infinite or too large; ")


@pytest.mark.parametrize(
    "line", [b"{broken", b"[1]", b'{"title": "no id"}', b'{"id": true}', b'{"id": 1, "t": "\\ud800"}', b'{"id":"\xff"}',
             b'{"id": 1, "price": NaN}']
)  # fmt: skip
def test_a_bad_line_is_reported_and_the_rest_is_read(tmp_path, line):
    """One bad line is skipped and reported with its number; two of few are an error."""
    good = [json.dumps({"id": number}).encode() for number in range(200)]
    path = tmp_path / "products.jsonl"
    path.write_bytes(b"\n".join([*good[:100], line, *good[100:]]))
    products, (skipped,) = read(path)
    assert ([product.id for product in products], skipped.line) == ([str(number) for number in range(200)], 101)
    path.write_bytes(b"\n".join([line, *good[:10], line]))
    with pytest.raises(DataError, match="2 of 12"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,title,title\n1,a,b\n", "distinct names"),
        ("a.csv", b'id,title\n1,"open\n', "quotation mark"),
        ("a.jsonl.gz", gzip.compress(b'{"id": 1}\n' * 9, mtime=0)[:-9], "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.parquet.gz", b"", "Decompress it"),
        ("a.json", b'{"products": [{"id": 1}]}\n', "one object with the list products"),
        ("a.csv", b"id,title\n1,Caf\xe9\n" + b"2,Chair\n" * 200, "iconv -f WINDOWS-1252 -t UTF-8 a.csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    """A file that is not what its name says is refused, and the message says what to do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_a_long_id_leaves_room_for_the_reason():
    """The message of a failure has the first characters of a long id, and the whole reason."""
    failure = IngestFailure("x" * 600, "its id has 600 bytes")
    assert (len(str(failure)) < 100, str(failure).endswith("…: its id has 600 bytes")) == (True, True)


def test_a_broken_row_of_a_table_in_utf_8_is_skipped(tmp_path):
    """If other rows have accents in UTF-8, a row that has none of them is bad by itself."""
    (tmp_path / "a.csv").write_bytes(b"id,title\n1,Caf\xe9\n2,Caf\xc3\xa9\n" + b"3,Chair\n" * 200)
    products, skipped = read(tmp_path / "a.csv")
    assert ([line.line for line in skipped], products[0].source["title"]) == ([2], "Café")


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, file_format):
    """Ten times the products take no more memory to read."""
    peaks = []
    for number in (2_000, 2_000, 20_000):  # the first run warms up
        table = [{"id": str(n), "title": f"sofa {n}", "brand": "Acme"} for n in range(number)]
        file = locate_product_file(write_table(tmp_path / f"{number}.{file_format}", table, file_format))
        del table
        tracemalloc.start()
        assert sum(1 for _ in read_product_file(file, print)) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 100_000


@pytest.mark.node
def test_standard_input_is_loaded_once(client, cluster, index, tmp_path):
    """Rows from standard input become products with vectors; repeated, only changed rows are written."""

    def run(table):
        text = "".join(f"{sku},{name},{maker}\n" for sku, name, maker in table)
        command = [index, "--corpus", "-", "--format", "csv", "--id", "sku", "--field", "name", "--field", "brand.name"]
        command += ["--url", cluster, "--json", "--dead-letter", str(tmp_path / "dead")]
        result = CliRunner().invoke(ingest, command, input=gzip.compress(f"sku,name,brand.name\n{text}".encode()))
        assert result.exit_code == 0, result.stderr
        counts = json.loads(result.stdout)
        return counts["written"], counts["skipped"], counts["empty"]

    assert run([("a", "sofa", "Acme"), ("b", "boot", ""), ("c", "?", "")]) == (2, 0, 1)
    assert client.get(index=index, id="a")["_source"]["brand.name"] == "Acme"
    assert run([("a", "sofa", "Acme"), ("b", "red boot", ""), ("c", "?", "")]) == (1, 2, 0)
    versions = [client.get(index=index, id=sku)["_version"] for sku in "abc"]
    assert versions == [1, 2, 1]


@pytest.mark.node
def test_nothing_is_written_from_a_file_without_the_field(client, cluster, index, tmp_path):
    """A misspelled column is refused, listing the columns, before the index is created."""
    path = write_table(tmp_path / "products.csv", [{"id": "1", "title": "sofa", "brand": "Acme"}], "csv")
    result = CliRunner().invoke(ingest, [index, "--corpus", str(path), "--field", "titel", "--url", cluster])
    assert result.exit_code == 4
    assert "brand, id, title" in result.stderr
    assert not client.indices.exists(index=index)


@pytest.mark.node
@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "id,title\n"), ("a.csv", "\n\n"), ("a.tsv", ""), ("a.jsonl", "\n")]
)
def test_a_file_without_products_creates_nothing(client, cluster, index, tmp_path, name, content):
    """A file that is empty or has a header only is a data error, and no index is created for it."""
    (tmp_path / name).write_text(content)
    result = CliRunner().invoke(ingest, [index, "--corpus", str(tmp_path / name), "--url", cluster])
    assert result.exit_code == 4
    assert f"{name} has no products" in result.stderr
    assert not client.indices.exists(index=index)


@pytest.mark.node
def test_a_data_stream_takes_no_file(client, cluster, index, tmp_path):
    """It is refused before anything is written, with what can be done; its products can get values all the same."""
    template = {"index_patterns": [f"{index}*"], "data_stream": {}, "priority": 7}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the local node has a template for all indices
            client.indices.put_index_template(name=index, body=template)
        client.indices.create_data_stream(name=index)
        product = {"@timestamp": "2026-01-01T00:00:00Z", "title": "red shoe"}
        client.create(index=index, id="1", body=product, refresh=True)
        path = write_table(tmp_path / "products.csv", [{"id": "2", "title": "sofa", "brand": "Acme"}], "csv")
        refused = CliRunner().invoke(ingest, [index, "--corpus", str(path), "--url", cluster])
        assert refused.exit_code == 6
        assert "is a data stream" in refused.stderr
        assert f"anthem ingest {index}" in refused.stderr
        assert client.count(index=index)["count"] == 1
        ingested = CliRunner().invoke(ingest, [index, "--url", cluster, "--json", "--dead-letter", "-"])
        assert ingested.exit_code == 0, ingested.stderr
        (hit,) = client.search(index=index)["hits"]["hits"]
        assert "vector" in hit["_source"]["anthem"]
        copied = CliRunner().invoke(ingest, [index, "--ann", "--url", cluster, "--dead-letter", "-"])
        assert (copied.exit_code, "is a data stream" in copied.stderr) == (6, True)
        client.indices.rollover(alias=index)  # the new backing index has a time, but no title yet
        assert CliRunner().invoke(ingest, [index, "--url", cluster, "--dead-letter", "-"]).exit_code == 0
    finally:
        client.indices.delete_data_stream(name=index)
        client.indices.delete_index_template(name=index)
