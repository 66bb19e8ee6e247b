"""The caller's boosts on a real node: the model reorders products of similar scores, and overrules no boost."""

import itertools
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_index import GRAPH, model_documents

from anthem_core.fusion import MAX_FACTOR_RATIO
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient

pytestmark = pytest.mark.node

BRANDS, TRAITS, NOUNS = ["acme", "globex"], ["red", "wireless", "mini"], ["fire tv", "tv stick", "fire pit", "tablet"]
TITLES = [" ".join(words) for words in itertools.product(BRANDS, TRAITS, NOUNS)]
SHOPS = ["east", "west"]  # each sells every product
FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 5)
modes = pytest.mark.parametrize("mode", ["cluster", "client", "retrieve"])
texts = st.lists(st.sampled_from(["fire", "tv", "stick", "red", "mini", "acme", "tablet"]), min_size=1, max_size=3)
products = st.integers(0, len(TITLES) - 1)


@pytest.fixture(scope="module")
def index(client, encoder):
    """Every title once per shop, on one shard, with an HNSW graph."""
    name = f"test-boosts-{uuid.uuid4().hex}"
    mapping = ModelFields().mapping(encoder.bundle.dimension)
    mapping["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    mapping["properties"]["shop"] = {"type": "keyword"}
    settings = {"number_of_shards": 1, "index.knn": True}
    client.indices.create(index=name, body={"settings": settings, "mappings": mapping})
    lines = []
    for number, (title, values) in enumerate(zip(TITLES, model_documents(encoder, TITLES), strict=True)):
        for shop in SHOPS:
            lines += [{"index": {"_id": f"{number} {shop}"}}, {"title": title, "shop": shop} | values]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def search(client, encoder, index):
    """Function that searches with a query for a text and returns the hits, which must have been reranked."""
    anthem = AnthemClient(client, encoder)

    def run(query, text, mode):
        response = anthem.search(index, {"query": query, "size": 100}, query_text=text, mode=mode)
        assert response["anthem"]["reranked"], response["anthem"]
        return response["hits"]["hits"]

    return run


def match(words):
    """Clause that searches for words."""
    return {"match": {"title": " ".join(words)}}


@modes
@FEWER_EXAMPLES
@given(texts, products)
def test_a_pinned_product_stays_first(search, mode, words, number):
    """A product pinned by a boost of 1,000 is the first hit, whatever the model says."""
    pinned = {"constant_score": {"filter": {"ids": {"values": [f"{number} east"]}}, "boost": 1000}}
    query = {"bool": {"should": [match(words), pinned]}}
    assert search(query, " ".join(words), mode)[0]["_id"] == f"{number} east"


@modes
@FEWER_EXAMPLES
@given(texts, st.floats(0.001, 1000).filter(lambda factor: not 0.99 < factor < 1.01))
def test_boosts_and_demotions_order_equals(search, mode, words, factor):
    """Of two products that are equal but for a boost or a demotion, the one with the higher score is ahead."""
    boosted = {"filter": {"term": {"shop": "east"}}, "weight": factor}
    query = {"function_score": {"query": match(words), "functions": [boosted], "boost_mode": "multiply"}}
    ranks = {hit["_id"]: rank for rank, hit in enumerate(search(query, " ".join(words), mode))}
    # A product found by its vector alone has no lexical score that could be boosted.
    found = [number for number, title in enumerate(TITLES) if set(words) & set(title.split())]
    assert all((ranks[f"{number} east"] < ranks[f"{number} west"]) == (factor > 1) for number in found)
    assert found


@modes
@FEWER_EXAMPLES
@given(texts, st.sampled_from([1e5, 1e7, 1e9]))
def test_the_scale_of_the_scores_changes_no_order(search, mode, words, scale):
    """Scores of any magnitude are ordered alike: the ranked scores grow by the same factor as the lexical ones."""
    text = " ".join(words)
    low, high = (
        {hit["_id"]: hit["_score"] for hit in search({"match": {"title": {"query": text, "boost": boost}}}, text, mode)}
        for boost in (1e4, scale)
    )
    assert low.keys() == high.keys()
    found = [product for product, score in low.items() if score > 10]  # by words, not by the vector alone
    assert len(found) > 1
    np.testing.assert_allclose([high[product] / scale for product in found],
                               [low[product] / 1e4 for product in found], rtol=1e-4)  # fmt: skip


@modes
@FEWER_EXAMPLES
@given(texts, products, st.floats(1.1, 50))
def test_no_product_is_overtaken_from_far_below(client, search, index, mode, words, number, factor):
    """A product whose score is more than 20 times as high as another's is ranked above it."""
    text = " ".join(words)
    best = client.search(index=index, body={"query": match(words), "size": 1})["hits"]["max_score"]
    boost = factor * MAX_FACTOR_RATIO * (best + 1)
    pinned = {"constant_score": {"filter": {"ids": {"values": [f"{number} west"]}}, "boost": boost}}
    hits = search({"bool": {"should": [match(words), pinned]}}, text, mode)
    assert hits[0]["_id"] == f"{number} west"
