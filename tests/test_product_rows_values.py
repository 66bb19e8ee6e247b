"""Values of rows: those of JSON are stored as they are, and empty cells and nulls of tables are no values."""

import json

import pyarrow as pa
import pytest
import row_loads
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from anthem_ingest.duplicates import check_product_file
from anthem_ingest.product_files import locate_product_file, read_product_file
from anthem_ingest.product_rows import parse_product

load = row_loads.load

EMPTY = {"stock": None, "brand": "", "e": {}, "l": [], "n": {"x": None, "y": ""}, "v": False}


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from([*EMPTY.values()])))
def test_values_of_json_are_kept_as_they_are(fields):
    """Null is a value, as `null_value` and `exists` see it; a row without `_source` leaves out empty texts and objects.

    A feed writes them for "no value", and fields such as dates refuse them. A dump has what an index has accepted.
    """
    filled = {name: value for name, value in fields.items() if value not in ("", {})}
    assert parse_product({"_id": "1", **fields}).source == filled
    hit = {"_id": "1", "_source": {"title": "x", **fields}}
    assert parse_product(hit).source == hit["_source"]


def test_empty_cells_and_nulls_of_tables_are_no_values(tmp_path):
    """A table has each column in each row, so what a row lacks is not stored."""
    (tmp_path / "shop.csv").write_text("id,title,brand\n1,,x\n2,y,\n")
    rows = [{"id": "1", "title": None, "b": {"c": 1, "d": None}}, {"id": "2", "title": "", "b": None, "_source": None}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "shop.parquet")
    expected = {"csv": [{"brand": "x"}, {"title": "y"}], "parquet": [{"b": {"c": 1}}, {}]}
    for suffix, products in expected.items():
        checked = check_product_file(locate_product_file(tmp_path / f"shop.{suffix}"), ["id"], print)
        assert [
            {key: value for key, value in product.source.items() if key != "id"} for product in checked.documents
        ] == products


def test_a_null_beside_dotted_fields():
    """OpenSearch accepts a null where an object is mapped, so the row is good; a text it refuses."""
    assert parse_product({"id": "1", "brand": None, "brand.name": "b"}).source["brand"] is None
    assert "the fields brand and brand.name" in parse_product({"id": "1", "brand": "a", "brand.name": "b"})


@pytest.mark.parametrize("is_object", [False, True])
def test_deep_nesting_is_named(is_object):
    """A row that no index accepts is bad before anything walks through it."""
    value = 1
    for _ in range(500):
        value = {"a": value} if is_object else [value]
    assert "nested on more than 100 levels" in parse_product({"id": "1", "x": value})


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("1e400", "price is infinite or too large"),
        ('{"net": [1, -1e400]}', "price is infinite or too large"),
        ("1" * 5000, "an integer of more than 4300 digits"),
        ("Infinity", "not JSON (Infinity is not a JSON number)"),
    ],
)
def test_a_number_that_is_too_large_is_named(tmp_path, number, reason):
    """The reason says so of a number, and blames only a token that the file contains."""
    (tmp_path / "shop.jsonl").write_text(f'{{"id": 1, "price": {number}}}\n{{"id": 2}}\n')
    skipped = []
    assert len(list(read_product_file(locate_product_file(tmp_path / "shop.jsonl"), skipped.append))) == 1
    assert skipped[0].reason.startswith(reason)


@pytest.mark.node
def test_empty_values_are_found_and_skipped(client, index, load):
    """A null is found by its `null_value`, a second load writes nothing, and `--partial` leaves out nulls."""
    properties = {"title": {"type": "text"}, "stock": {"type": "integer", "null_value": -1}}
    client.indices.create(index=index, body={"mappings": {"properties": properties}})
    row = {"_id": "a", "title": "red shirt", **EMPTY}
    assert json.loads(load([row]).stdout)["written"] == 1
    assert client.count(index=index, body={"query": {"term": {"stock": -1}}})["count"] == 1
    assert json.loads(load([row]).stdout)["skipped"] == 1
    assert "brand" not in client.get(index=index, id="a")["_source"]
    assert json.loads(load([{"_id": "a", "_source": row | {"_id": "a"}}]).stdout)["written"] == 1
    assert json.loads(load([{"_id": "a", "stock": 5}], "--partial").stdout)["written"] == 1
    assert json.loads(load([{"_id": "a", "stock": None, "title": None}], "--partial").stdout)["skipped"] == 1
    source = client.get(index=index, id="a")["_source"]
    assert {key: source[key] for key in EMPTY} == {**EMPTY, "stock": 5}


@pytest.mark.node
def test_a_boolean_replaces_the_number_that_python_holds_equal(client, index, load):
    """A product whose 0 becomes false has changed; one that a second file repeats has not."""
    properties = {"title": {"type": "text"}, "v": {"type": "object", "enabled": False}}
    client.indices.create(index=index, body={"mappings": {"properties": properties}})
    assert json.loads(load([{"_id": "a", "title": "red shirt", "v": [{"n": 0}]}]).stdout)["written"] == 1
    changed = [{"_id": "a", "title": "red shirt", "v": [{"n": False}]}]
    assert json.loads(load(changed).stdout)["written"] == 1
    assert client.get(index=index, id="a")["_source"]["v"] == [{"n": False}]
    assert json.loads(load(changed).stdout)["skipped"] == 1


@pytest.mark.node
def test_rows_with_nothing_but_empty_texts(load):
    """They are products without text, as rows that lack the field are."""
    rows = [{"_id": "1", "title": "red shirt"}, {"_id": "2", "title": ""}, {"_id": "3", "title": None}, {"_id": "4"}]
    counts = json.loads(load(rows).stdout)
    assert (counts["written"], counts["written_without_values"], counts["failed"]) == (1, 3, 0)


@pytest.mark.node
@pytest.mark.parametrize(
    ("fields", "field", "query"),
    [
        ({"title": {"en": "red shoe", "de": "roter Schuh"}}, "title.en", {"match": {"title.en": "red"}}),
        ({"title": [{"en": "red shoe"}]}, "title.en", {"match": {"title.en": "red"}}),
        ({"title": "red shoe", "metadata": "from the shop"}, "title", {"match": {"metadata": "shop"}}),
        ({"title": "red shoe", "text": {"en": "for running"}}, "title", {"match": {"text.en": "running"}}),
        ({"name": "shoe", "title.en": "red shoe"}, "name", {"match": {"title.en": "red"}}),
        ({"title": ["red shoe", None], "text": None, "metadata": {}}, "title", {"match": {"title": "shoes"}}),
    ],
)
def test_a_new_index_maps_what_the_file_has(client, index, load, fields, field, query):
    """A field that BEIR uses otherwise is mapped as the rows have it, and searches find its words."""
    assert json.loads(load([{"_id": "1", **fields}, {"_id": "2", "other": 1}], "--field", field).stdout)["failed"] == 0
    assert [hit["_id"] for hit in client.search(index=index, body={"query": query})["hits"]["hits"]] == ["1"]


def test_a_field_without_text_names_those_in_objects(load):
    """The message about a title that is an object lists the fields of the object, one of which can be named."""
    refused = load([{"_id": "1", "title": {"en": "red shoe", "de": "roter Schuh"}, "price": 5}])
    assert refused.exit_code == 4
    assert "price, title.de, title.en" in json.loads(refused.stderr.splitlines()[-1])["error"]
