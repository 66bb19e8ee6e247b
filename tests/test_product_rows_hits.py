"""Rows that OpenSearch wrote: entries of responses are no products, and the routing of a hit is found or in doubt."""

import io
import json

import pytest
import row_loads

from anthem_ingest.actions import ProductDocument
from anthem_ingest.json_rows import read_json_rows
from anthem_ingest.product_rows import parse_product

load = row_loads.load

RESPONSES = [
    {"_index": "a", "_id": "1", "found": False},
    {"_index": "a", "_type": "_doc", "_id": "1", "found": True, "_version": 2, "_seq_no": 3, "_primary_term": 1},
    {"_index": "a", "_id": "1", "error": {"type": "index_not_found_exception", "reason": "no such index [a]"}},
    {"_index": "a", "_id": "1", "_version": 1, "result": "updated", "_shards": {"total": 2}, "status": 200},
    {"_index": "a", "_id": "1", "_version": 1, "result": "updated", "get": {"found": True, "_source": {"title": "x"}}},
    {"_index": "a", "_id": "1", "_score": 1.5, "fields": {"title": ["x"]}, "sort": [1], "matched_queries": ["q"]},
    {"_index": "a", "_id": "1", "_ignored": ["title"], "highlight": {"title": ["x"]}, "_routing": "t"},
    {"_index": "a", "_id": "1", "matched": True, "explanation": {"value": 1.0}},
    {"_index": "a", "_id": "1", "found": True, "took": 1, "term_vectors": {}},
    {"_id": "1", "found": False},
    {"_id": "1", "_score": 1.0},
    {"_id": "1", "result": "updated", "_shards": {"total": 2}},
    {"_id": "1", "_source": {}},
]


@pytest.mark.parametrize("record", RESPONSES)
def test_an_entry_of_a_response_is_no_product(record):
    """A row without a document, as `_mget`, `_bulk` and searches answer, is bad: it would replace the real product."""
    reason = parse_product(record)
    assert isinstance(reason, str)
    assert "_source" in reason
    untyped = parse_product(record, is_typed=False)
    assert untyped == reason, "a table can be an export of such a response"


@pytest.mark.parametrize(
    "record",
    [{"_index": "a", "_id": "1", "found": False, "title": "x"}, {"id": "1", "found": False},
     {"_id": "1", "status": "sold"}, {"_id": "1", "result": "x", "error": "y", "sort": 3}],
)  # fmt: skip
def test_fields_named_as_in_responses_are_a_products_own(record):
    """A row is a response only if it has no other field, and something that no product has."""
    expected = {key: value for key, value in record.items() if key not in ("_index", "_id")}
    assert parse_product(record).source == expected


@pytest.mark.parametrize(
    ("record", "part"),
    [({"docs": [{"_id": "1"}]}, "jq -c '.docs[]'"),
     ({"index": {"_index": "a", "_id": "1", "result": "created", "status": 201}}, "a response to _bulk")],
)  # fmt: skip
def test_other_responses_are_named(record, part):
    """A whole answer of `_mget` and an item of `_bulk` are named for what they are."""
    assert part in parse_product(record)


@pytest.mark.parametrize(
    ("beside", "expected"),
    [({"_parent": "r"}, "r"), ({"fields": {"_routing": ["r"]}}, "r"), ({"fields": {"_routing": "r"}}, "r"),
     ({"fields": {"_parent": "r"}}, "r"), ({"_parent": "p", "_routing": "r"}, "r"), ({"_routing": None}, None),
     ({"_routing": None, "routing": "r"}, "r"), ({"_routing": 7, "fields": {"_routing": ["7"]}}, "7")],
)  # fmt: skip
def test_the_routing_of_a_hit_is_found_where_dumps_have_it(beside, expected):
    """It may be in `_routing`, `routing` or `fields`; in old dumps, a child without one is routed by its parent."""
    hit = {"_index": "a", "_type": "_doc", "_id": "1", **beside, "_source": {"title": "x"}}
    assert parse_product(hit) == ProductDocument("1", {"title": "x"}, expected)


def test_the_parent_in_a_table_of_hits():
    """A flat export with `_index` has the routing in `_parent`; without `_index`, that is a field of the product."""
    assert parse_product({"_index": "a", "_id": "1", "_parent": "r", "title": "x"}).routing == "r"
    assert parse_product({"id": "1", "_parent": "r"}) == ProductDocument("1", {"id": "1", "_parent": "r"})


@pytest.mark.parametrize(
    ("hit", "part"),
    [({"_routing": "a", "routing": "b"}, "several routings (a, b)"),
     ({"_routing": "a", "fields": {"_routing": ["b"]}}, "several routings (a, b)"),
     ({"fields": {"_parent": ["a", "b"]}}, "several routings (a, b)"),
     ({"_source": {"title": "x", "_routing": "r"}}, "a field _routing in _source"),
     ({"_routing": "a", "_source": {"title": "x", "_routing": "b"}}, "a field _routing in _source"),
     ({"_source": {"title": "x", "_id": "2"}}, "a field _id in _source")],
)  # fmt: skip
def test_an_id_or_routing_in_doubt_is_named(hit, part):
    """Several routings, or a reserved name in `_source` with another value than beside it, make the row bad."""
    assert part in parse_product({"_id": "1", "_source": {"title": "x"}, **hit})


def test_an_id_and_a_routing_repeated_in_the_source():
    """They say nothing new, so they are dropped."""
    hit = {"_id": 1, "routing": "r", "_source": {"title": "x", "_id": "1", "_routing": "r"}}
    assert parse_product(hit) == ProductDocument("1", {"title": "x"}, "r")


def test_a_bulk_body_with_parents_is_read():
    """The parent in an action of an old body is the routing of its product."""
    for name in ("parent", "_parent"):
        body = f'{{"index": {{"_id": "1", "{name}": "r", "_timestamp": 1}}}}\n{{"title": "a"}}\n'
        rows = dict(read_json_rows(io.BytesIO(body.encode()), "shop.jsonl"))
        assert [parse_product(row) for row in rows.values()] == [ProductDocument("1", {"title": "a"}, "r")]


@pytest.mark.node
def test_a_response_replaces_no_product(client, index, load, tmp_path):
    """The row of a product that was not found is a dead letter, and the real product stays."""
    assert load([{"_id": "1", "title": "red shirt"}]).exit_code == 0
    result = load([{"_index": "a", "_id": "1", "found": False}, {"_id": "2", "title": "blue shirt"}])
    assert (result.exit_code, json.loads(result.stdout)["bad_lines"]) == (8, 1)
    assert "not found (found: false)" in (tmp_path / "dead").read_text()
    assert client.get(index=index, id="1")["_source"]["title"] == "red shirt"


@pytest.mark.node
def test_an_unused_id_is_said(load):
    """The load says once how many values of `_id` are not kept, and what to do."""
    result = load([{"_id": "p1", "sku": "S1", "title": "lamp"}, {"sku": "S2", "title": "desk"}], "--id", "sku")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("shop.jsonl: 1 row with a value in _id, such as 'p1', which is not kept") == 1
