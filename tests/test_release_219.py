"""OpenSearch 2.19.1 beside the release of the suite: the same products, the same searches, the same ranks."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import ClusterError, NodeError
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.versions import (
    OLDEST_RELEASE,
    SAFE_MAPPING_CHANGES,
    SHARD_DOC_SORT,
    Release,
    adapt_bundle,
    parse_release,
)
from anthem_ingest import index_io
from anthem_ingest.actions import ProductDocument
from anthem_ingest.ingest import DEFAULT_OPTIONS, ingest_index, load_documents, no_progress
from anthem_ingest.remove import remove_from_index
from anthem_plugin.client import AnthemClient
from anthem_sandbox.node.java import find_java
from anthem_sandbox.node.lifecycle import temporary_node
from anthem_sandbox.node.releases import OPENSEARCH_2

pytestmark = pytest.mark.node

COLOURS = ["red", "blue", "wireless", "waterproof"]
NOUNS = ["tv stick", "fire pit", "phone case", "running shoe", "desk lamp", "garden hose", "kindle reader", "4k tv"]
TITLES = [f"{brand} {colour} {noun}" for brand in ("acme", "globex") for colour in COLOURS for noun in NOUNS]
QUERIES = ["fire tv", "red shoe", "wireless phone", "acme kindle", "fier pit", "lamp"]
PRODUCTS = [ProductDocument(str(number), {"title": title}) for number, title in enumerate(TITLES)]
# New fields leave the mapping alone, so that 2.19.1 takes vectors in place.
CLOSED = {"dynamic": "false", "properties": {"title": {"type": "text"}}}


@pytest.fixture(scope="module")
def old():
    """Client of a real OpenSearch 2.19.1."""
    try:
        find_java(release=OPENSEARCH_2)
    except NodeError as error:
        pytest.skip(str(error))
    with temporary_node(heap="512m", release=OPENSEARCH_2) as url, connect(url) as client:
        yield client


@pytest.fixture
def index(old, client):
    """Name of an index that is gone afterwards from both clusters."""
    name = f"test-219-{uuid.uuid4().hex}"
    yield name
    for each in (old, client):
        each.indices.delete(index=name, ignore_unavailable=True)


def ranked(client, encoder, index, query, mode):
    """Scores of a search by id, best first."""
    anthem = AnthemClient(client, encoder, text_fields=())
    answer = anthem.search(index, {"query": {"match": {"title": query}}, "size": 64}, mode=mode)
    assert (answer["anthem"]["reranked"], answer["anthem"]["mode"]) == (True, mode)
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


def test_both_releases_rank_alike(old, client, index, encoder):
    """The same products have the same scores on 2.19.1 as on the suite's release, in both modes."""
    its = {each: Encoder(adapt_bundle(encoder.bundle, index_io.read_release(each))) for each in (old, client)}
    for each in (old, client):
        each.indices.create(index=index, body={"settings": {"number_of_shards": 1}, "mappings": CLOSED})
        assert load_documents(each, index, PRODUCTS, encoder).written == len(TITLES)
    for query in QUERIES:
        wanted = ranked(client, its[client], index, query, "cluster")
        assert len(wanted) > 3
        for each, mode in ((old, "cluster"), (old, "client"), (client, "client")):
            found = ranked(each, its[each], index, query, mode)
            # The lexical score itself has a weight of 1e-6, and is larger on 2.19.1. Ties follow the order of segments.
            np.testing.assert_allclose(list(found.values()), list(wanted.values()), atol=1e-5)
            np.testing.assert_allclose([wanted[product] for product in found], list(found.values()), atol=1e-5)


def test_what_ingest_puts_into_an_index_is_taken_out(old, index, encoder):
    """On 2.19.1 ingest reads by scroll, writes each vector once, and after removal every product is as it was."""
    old.indices.create(index=index, body={"settings": {"number_of_shards": 2}, "mappings": CLOSED})
    for product in PRODUCTS:
        old.index(index=index, id=product.id, body=product.source)
    old.indices.refresh(index=index)
    assert not index_io.read_release(old).has(SHARD_DOC_SORT)
    assert [ingest_index(old, index, encoder).written for _ in range(2)] == [len(TITLES), 0]
    assert set(ranked(old, encoder, index, "fire tv", "cluster")) == set(
        ranked(old, encoder, index, "fire tv", "client")
    )
    assert remove_from_index(old, index, no_progress, DEFAULT_OPTIONS).written == len(TITLES)
    hits = old.search(index=index, body={"size": 100})["hits"]["hits"]
    assert {hit["_id"]: hit["_source"] for hit in hits} == {product.id: product.source for product in PRODUCTS}


def test_vectors_never_make_an_index_lose_its_shards(old, index, encoder, monkeypatch):
    """2.19.1 fails the shards of a plain index with vectors at each new field: such an index is refused as it was."""
    monkeypatch.delenv("ANTHEM_ACCEPT_OUTAGES", raising=False)
    old.index(index=index, body={"title": "red shoe"}, refresh=True)
    with pytest.raises(ClusterError, match=r"OpenSearch 2\.19\.1: .*2\.19\.3 or newer"):
        ingest_index(old, index, encoder)
    assert "anthem" not in old.indices.get_mapping(index=index)[index]["mappings"]["properties"]


def test_an_index_made_for_products_takes_new_fields(old, index, encoder):
    """An index that ingest makes on 2.19.1 keeps answering while new fields come."""
    assert load_documents(old, index, PRODUCTS, encoder).written == len(TITLES)
    for number in range(3):
        old.index(index=index, body={"title": "red shoe", f"new{number}": "x"}, refresh=True)
        assert old.search(index=index, body={"query": {"match": {"title": "shoe"}}})["_shards"]["failed"] == 0


def test_the_release_is_read_behind_the_mask(old):
    """A 2.19.1 that calls itself 7.10.2 for old clients is taken as the oldest release that is."""
    assert parse_release(old.info()) == Release(2, 19, 1)
    setting = "compatibility.override_main_response_version"
    old.cluster.put_settings(body={"transient": {setting: True}})
    masked = old.info()
    old.cluster.put_settings(body={"transient": {setting: None}})
    assert masked["version"]["number"] == "7.10.2"
    assert parse_release(masked) == OLDEST_RELEASE
    assert not OLDEST_RELEASE.has(SAFE_MAPPING_CHANGES)
