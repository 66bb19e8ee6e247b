"""Scores from outside the query: the caller's own order is kept, and the reason says why the search is not reranked."""

import itertools
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_index import GRAPH, match, model_documents

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.rewriter.own_scores import (
    INDICES_BOOST_REASON,
    OWN_EXTENSION_REASON,
    OWN_PIPELINE_REASON,
    OWN_RESCORE_REASON,
    own_scores_reason,
)
from anthem_plugin.rewriter.rescore import build_filter_body, build_rescore_body, build_window_body
from anthem_plugin.scoring.window import score_attention, score_window
from anthem_plugin.search.response import hit_distances

BRANDS, NOUNS = ["acme", "globex", "stark"], ["fire tv", "tv stick", "fire pit", "mini tv fire"]
TITLES = [" ".join(words) for words in itertools.product(BRANDS, NOUNS)]
BODY = match("fire tv") | {"size": 24}
RANKING_MODES = ["cluster", "client", "retrieve"]
words = st.sampled_from([*BRANDS, "stick", "pit", "mini"])
weights = st.floats(0.125, 50)
rescorers = st.builds(
    lambda window, word, weight, rescore_weight, mode: {
        "window_size": window,
        "query": {
            "rescore_query": {"match": {"title": word}},
            "query_weight": weight,
            "rescore_query_weight": rescore_weight,
            "score_mode": mode,
        },
    },
    st.integers(1, 30),
    words,
    weights,
    weights,
    st.sampled_from(["total", "multiply", "max", "min", "avg"]),
)


@pytest.fixture(scope="module")
def shops(client, encoder):
    """Two indices of the same products, each with an HNSW graph on one shard; yields the pattern that matches both."""
    name = f"test-own-{uuid.uuid4().hex}"
    mapping = ModelFields().mapping(encoder.bundle.dimension)
    mapping["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    settings = {"number_of_shards": 1, "index.knn": True}
    for shop in (f"{name}-a", f"{name}-b"):
        client.indices.create(index=shop, body={"settings": settings, "mappings": mapping})
        lines = []
        for number, (title, values) in enumerate(zip(TITLES, model_documents(encoder, TITLES), strict=True)):
            lines += [{"index": {"_id": str(number)}}, {"title": title} | values]
        assert not client.bulk(body=lines, index=shop, refresh=True)["errors"]
    yield f"{name}-*"
    client.indices.delete(index=f"{name}-*")


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client."""
    return AnthemClient(client, encoder)


def report(response):
    """Whether a response was reranked, in which mode, and the reason."""
    return response["anthem"]["reranked"], response["anthem"]["mode"], response["anthem"]["reason"]


@pytest.mark.node
@pytest.mark.parametrize("mode", RANKING_MODES)
@given(rescore=rescorers | st.lists(rescorers, min_size=1, max_size=2))
def test_the_callers_rescore_decides(client, anthem, shops, mode, rescore):
    """A search with a rescore of its own has the hits, order and scores of the plain search, in every ranking mode."""
    body = BODY | {"rescore": rescore}
    plain, response = client.search(index=shops, body=body), anthem.search(shops, body, mode=mode)
    assert response["hits"] == plain["hits"]
    assert report(response) == (False, "none", OWN_RESCORE_REASON)


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "retrieve"])
@given(weight=weights)
def test_index_boosts_decide_where_the_script_ranks(client, anthem, shops, mode, weight):
    """With `indices_boost`, a mode that ranks by the script returns the plain search and names client mode."""
    body = BODY | {"indices_boost": [{shops.replace("*", "b"): weight}]}
    plain, response = client.search(index=shops, body=body), anthem.search(shops, body, mode=mode)
    assert response["hits"] == plain["hits"]
    assert report(response) == (False, "none", INDICES_BOOST_REASON)
    assert "client mode" in INDICES_BOOST_REASON


@pytest.mark.node
@given(weight=st.floats(0.125, 1000))
def test_client_mode_ranks_by_boosted_scores(client, anthem, encoder, shops, weight):
    """In client mode the lexical score of a product contains the boost of its index."""
    body = BODY | {"indices_boost": [{shops.replace("*", "b"): weight}]}
    boosted = client.search(index=shops, body=body)["hits"]["hits"]
    response = anthem.search(shops, body, mode="client")
    assert report(response) == (True, "client", None)
    scoring, scorer = anthem.profile(shops).scoring, AttentionScorer(encoder.bundle)
    expected = score_window(
        np.array([hit["_score"] for hit in boosted]),
        scoring,
        distance=hit_distances(boosted, encoder.encode_query("fire tv"), scoring),
        attention=score_attention(
            [scorer.encode_query("fire tv")], scorer.encode_titles([hit["_source"]["title"] for hit in boosted])
        ),
    )
    by_id = {(hit["_index"], hit["_id"]): hit["_score"] for hit in response["hits"]["hits"]}
    scores = [by_id[hit["_index"], hit["_id"]] for hit in boosted]
    np.testing.assert_allclose(scores, expected, rtol=3e-7)


@pytest.mark.node
@pytest.mark.parametrize("mode", RANKING_MODES)
@pytest.mark.parametrize(
    "empty", [{"rescore": []}, {"indices_boost": []}, {"indices_boost": {}}, {"search_pipeline": {}}]
)
def test_empty_keys_change_nothing(anthem, shops, mode, empty):
    """A key that gives no scores, because it is empty, does not prevent reranking."""
    assert report(anthem.search(shops, BODY | empty, mode=mode))[0]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"rescore": {"query": {}}}, OWN_RESCORE_REASON),
        ({"rescore": [{}]}, OWN_RESCORE_REASON),
        ({"rescore": {}}, OWN_RESCORE_REASON),  # OpenSearch rejects it, and so must the reranked search
        (
            {"search_pipeline": {"response_processors": [{"truncate_hits": {}}, {"rerank": {"by_field": {}}}]}},
            OWN_PIPELINE_REASON.format("rerank"),
        ),
        (
            {"search_pipeline": {"phase_results_processors": [{"normalization-processor": {}}]}},
            OWN_PIPELINE_REASON.format("normalization-processor"),
        ),
        (
            {"search_pipeline": {"request_processors": [{"ml_inference": {}}]}},
            OWN_PIPELINE_REASON.format("ml_inference"),
        ),
        ({"ext": {"rerank": {}}}, OWN_EXTENSION_REASON.format("rerank")),
        ({"ext": {"mmr": {"diversity": 0.5}}}, OWN_EXTENSION_REASON.format("mmr")),
    ],
)
def test_every_ranking_mode_leaves_such_a_body_alone(key, reason):
    """A body with scores or an order from outside the query is returned as it is by every mode that ranks."""
    body = BODY | key
    for rewritten in (build_rescore_body(body, {}), build_window_body(body)):
        assert (rewritten.body, rewritten.reranked, rewritten.reason) == (body, False, reason)
    assert build_filter_body(body, {}).reranked, "a filter changes no scores"


@pytest.mark.parametrize(
    "key",
    [
        {"search_pipeline": "named"},
        {"search_pipeline": {"request_processors": [{"filter_query": {}}, {"oversample": {}}], "description": "x"}},
        {"search_pipeline": {"response_processors": [{"truncate_hits": {}}, {"rename_field": {}}]}},
        {"ext": {"generative_qa_parameters": {}}},
        {"search_pipeline": ["odd"]},
        {"search_pipeline": {"response_processors": 5, "request_processors": ["odd"]}},
    ],
)
def test_other_pipelines_and_extensions_stay(key):
    """A pipeline with processors that keep the order, one that is only named, and other extensions are no reason."""
    assert own_scores_reason(BODY | key) is None
