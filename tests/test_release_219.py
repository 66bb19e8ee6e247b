"""OpenSearch 2.19.1 compared with the release of the suite: same products, same searches, same factors."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from anthem_core.encoding.bundle import ALL_SIGNALS
from anthem_core.errors import ClusterError, NodeError
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.versions import (
    BM25_WITHOUT_K1_FACTOR,
    OLDEST_RELEASE,
    SAFE_MAPPING_CHANGES,
    SHARD_DOC_SORT,
    Release,
    parse_release,
)
from anthem_ingest import index_io
from anthem_ingest.actions import ProductDocument
from anthem_ingest.ingest import DEFAULT_OPTIONS, ingest_index, load_documents, no_progress
from anthem_ingest.mapping import check_mapping_changes
from anthem_ingest.remove import remove_from_index
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_sandbox.node.java import find_java
from anthem_sandbox.node.lifecycle import temporary_node
from anthem_sandbox.node.releases import OPENSEARCH_2

pytestmark = pytest.mark.node

COLOURS = ["red", "blue", "wireless", "waterproof"]
NOUNS = ["tv stick", "fire pit", "phone case", "running shoe", "desk lamp", "garden hose", "kindle reader", "4k tv"]
TITLES = [f"{brand} {colour} {noun}" for brand in ("acme", "globex") for colour in COLOURS for noun in NOUNS]
QUERIES = ["fire tv", "red shoe", "wireless phone", "acme kindle", "fier pit", "lamp"]
PRODUCTS = [ProductDocument(str(number), {"title": title}) for number, title in enumerate(TITLES)]
# New fields do not change this mapping, so ingest accepts the index on 2.19.1.
STATIC_MAPPING = {"dynamic": "false", "properties": {"title": {"type": "text"}}}


@pytest.fixture(scope="module")
def legacy_client():
    """Client of a real OpenSearch 2.19.1."""
    try:
        find_java(release=OPENSEARCH_2)
    except NodeError as error:
        pytest.skip(str(error))
    with temporary_node(heap="512m", release=OPENSEARCH_2) as url, connect(url) as client:
        yield client


@pytest.fixture
def index(legacy_client, client):
    """Name for an index, deleted afterwards from both clusters."""
    name = f"test-219-{uuid.uuid4().hex}"
    yield name
    for cluster_client in (legacy_client, client):
        cluster_client.indices.delete(index=name, ignore_unavailable=True)


def search_scores(client, encoder, index, query, mode):
    """Scores of a search by id, best first."""
    anthem = AnthemClient(client, encoder, ClientOptions(text_fields=()))
    response = anthem.search(index, {"query": {"match": {"title": query}}, "size": 64}, mode=mode)
    assert (response["anthem"]["reranked"], response["anthem"]["mode"]) == (True, mode)
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def lexical_scores(client, index, query):
    """Scores of the plain search by id."""
    hits = client.search(index=index, body={"query": {"match": {"title": query}}, "size": 64})["hits"]["hits"]
    return {hit["_id"]: hit["_score"] for hit in hits}


def test_both_releases_differ_by_the_lexical_score_alone(legacy_client, client, index, encoder):
    """A score on 2.19.1 is that on the suite's release times `(2.2·s + h)/(s + h)`, in both modes: same factors."""
    for cluster_client in (legacy_client, client):
        settings = {"settings": {"number_of_shards": 1}, "mappings": STATIC_MAPPING}
        cluster_client.indices.create(index=index, body=settings)
        assert load_documents(cluster_client, index, PRODUCTS, encoder).written == len(TITLES)
    offset = encoder.bundle.fusion[ALL_SIGNALS].lexical_offset
    factor = 2.2 if index_io.read_release(client).has(BM25_WITHOUT_K1_FACTOR) else 1  # the suite may run on 2.19.1 too
    for query in QUERIES:
        lexical, legacy_lexical = (lexical_scores(each, index, query) for each in (client, legacy_client))
        expected = search_scores(client, encoder, index, query, "cluster")
        assert len(expected) > 3
        np.testing.assert_allclose([legacy_lexical[name] / lexical[name] for name in expected], factor, rtol=1e-5)
        ratios = {name: (legacy_lexical[name] + offset) / (lexical[name] + offset) for name in expected}
        for cluster_client, mode in ((legacy_client, "cluster"), (legacy_client, "client"), (client, "client")):
            scores = search_scores(cluster_client, encoder, index, query, mode)
            factors = ratios if cluster_client is legacy_client else dict.fromkeys(ratios, 1.0)
            assert scores == pytest.approx({name: expected[name] * factors[name] for name in expected}, rel=1e-5)


def test_removal_restores_the_products(legacy_client, index, encoder):
    """On 2.19.1 ingest reads by scroll and writes each vector once, and removal restores every product."""
    settings = {"settings": {"number_of_shards": 2}, "mappings": STATIC_MAPPING}
    legacy_client.indices.create(index=index, body=settings)
    for product in PRODUCTS:
        legacy_client.index(index=index, id=product.id, body=product.source)
    legacy_client.indices.refresh(index=index)
    assert not index_io.read_release(legacy_client).has(SHARD_DOC_SORT)
    assert [ingest_index(legacy_client, index, encoder).written for _ in range(2)] == [len(TITLES), 0]
    assert set(search_scores(legacy_client, encoder, index, "fire tv", "cluster")) == set(
        search_scores(legacy_client, encoder, index, "fire tv", "client")
    )
    assert remove_from_index(legacy_client, index, no_progress, DEFAULT_OPTIONS).written == len(TITLES)
    hits = legacy_client.search(index=index, body={"size": 100})["hits"]["hits"]
    assert {hit["_id"]: hit["_source"] for hit in hits} == {product.id: product.source for product in PRODUCTS}


def test_ingest_refuses_an_index_whose_shards_would_fail(legacy_client, index, encoder, monkeypatch):
    """On 2.19.1 a new field fails the shards of an index with vectors but without `index.knn`: ingest refuses it."""
    monkeypatch.setattr("anthem_ingest.open_index.check_mapping_changes", check_mapping_changes)
    legacy_client.index(index=index, body={"title": "red shoe"}, refresh=True)
    with pytest.raises(ClusterError, match=r"OpenSearch 2\.19\.1: .*2\.19\.3 or newer"):
        ingest_index(legacy_client, index, encoder)
    assert "anthem" not in legacy_client.indices.get_mapping(index=index)[index]["mappings"]["properties"]


def test_an_index_created_by_ingest_accepts_new_fields(legacy_client, index, encoder):
    """On 2.19.1 no shard of an index that ingest created fails when new fields are added."""
    assert load_documents(legacy_client, index, PRODUCTS, encoder).written == len(TITLES)
    for number in range(3):
        legacy_client.index(index=index, body={"title": "red shoe", f"new{number}": "x"}, refresh=True)
        response = legacy_client.search(index=index, body={"query": {"match": {"title": "shoe"}}})
        assert response["_shards"]["failed"] == 0


def test_the_release_is_read_in_compatibility_mode(legacy_client):
    """A 2.19.1 that reports 7.10.2 to old clients is treated as the oldest supported release."""
    assert parse_release(legacy_client.info()) == Release(2, 19, 1)
    setting = "compatibility.override_main_response_version"
    legacy_client.cluster.put_settings(body={"transient": {setting: True}})
    info = legacy_client.info()
    legacy_client.cluster.put_settings(body={"transient": {setting: None}})
    assert info["version"]["number"] == "7.10.2"
    assert parse_release(info) == OLDEST_RELEASE
    assert not OLDEST_RELEASE.has(SAFE_MAPPING_CHANGES)
