"""The caller's boosts on a real node: the model reorders products of similar scores, and overrules no boost."""

import itertools
import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_index import GRAPH, model_documents

from anthem_core.encoding.bundle import ALL_SIGNALS
from anthem_core.encoding.encoder import Encoder
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

BOUND = 50  # what docs/model.md promises, not what the code says
BOUND_TEXT, DISLIKED = "acme red fire tv", f"{TITLES.index('globex red tablet')} west"
BOUND_FOUND = [f"{n} west" for n, title in enumerate(TITLES) if set(BOUND_TEXT.split()) & set(title.split())]


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


def searcher(client, encoder, index):
    """Function that searches with a query for a text and returns the hits, which must have been reranked."""
    anthem = AnthemClient(client, encoder)

    def run(query, text, mode):
        response = anthem.search(index, {"query": query, "size": 100}, query_text=text, mode=mode)
        assert response["anthem"]["reranked"], response["anthem"]
        return response["hits"]["hits"]

    return run


@pytest.fixture(scope="module")
def search(client, encoder, index):
    """Searches with the weights of the bundle."""
    return searcher(client, encoder, index)


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


@pytest.fixture(scope="module")
def search_at_the_bound(client, encoder, index):
    """Function that searches for BOUND_TEXT with one product at a share of the bound; every other product scores 1.

    The weights are 100 times as large as the bundle's, so every product has nearly the largest or the least factor.
    """
    signals = {"containment", "attention"}
    fusion = {
        name: replace(weights, **{signal: 100 * getattr(weights, signal) for signal in signals})
        for name, weights in encoder.bundle.fusion.items()
    }
    search = searcher(client, Encoder(replace(encoder.bundle, fusion=fusion)), index)
    offset = fusion[ALL_SIGNALS].lexical_offset

    def run(product, share, mode):
        raised = {"filter": {"ids": {"values": [product]}}, "weight": share * BOUND * (1 + offset) - offset}
        scores = {"functions": [{"weight": 1}, raised], "score_mode": "max", "boost_mode": "replace"}
        hits = search({"function_score": {"query": match(BOUND_TEXT.split())} | scores}, BOUND_TEXT, mode)
        return [hit["_id"] for hit in hits]

    return run


@modes
@FEWER_EXAMPLES
@given(st.sampled_from(BOUND_FOUND), st.floats(1.02, 2))
@example(product=DISLIKED, share=1.02)
def test_no_product_is_overtaken_from_far_below(search_at_the_bound, mode, product, share):
    """A product whose `s + h` is more than 50 times as high as any other's is first, however the model dislikes it."""
    assert search_at_the_bound(product, share, mode)[0] == product


@modes
@FEWER_EXAMPLES
@given(st.floats(0.5, 0.98))
@example(share=0.98)
def test_a_product_just_below_the_bound_can_be_overtaken(search_at_the_bound, mode, share):
    """A disliked product whose `s + h` is almost 50 times as high as the others' is behind the product searched for."""
    ids = search_at_the_bound(DISLIKED, share, mode)
    assert ids.index(f"{TITLES.index(BOUND_TEXT)} east") < ids.index(DISLIKED)
