"""What becomes of one record of a file: ids, hits of a dump, routing, and metadata."""

import io
import json

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from anthem_core.errors import DataError
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.duplicates import check_product_file
from anthem_ingest.json_rows import read_json_rows
from anthem_ingest.product_files import locate_product_file, read_product_file
from anthem_ingest.product_rows import parse_product

HITS = [
    ({"_index": "a", "_type": "_doc", "_id": "1", "_score": 1, "_source": {"title": "x"}}, ("1", {"title": "x"}, None)),
    ({"_index": "a", "_id": "2", "_routing": "t", "_source": {"title": "x"}}, ("2", {"title": "x"}, "t")),
    ({"_index": "a", "_id": "3", "routing": "t", "_source": {"routing": "r"}}, ("3", {"routing": "r"}, "t")),
    ({"_id": "4", "_routing": 7, "_source": {"id": 9, "sku": "s"}}, ("4", {"id": 9, "sku": "s"}, "7")),
    (
        {"_index": "a", "_id": "5", "_source": {"title": "x", "anthem": {"model": 16 * "0"}}},
        ("5", {"title": "x"}, None),
    ),
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


@pytest.mark.parametrize("padded", [" 12", "12 ", "\u00a012\t"])
def test_spaces_around_an_id(padded):
    """In a table they are not part of an id or a routing; in JSON they are, and an id of spaces alone is none."""
    record = {"id": padded, "_routing": padded, "title": "x"}
    table, typed = parse_product(record, is_typed=False), parse_product(record)
    assert (table.id, table.routing) == ("12", "12")
    assert (typed.id, typed.routing) == (padded, padded)
    assert parse_product({"id": " \t", "title": "x"}) == "no _id or id"


def test_padded_ids_are_counted(tmp_path):
    """Rows of a table whose ids differ in spaces are rows of one id; in JSON lines such ids are counted."""
    (tmp_path / "shop.csv").write_text('id,title\n" 12",a\n12,b\n')
    with pytest.raises(DataError, match=r"1 id has several rows, 2 in all: '12' in lines 2 and 3"):
        check_product_file(locate_product_file(tmp_path / "shop.csv"), ["title"], print)
    (tmp_path / "shop.jsonl").write_text('{"id": "12 ", "title": "a"}\n{"id": "12", "title": "b"}\n')
    checked = check_product_file(locate_product_file(tmp_path / "shop.jsonl"), ["title"], print)
    assert (checked.total, checked.padded_ids, checked.padded_example) == (2, 1, "12 ")


def test_an_unused_id_is_counted(tmp_path):
    """The `_id` of a row whose id is another field is counted where it differs, because no document can keep it."""
    hit = {"_id": "p1", "_source": {"sku": "S1", "title": "a"}}
    lines = [hit, {"_id": "p2", "sku": "S2", "title": "b"}, {"_id": "S3", "sku": "S3", "title": "c"}]
    (tmp_path / "shop.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    checked = check_product_file(locate_product_file(tmp_path / "shop.jsonl", id_field="sku"), ["title"], print)
    assert (checked.total, checked.unused_ids, checked.unused_example) == (3, 2, "p1")
    assert all("_id" not in product.source for product in checked.documents)


def read_lines(text):
    """Records of JSON lines by line number, and the reasons of lines that cannot be used."""
    return dict(read_json_rows(io.BytesIO(text.encode()), "shop.jsonl"))


@pytest.mark.parametrize(
    ("line", "key"),
    [('{"id": 1, "title": "a", "title": "b"}', "title"), ('{"id": 1, "brand": {"name": "a", "name": "a"}}', "name"),
     ('{"id": 1, "variants": [{"sku": 1}, {"sku": 2, "sku": 3}]}', "sku")],
)  # fmt: skip
def test_a_key_that_occurs_twice_is_named(line, key):
    """One of the two values would be lost in silence, so the line is bad, at any depth."""
    assert f"the key '{key}' occurs twice" in read_lines(line)[1]


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.dictionaries(st.text(max_size=2), st.none())))
def test_other_objects_are_read_as_they_are(record):
    """A line of JSON whose keys differ gives exactly its object."""
    (row,) = read_lines(json.dumps({"id": "1", **record, "n": 0})).values()
    assert row == {"id": "1", **record, "n": 0}


@pytest.mark.parametrize(("value", "command"), [([{"id": 1}], "jq -c '.[]'"), ({"id": 1}, "jq -c .")])
def test_an_indented_file_is_refused(value, command):
    """A value over several lines is named as such, with a command that writes one object on each line."""
    with pytest.raises(DataError, match=r"shop\.jsonl has .* over several lines") as refused:
        read_lines("\n" + json.dumps(value, indent=1))
    assert command in str(refused.value)


def test_other_formats_are_named(tmp_path):
    """XML, a search response, and Parquet with two columns of one name are refused for what they are."""
    with pytest.raises(DataError, match="is XML"):
        read_lines('\n <?xml version="1.0"?>\n<products/>\n')
    assert "jq -c '.hits.hits[]'" in parse_product({"took": 3, "hits": {"hits": [{"_id": "1"}]}})
    parquet.write_table(pa.table([[1], ["a"], ["b"]], names=["id", "title", "title"]), tmp_path / "shop.parquet")
    with pytest.raises(DataError, match="Expected distinct names"):
        list(read_product_file(locate_product_file(tmp_path / "shop.parquet"), print))


@pytest.mark.parametrize(
    ("record", "reason"),
    [({"_version": 3}, "_version, a name that OpenSearch reserves"), ({"_seq_no": 3}, "_seq_no, a name"),
     ({"brand": "a", "brand.name": "b"}, "the fields brand and brand.name"),
     ({"a": {"b": 1}, "a.b.c": 2, "a.b": "x"}, "the fields a.b and a.b.c"),
     ({"": 1}, "a field without a name"), ({"a..b": 1}, "'a..b' has an empty part"), ({".a": 1}, "'.a' has")],
)  # fmt: skip
def test_fields_that_no_product_can_have(record, reason):
    """Fields that OpenSearch would refuse in each product make the row bad, before anything is written."""
    assert reason in parse_product({"id": "1", "title": "x", **record})


def test_dotted_fields_beside_an_object():
    """An object and dotted fields that add to it are one object."""
    source = {"a": {"b": 1}, "a.c": 2, "d.e": 1, "d.f": 2, "_score": 1}
    assert parse_product({"id": "1", **source}).source == {"id": "1", **source}


def test_a_bulk_body_is_read():
    """An action and the line after it are one product with its id and routing; other actions are named."""
    lines = [
        {"index": {"_index": "shop", "_id": "1", "routing": "t"}}, {"title": "a"},
        {"create": {}}, {"id": "2", "title": "b"},
        {"delete": {"_id": "3"}}, {"update": {"_id": "4"}}, {"doc": {"title": "d"}},
        {"index": {"_id": "5"}}, {"index": {"_id": "6"}}, {"title": "f"}, {"index": {"_id": "7"}},
    ]  # fmt: skip
    rows = read_lines("\n".join(map(json.dumps, lines)))
    products = {line: parse_product(row) for line, row in rows.items() if isinstance(row, dict)}
    assert products == {
        1: ProductDocument("1", {"title": "a"}, "t"),
        3: ProductDocument("2", {"id": "2", "title": "b"}),
        9: ProductDocument("6", {"title": "f"}),
    }
    reasons = {line: row for line, row in rows.items() if isinstance(row, str)}
    assert list(reasons) == [5, 6, 8, 11]
    assert "the action delete" in reasons[5]
    assert "the action update" in reasons[6]
    assert all("without the product" in reasons[line] for line in (8, 11))
    assert list(read_lines('{"id": 1, "index": {"_id": 3}}')) == [1], "a product may have a field of that name"


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
