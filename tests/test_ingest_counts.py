"""Each product is counted once, and one that invalidates its bulk request fails alone, on a real node."""

from base64 import b64decode

import numpy as np
import pytest

from anthem_core.beir import Product
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.opensearch.schema import MODEL_SIGNALS, VALUE_OF_SIGNAL, ModelFields
from anthem_ingest import index_io
from anthem_ingest.encode import ValueBuilder, plan_updates
from anthem_ingest.ingest import _retry_changed, ingest_index, load_products, prepare_index, survey_index
from anthem_ingest.report import IngestTally

pytestmark = pytest.mark.node

FIELDS = ModelFields()
TITLES = ["red running shoe", "blue shoe", "leather sofa, red", "Laufschuhe rot", "fire tv stick"]
MAPPING = {"properties": {"title": {"type": "text"}}}


def make_products(titles=TITLES):
    """Sources of products with these titles, by a numeric id."""
    return {str(number): {"title": title} for number, title in enumerate(titles)}


def create_index(client, index, documents):
    """Create an index with these products."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 1}, "mappings": MAPPING})
    for product_id, document in documents.items():
        client.index(index=index, id=product_id, body=document)
    client.indices.refresh(index=index)


def read_source(client, index, product_id):
    """Source of a product."""
    return client.get(index=index, id=product_id)["_source"]


def assert_values(client, index, encoder, texts):
    """Check that each product has the values of its text; its batch may change how a coordinate is rounded."""
    for product_id, text in texts.items():
        found = read_source(client, index, product_id)["anthem"]
        assert [b64decode(found["trigrams"])] == AttentionScorer(encoder.bundle).encode_titles([text]).pack()
        np.testing.assert_allclose(found["vector"], encoder.encode_vectors([text])[0], rtol=0, atol=1)


def test_every_product_counts_once(client, index, encoder):
    """Products written, skipped, empty, failed and in conflict add up to all products."""
    create_index(client, index, make_products(["red shoe", "sofa", "!?"]))
    ingest_index(client, index, encoder)
    client.index(index=index, id="3", body={"title": "boot"}, refresh=True)
    client.update(index=index, id="1", body={"doc": {"title": "???"}}, refresh=True)
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped, report.empty, report.failed, report.conflicts) == (1, 1, 2, 0, 0)
    assert read_source(client, index, "1")["anthem"] is None


def test_the_summary_counts_products_written_without_values():
    """Products without words that a load wrote are among those written, though they have no values."""
    tally = IngestTally(skipped=1, empty=1)
    for number in range(3):
        tally.mark_without_values({"_id": str(number)})
        tally.count_written(str(number))
    tally.count_written("3")
    report = tally.report() + tally.report()
    assert (report.written, report.empty, report.written_without_values) == (2, 8, 6)
    assert str(report).startswith("8 written, 2 skipped, 0 failed")
    assert "8 products without values, because their text fields are empty or have no letter or digit" in str(report)


def test_a_product_read_twice_counts_once(client, index, encoder):
    """A product that lost its text, and changed again during the update, is one empty product."""
    create_index(client, index, make_products(["red shoe", "sofa"]))
    ingest_index(client, index, encoder)
    client.update(index=index, id="1", body={"doc": {"title": "???"}}, refresh=True)
    builder, tally = ValueBuilder(encoder, MODEL_SIGNALS), IngestTally()
    actions = list(
        plan_updates(index_io.read_product_pages(client, index, ("title",), FIELDS), builder, tally, lambda _: None)
    )
    client.update(index=index, id="1", body={"doc": {"title": "!!!"}})
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES)
    _retry_changed(client, index, builder, tally)
    report = tally.report()
    assert (report.written, report.skipped, report.empty, report.failed, report.conflicts) == (0, 1, 1, 0, 0)


@pytest.mark.parametrize("signal", MODEL_SIGNALS)
def test_a_lost_value_is_computed_again(client, index, encoder, signal):
    """A product that has a model id and text hash but lacks a value counts as missing, and gets its value back."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    client.update(index=index, id="1", body={"doc": {"anthem": {VALUE_OF_SIGNAL[signal]: None}}}, refresh=True)
    assert survey_index(client, index, encoder.bundle).missing == dict.fromkeys(MODEL_SIGNALS, 0) | {signal: 1}
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped) == (1, len(TITLES) - 1)
    assert_values(client, index, encoder, {"1": TITLES[1]})


def test_an_id_that_is_too_long_fails_alone(client, index, encoder):
    """A product whose id would make OpenSearch reject the whole request is not sent, and is listed as a failure."""
    products = [Product(str(number), "sofa") for number in range(20)]
    report = load_products(client, index, [*products, Product("x" * 600, "boot")], encoder)
    assert (report.written, report.failed) == (20, 1)
    assert "600 bytes" in report.failures[0].reason


@pytest.mark.parametrize("bad", [[7], [0, 1, 12]])
def test_one_invalid_product_does_not_fail_its_request(client, index, bad):
    """A request rejected as a whole (400) is halved until only the invalid products fail; all others are written."""
    actions = [{"_op_type": "index", "_index": index, "_id": str(n), "_source": {"title": "sofa"}} for n in range(13)]
    for number in bad:
        actions[number]["_id"] = f"{number}" * 600
    tally = IngestTally()
    index_io.write_actions(client, actions, tally)
    assert (tally.written, tally.failed) == (13 - len(bad), len(bad))
    assert {failure.id for failure in tally.failures} == {f"{number}" * 600 for number in bad}
    assert all("too long" in failure.reason for failure in tally.failures)


def test_an_update_that_is_sent_again_is_the_same(client, index, encoder):
    """An update from a rejected request is sent again with the same condition and the same values."""
    create_index(client, index, make_products())
    builder, tally = ValueBuilder(encoder, MODEL_SIGNALS), IngestTally()
    prepare_index(client, index, encoder.bundle)
    actions = list(
        plan_updates(index_io.read_product_pages(client, index, ("title",), FIELDS), builder, tally, lambda _: None)
    )
    invalid = {"_op_type": "index", "_index": index, "_id": "x" * 600, "_source": {}}
    index_io.write_actions(client, [*actions, invalid], tally, index_io.CHANGED_STATUSES)
    assert (tally.written, tally.failed, tally.retry_ids) == (len(TITLES), 1, [])
    client.indices.refresh(index=index)
    assert_values(client, index, encoder, dict(zip(map(str, range(len(TITLES))), TITLES, strict=True)))
