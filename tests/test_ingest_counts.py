"""Every product counts once, and one that spoils its request fails alone, on a real node."""

import numpy as np
import pytest

from anthem_core.beir import Product
from anthem_core.opensearch.schema import VectorFields
from anthem_ingest import index_io
from anthem_ingest.encode import VectorBuilder, plan_updates
from anthem_ingest.ingest import _retry_changed, ingest_index, load_products, survey_index
from anthem_ingest.mapping import parse_single_index
from anthem_ingest.report import IngestTally

pytestmark = pytest.mark.node

NAMES = VectorFields()
TITLES = ["red running shoe", "blue shoe", "leather sofa, red", "Laufschuhe rot", "fire tv stick"]
MAPPING = {"properties": {"title": {"type": "text"}}}


def titled(titles=TITLES):
    """Documents with these titles, numbered."""
    return {str(number): {"title": title} for number, title in enumerate(titles)}


def fill(client, index, documents):
    """Make an index of documents by id."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 1}, "mappings": MAPPING})
    for identity, document in documents.items():
        client.index(index=index, id=identity, body=document)
    client.indices.refresh(index=index)


def stored(client, index, identity):
    """Source of a product."""
    return client.get(index=index, id=identity)["_source"]


def assert_current(client, index, encoder, texts):
    """Check that each product has the point of its text; who shares a batch may move the last bits."""
    for identity, text in texts.items():
        found = stored(client, index, identity)["anthem"]
        np.testing.assert_allclose(found["vector"], encoder.products([text])[0], rtol=0, atol=1e-5)


def test_every_product_counts_once(client, index, encoder):
    """What was written, skipped, found empty, failed and left alone are all the products, whatever became of them."""
    fill(client, index, titled(["red shoe", "sofa", "!?"]))
    ingest_index(client, index, encoder)
    client.index(index=index, id="3", body={"title": "boot"}, refresh=True)
    client.update(index=index, id="1", body={"doc": {"title": "???"}}, refresh=True)
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped, report.empty, report.failed, report.conflicts) == (1, 1, 2, 0, 0)
    assert "vector" not in (stored(client, index, "1")["anthem"] or {})


def test_a_product_read_twice_counts_once(client, index, encoder):
    """One that lost its text, and changed again while that was written, is one empty product."""
    fill(client, index, titled(["red shoe", "sofa"]))
    ingest_index(client, index, encoder)
    client.update(index=index, id="1", body={"doc": {"title": "???"}}, refresh=True)
    recipe, tally = VectorBuilder(encoder), IngestTally()
    actions = list(
        plan_updates(index_io.read_product_pages(client, index, ("title",), NAMES), recipe, tally, lambda _: None)
    )
    client.update(index=index, id="1", body={"doc": {"title": "!!!"}})
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES)
    _retry_changed(client, index, recipe, tally)
    report = tally.report()
    assert (report.written, report.skipped, report.empty, report.failed, report.conflicts) == (0, 1, 1, 0, 0)


def test_a_lost_vector_is_made_again(client, index, encoder):
    """A product that kept model and hash but not its vector counts as missing, and gets it back."""
    fill(client, index, titled())
    ingest_index(client, index, encoder)
    client.update(index=index, id="1", body={"doc": {"anthem": {"vector": None}}}, refresh=True)
    assert survey_index(client, index, encoder.bundle).missing == 1
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped) == (1, len(TITLES) - 1)
    assert_current(client, index, encoder, {"1": TITLES[1]})


def test_an_id_that_is_too_long_fails_alone(client, index, encoder):
    """A product whose id OpenSearch would refuse with all that is sent beside it is left out, and named."""
    products = [Product(str(number), "sofa") for number in range(20)]
    report = load_products(client, index, [*products, Product("x" * 600, "boot")], encoder)
    assert (report.written, report.failed) == (20, 1)
    assert "600 bytes" in report.failures[0].reason


@pytest.mark.parametrize("bad", [[7], [0, 1, 12]])
def test_one_spoilt_product_does_not_take_its_request_with_it(client, index, bad):
    """A request refused as a whole (400) is halved until only what spoils it fails; all else is written."""
    actions = [{"_op_type": "index", "_index": index, "_id": str(n), "_source": {"title": "sofa"}} for n in range(13)]
    for number in bad:
        actions[number]["_id"] = f"{number}" * 600
    tally = IngestTally()
    index_io.write_actions(client, actions, tally, frozenset())
    assert (tally.written, tally.failed) == (13 - len(bad), len(bad))
    assert {failure.id for failure in tally.failures} == {f"{number}" * 600 for number in bad}
    assert all("too long" in failure.reason for failure in tally.failures)


def test_a_spoilt_update_keeps_what_it_was(client, index, encoder):
    """An update that is sent again names the same state and brings the same point."""
    fill(client, index, titled())
    recipe, tally = VectorBuilder(encoder), IngestTally()
    index_io.add_missing_mapping(
        client, parse_single_index(index_io.describe_index(client, index), index), NAMES, encoder.bundle.dimension
    )
    actions = list(
        plan_updates(index_io.read_product_pages(client, index, ("title",), NAMES), recipe, tally, lambda _: None)
    )
    spoilt = {"_op_type": "index", "_index": index, "_id": "x" * 600, "_source": {}}
    index_io.write_actions(client, [*actions, spoilt], tally, index_io.CHANGED_STATUSES)
    assert (tally.written, tally.failed, tally.again) == (len(TITLES), 1, [])
    client.indices.refresh(index=index)
    assert_current(client, index, encoder, dict(zip(map(str, range(len(TITLES))), TITLES, strict=True)))
