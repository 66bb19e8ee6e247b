"""What becomes of one record of a file: ids, hits of a dump, routing, and metadata."""

import json

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from anthem_core.errors import DataError
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.product_files import locate_product_file, read_product_file
from anthem_ingest.product_rows import parse_product

HITS = [
    ({"_index": "a", "_type": "_doc", "_id": "1", "_score": 1, "_source": {"title": "x"}}, ("1", {"title": "x"}, None)),
    ({"_index": "a", "_id": "2", "_routing": "t", "_source": {"title": "x"}}, ("2", {"title": "x"}, "t")),
    ({"_index": "a", "_id": "3", "routing": "t", "_source": {"routing": "r"}}, ("3", {"routing": "r"}, "t")),
    ({"_id": "4", "_routing": 7, "_source": {"id": 9, "sku": "s"}}, ("4", {"id": 9, "sku": "s"}, "7")),
    ({"_index": "a", "_id": "5", "_source": {"title": "x", "anthem": {"model": "m"}}}, ("5", {"title": "x"}, None)),
    ({"_index": "a", "_score": "1", "_id": "6", "title": "x"}, ("6", {"title": "x"}, None)),
    ({"_id": "7", "_routing": "t", "routing": "r"}, ("7", {"routing": "r"}, "t")),
    ({"id": 8, "routing": "r", "_type": "sofa"}, ("8", {"id": 8, "routing": "r", "_type": "sofa"}, None)),
    ({"_id": "9", "_routing": "", "title": "x"}, ("9", {"title": "x"}, None)),
]


@pytest.mark.parametrize(("record", "expected"), HITS)
def test_a_hit_is_read_as_its_document(record, expected):
    """The fields are those of `_source`, the id and the routing those of the hit; a plain row keeps its own fields."""
    assert parse_product(record) == ProductDocument(*expected)


@pytest.mark.parametrize("record", [{"_index": "a", "_id": "1"}, {"_index": "a", "_id": "1", "_source": "x"}])
def test_a_hit_without_source_is_named(record):
    """A dump without documents has nothing to load."""
    assert "_source" in parse_product(record)


@pytest.mark.parametrize("routing", [["a"], {"a": 1}, True, 1.5])
def test_a_routing_that_is_no_text_is_named(routing):
    """Only text and integers can be a routing."""
    assert "its routing is" in parse_product({"_id": "1", "_routing": routing, "title": "x"})


def test_a_row_that_is_hit_and_product_is_named():
    """Fields beside `_source` are not dropped in silence: the row is bad, and the reason names them."""
    reason = parse_product({"title": "a", "_id": "k", "routing": "r", "_source": {"title": "b"}})
    assert reason == "fields beside _source (title); expected a hit or a product, not both"
    hit = {"_index": "a", "_id": "k", "sort": [1], "highlight": {}, "_source": {"title": "b"}}
    assert parse_product(hit).source == {"title": "b"}


def test_the_id_of_a_hit_may_be_a_field_of_its_source():
    """With `--id`, the id is that field; without, the hit's own id, else the field `id`."""
    hit = {"_index": "a", "_id": "1", "_source": {"sku": "s", "id": "i"}}
    assert parse_product(hit, "sku").id == "s"
    assert parse_product(hit).id == "1"
    assert parse_product({"_source": {"id": "i"}}).id == "i"


@pytest.mark.parametrize("product_id", ["101.0", "-3.00", "4.01234E+12", "4,01E+12", "8e+05"])
def test_a_number_that_a_program_rewrote_is_no_id(product_id):
    """In a table, which has no types, such an id was an integer; as text in JSON it is meant."""
    assert str(product_id) in parse_product({"id": product_id}, is_typed=False)
    assert parse_product({"id": product_id}).id == product_id


@pytest.mark.parametrize("product_id", ["1.2.3", "12.5", "0.10", "1e5", "SKU-1.0", "v1.0", "E+12"])
def test_ids_with_a_point_may_be_meant(product_id):
    """A version, a size or an article number with a point is an id like any other."""
    assert parse_product({"id": product_id}, is_typed=False).id == product_id


@pytest.mark.parametrize("product_id", [101.0, 1.5, 1e300])
def test_a_float_is_no_id(product_id):
    """The reason names it, and what ids must be."""
    assert f"the id {product_id} is a float" in parse_product({"id": product_id})


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_file_with_float_ids_is_refused(tmp_path, file_format):
    """A column of ids with gaps, as many tools write it, is named as such in every format."""
    path = tmp_path / f"shop.{file_format}"
    if file_format == "parquet":
        parquet.write_table(pa.table({"id": [101.0, None, 102.0], "title": ["a", "b", "c"]}), path)
    else:
        lines = {"csv": "id,title\n101.0,a\n102.0,b\n", "jsonl": '{"id": 101.0}\n{"id": 102.0}\n'}
        path.write_text(lines[file_format])
    with pytest.raises(DataError, match=r"the id 101.0 is a float"):
        list(read_product_file(locate_product_file(path), lambda _: None))


@pytest.mark.node
def test_a_dump_is_loaded_with_its_routing(client, cluster, index, tmp_path):
    """Documents of a dump are found under their routing, with the fields of their source."""
    dump = [record for record, _ in HITS[:3]]
    (tmp_path / "dump.json").write_text("".join(json.dumps(hit) + "\n" for hit in dump))
    words = [index, "--corpus", str(tmp_path / "dump.json"), "--field", "title", "--url", cluster, "--json"]
    result = CliRunner().invoke(ingest, [*words, "--dead-letter", str(tmp_path / "dead")])
    assert result.exit_code == 0, result.stderr
    hit = client.get(index=index, id="2", routing="t")
    assert (hit["_routing"], hit["_source"]["title"]) == ("t", "x")
    assert client.get(index=index, id="3", routing="t")["_source"] == {"routing": "r"}
    assert client.count(index=index)["count"] == 3
