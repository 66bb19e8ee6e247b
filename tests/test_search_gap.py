"""A first text field in which no search finds a product: the mapping shows it, and a load says so."""

import pytest

from anthem_ingest.actions import ProductDocument
from anthem_ingest.ingest import load_documents
from anthem_ingest.text_fields import describe_search_gap

TEXT, CLOSED_OBJECT = {"type": "text"}, {"dynamic": False, "properties": {}}


@pytest.mark.parametrize(
    ("mappings", "field", "has_gap"),
    [({"dynamic": "false", "properties": {"sku": TEXT}}, "title", True),
     ({"dynamic": "false", "properties": {"title": TEXT}}, "title", False),
     ({"properties": {"title": CLOSED_OBJECT}}, "title.en", True),
     ({"dynamic": "false", "properties": {"title": {"properties": {}}}}, "title.en", True),
     ({"dynamic": "false", "properties": {"title": {"dynamic": "true"}}}, "title.en", False),
     ({"dynamic": "true"}, "title", False), ({}, "title.en", False)],
)  # fmt: skip
def test_a_field_that_is_never_mapped_is_a_gap(mappings, field, has_gap):
    """With `dynamic: false`, which objects inherit, a field that is not mapped stays so, and no search finds it."""
    gap = describe_search_gap(mappings, field)
    assert (gap is not None, "dynamic: false" in str(gap)) == (has_gap, has_gap)


@pytest.mark.node
def test_a_load_warns_of_a_field_that_is_never_mapped(client, index, encoder, caplog):
    """The products are written with their values, and the warning says how searches could find them."""
    client.indices.create(index=index, body={"mappings": {"dynamic": False, "properties": {"sku": TEXT}}})
    assert load_documents(client, index, [ProductDocument("1", {"title": "red shirt"})], encoder).written == 1
    assert any("title is not mapped (dynamic: false)" in record.message for record in caplog.records)
