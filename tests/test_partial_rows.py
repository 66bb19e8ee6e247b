"""`--partial`: a row changes the fields that it has, and nothing else; without it, no text is lost in silence."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.opensearch.schema import MODEL_SIGNALS, hash_words, product_text
from anthem_ingest import index_io
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.ingest import DEFAULT_MODEL_FIELDS, IngestOptions, ingest_index, load_documents
from anthem_ingest.partial_rows import merge_fields

BASE = "sku,title,brand.name\n1,red shoe,acme\n2,blue shoe,acme\n3,green hat,stark\n"
PATHS = ("a", "b", "c.d", "c.e", "c.f.g", "h.i")
values = st.sampled_from(["x", "y", 1, ["z"]])


def as_source(fields, nested):
    """A source with these values by path, nested or with dotted keys."""
    source = {}
    for path, value in fields.items():
        node, keys = source, path.split(".") if nested else [path]
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value
    return source


fields = st.dictionaries(st.sampled_from(PATHS), values)


@given(fields, fields, st.booleans(), st.booleans())
def test_a_row_changes_its_fields_and_no_others(present, changes, is_nested, is_row_nested):
    """Each field has the value of the row if that has one, else its own, however either of them nests its keys."""
    old, row = as_source(present, is_nested), as_source(changes, is_row_nested)
    before = json.dumps([old, row])
    merged = merge_fields(old, row)
    for path in PATHS:
        source = row if path in changes else old
        assert product_text(merged, [path]) == product_text(source, [path])
    assert json.dumps([old, row]) == before
    assert merge_fields(merged, row) == merged


def test_nulls_change_nothing():
    """A null leaves the value of the product, at any depth; an empty text or list replaces it."""
    present = {"a": 1, "b": {"c": 2, "d": 3}, "e": "x", "f": ["y"]}
    changes = {"a": None, "b": {"c": None, "d": 4}, "b.c": None, "e": "", "f": [], "g": {"h": None}}
    assert merge_fields(present, changes) == {"a": 1, "b": {"c": 2, "d": 4}, "e": "", "f": []}


@pytest.fixture
def load(cluster, index, tmp_path):
    """Function that loads a CSV or JSON lines into the index of the test; returns the result of the command."""

    def run(text, *options, name="delta.csv"):
        (tmp_path / name).write_text(text)
        words = [index, "--corpus", str(tmp_path / name), "--id", "sku", "--url", cluster, "--json", "--dead-letter"]
        return CliRunner().invoke(ingest, [*words, "-", *options])

    return run


@pytest.fixture
def read(client, index):
    """Function that reads the source of a product of the index."""
    return lambda product_id: client.get(index=index, id=product_id)["_source"]


def counts(result):
    """The counts that the command prints; on standard error, because dead letters go to standard output."""
    line = next(line for line in result.stderr.splitlines() if line.startswith('{"index"'))
    return json.loads(line)


@pytest.mark.node
def test_a_delta_without_a_recorded_field(client, index, encoder, load, read):
    """It is refused with the field and what to do; with --partial the stored text stays in product and values."""
    fields = ["--field", "title", "--field", "brand.name"]
    assert load(BASE, *fields).exit_code == 0
    refused = load("sku,title\n2,navy shoe\n")
    assert refused.exit_code == 4
    for part in ("has text in brand.name", "--partial", "--field title"):
        assert part in refused.stderr
    assert read("2")["title"] == "blue shoe"

    assert counts(load("sku,title\n2,navy shoe\n", "--partial"))["written"] == 1
    product = read("2")
    assert product["brand.name"] == "acme"
    words = encoder.bundle.vocabulary.split_words("navy shoe acme")
    assert product["anthem"]["text_hash"] == hash_words(words)
    (expected,) = ValueBuilder(encoder, MODEL_SIGNALS, ("title", "brand.name")).build(["navy shoe acme"])
    assert product["anthem"] == expected["anthem"]
    again = ingest_index(client, index, encoder, text_fields=["title", "brand.name"])
    assert (again.written, again.skipped) == (0, 3)


@pytest.mark.node
def test_fields_beside_the_text(load, read):
    """Prices alone keep the values; a second run writes nothing; an unknown id without text is a dead letter."""
    assert load(BASE, "--field", "title").exit_code == 0
    values = read("1")["anthem"]
    result = load("sku,price\n1,5\n9,7\n", "--partial")
    assert (result.exit_code, counts(result)["written"], counts(result)["failed"]) == (8, 1, 1)
    assert json.loads(result.stdout) == {
        "id": "9",
        "reason": "the index has no such product, and the row has no text in title",
    }
    assert (read("1")["price"], read("1")["title"], read("1")["anthem"]) == ("5", "red shoe", values)
    again = counts(load("sku,price\n1,5\n", "--partial"))
    assert (again["written"], again["skipped"]) == (0, 1)
    assert counts(load("sku,title\n10,new sofa\n", "--partial"))["written"] == 1
    assert DEFAULT_MODEL_FIELDS.name in read("10")
    unknown = load("sku,price\n1,5\n", "--partial", "--field", "titel", "--yes")
    assert unknown.exit_code == 6
    assert "can have text in titel" in unknown.stderr


@pytest.mark.node
def test_a_row_that_drops_a_text_is_reported(load, read):
    """A whole row without a text that the product had replaces it as documented, and the report says so."""
    assert load(BASE, "--field", "title", "--field", "brand.name").exit_code == 0
    rows = [{"sku": "2", "title": "navy shoe"}, {"sku": "3", "title": "hat", "brand": {"name": "globex"}}]
    empty = load("sku,title,brand.name\n1,red shoe,\n")
    assert (empty.exit_code, counts(empty)["lost_text"]) == (0, {"brand.name": 1}), "the column is there, but empty"
    result = load("".join(json.dumps(row) + "\n" for row in rows), name="delta.jsonl")
    assert (result.exit_code, counts(result)["lost_text"]) == (0, {"brand.name": 1})
    assert "brand.name" not in read("2")


@pytest.mark.node
def test_a_change_meanwhile_is_never_overwritten(client, index, encoder, monkeypatch):
    """A product that changes between read and write keeps that change, and the row fails, to be loaded again."""
    load_documents(client, index, [ProductDocument("1", {"title": "red shoe", "price": 1})], encoder)
    read_products = index_io.get_products

    def read_and_change(*arguments):
        found = read_products(*arguments)
        client.update(index=index, id="1", body={"doc": {"price": 2}})
        return found

    monkeypatch.setattr(index_io, "get_products", read_and_change)
    row, options = ProductDocument("1", {"title": "blue shoe"}), IngestOptions(partial=True)
    report = load_documents(client, index, [row], encoder, options=options)
    assert (report.written, report.failed, "conflict" in report.failures[0].reason) == (0, 1, True)
    monkeypatch.undo()
    assert load_documents(client, index, [row], encoder, options=options).written == 1
    source = client.get(index=index, id="1")["_source"]
    assert (source["title"], source["price"]) == ("blue shoe", 2)


@pytest.mark.node
def test_values_of_another_model(client, index, encoder):
    """They stay if the text stays, and go with the text that they were computed from."""
    load_documents(client, index, [ProductDocument("1", {"title": "red shoe"})], encoder)
    other = {"anthem_0123abcd": {"model": "0123abcd" * 2, "text_hash": "0" * 16}}
    client.update(index=index, id="1", body={"doc": other}, refresh=True)
    for fields, has_other in (({"price": 5}, True), ({"title": "red boot"}, False)):
        row, options = ProductDocument("1", fields), IngestOptions(partial=True)
        assert load_documents(client, index, [row], encoder, options=options).written == 1
        source = client.get(index=index, id="1")["_source"]
        assert ("anthem_0123abcd" in source, "vector" in source["anthem"]) == (has_other, True)
