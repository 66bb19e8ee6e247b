"""Retrieve mode on a real node: it adds near products, which match the same filters, to the lexical hits."""

import asyncio
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from opensearchpy import AsyncOpenSearch
from small_index import PRODUCTS, large_index, match, small_index, stored_points

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.encoder import Encoder
from anthem_core.geometry.regions import EncodedQuery
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.modes import Filter, ModeName, Retrieve, mode_name, resolve_mode
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.own_scores import OWN_RESCORE_REASON
from anthem_plugin.rewriter.rescore import NO_HITS_REQUESTED_REASON
from anthem_plugin.rewriter.retrieve import INSEPARABLE_FILTERS_REASON, build_retrieve_body
from anthem_plugin.scoring.params import BOTH, ScoringParams, to_float64
from anthem_plugin.scoring.window import score_window
from anthem_plugin.search.request import NO_HITS_REASON, no_values_reason

KINDLE = {"match": {"title": "kindle"}}
KINDLE_BODY = {"query": KINDLE, "size": 150}
CENTRES = [[1.0, 0.0], [2.0**0.5, 1.0], [401.0**0.5, 20.0]]
QUERY = EncodedQuery(np.array(CENTRES), np.ones((3, 1)), np.full(3, 1 / 3), np.ones(1), np.ones((1, 1)))
SCORING = ScoringParams("m", 1, 0.2, 0.125, 0.0, {}, BOTH)
SCRIPT = {"id": "anthem-score-0", "params": {}}


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products with an HNSW graph, every tenth without values of the model."""
    with large_index(client, encoder) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client that reads no texts."""
    return AnthemClient(client, encoder, ClientOptions(text_fields=()))


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def scores(response):
    """Scores by id."""
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def test_neighbours_of_every_centre_are_added_to_the_query():
    """Each centre requests three times k products of this model that match the filters; the rescore ranks all hits.

    Centres are packed as vectors are: in whole steps, of which a byte holds 127.
    """
    brand = {"term": {"brand": "acme"}}
    query = {"bool": {"must": [KINDLE], "filter": [brand]}}
    body = build_retrieve_body(
        {"query": query, "size": 5}, SCRIPT, QUERY, SCORING, "kindle", Retrieve(k=7), window=20
    ).body
    lexical, near = body["query"]["bool"]["should"]
    assert lexical == query
    neighbours = near["constant_score"]["filter"]["bool"]
    other_model = {"bool": {"must_not": [{"term": {"anthem.model": "m"}}]}}
    assert neighbours["must_not"] == [other_model]
    assert [clause["knn"]["anthem.vector"] for clause in neighbours["should"]] == [
        {"vector": centre, "k": 21, "ignore_unmapped": True, "filter": {"bool": {"filter": [brand]}}}
        for centre in ([0], [8], [127])
    ]
    (rescore,) = body["rescore"]
    assert rescore["window_size"] == 20 + 3 * 21
    inner = rescore["query"]["rescore_query"]["script_score"]["query"]
    assert inner == {"bool": {"should": [query, {"match_all": {"boost": 0}}]}}
    assert (body["size"], body["_source"]) == (5, {"excludes": ["anthem", "anthem_*.vector", "anthem_*.trigrams"]})


@pytest.mark.parametrize(
    ("body", "text", "reason"),
    [
        ({"query": KINDLE}, "fire", INSEPARABLE_FILTERS_REASON),
        ({"query": KINDLE}, None, INSEPARABLE_FILTERS_REASON),
        ({"query": KINDLE, "rescore": {"query": {"rescore_query": KINDLE}}}, "kindle", OWN_RESCORE_REASON),
        ({"query": KINDLE, "sort": ["price"]}, "kindle", "the body does not sort by `_score` alone"),
        (
            {"query": KINDLE, "collapse": {"field": "x"}},
            "kindle",
            "OpenSearch does not allow `collapse` together with a rescore; use client mode",
        ),
        ({"query": {"knn": {}}}, "kindle", "a `knn` query defines its own ranking"),
        ({}, "kindle", "the body has no query"),
    ],
)
def test_unsupported_bodies_are_returned_unchanged(body, text, reason):
    """A body whose filters cannot be separated from its text, or that cannot be rescored, is returned unchanged."""
    result = build_retrieve_body(body, SCRIPT, QUERY, SCORING, text)
    assert (result.body, result.reranked, result.reason) == (body, False, reason)


def test_an_explicit_filter_replaces_the_extracted_clauses():
    """With `filter` any query is supported, and near products must match this clause only."""
    clause = {"term": {"stock": True}}
    body = build_retrieve_body({"query": KINDLE}, SCRIPT, QUERY, SCORING, "fire", Retrieve(filter=clause)).body
    near = body["query"]["bool"]["should"][1]["constant_score"]["filter"]["bool"]["should"]
    assert all(knn["knn"]["anthem.vector"]["filter"] == {"bool": {"filter": [clause]}} for knn in near)


def test_the_window_is_limited_to_opensearchs_maximum():
    """The rescore window never exceeds what an index allows by default."""
    body = build_retrieve_body({"query": KINDLE}, SCRIPT, QUERY, SCORING, "kindle", Retrieve(k=1000), window=9000).body
    assert body["rescore"][0]["window_size"] == 10_000


@pytest.mark.node
@pytest.mark.parametrize("text", ["kindle", "fire tv", "zzzz kindle", "running tablets"])
def test_lexical_and_near_products_are_ranked_by_the_fusion(anthem, client, encoder, index, text):
    """Every score is numpy's, with the caller's lexical score, or 0 for a product found by its vector alone."""
    body = match(text) | {"size": 150}
    lexical = scores(client.search(index=index, body=body))
    response = scores(anthem.search(index, body, mode=Retrieve(k=10)))
    assert lexical.keys() <= response.keys()
    points = stored_points(encoder, PRODUCTS)
    distance = to_float64(encoder.encode_query(text)).distance(points, encoder.bundle.gamma)
    attention = AttentionScorer(encoder.bundle).score_titles(text, PRODUCTS)
    distance[::10] = attention[::10] = np.nan
    known = np.array([lexical.get(str(number), 0.0) for number in range(len(PRODUCTS))])
    expected = score_window(known, anthem.profile(index).scoring, distance=distance, attention=attention)
    np.testing.assert_allclose([*response.values()], [expected[int(product)] for product in response], rtol=1e-6)
    assert [*response.values()] == sorted(response.values(), reverse=True)


@pytest.mark.node
@pytest.mark.parametrize("text", ["kindle", "fire tv"])
def test_lexical_hits_score_as_in_cluster_mode(anthem, index, text):
    """Lexical hits have the scores of cluster mode, to float32 precision."""
    body = match(text) | {"size": 150}
    cluster, response = scores(anthem.search(index, body)), scores(anthem.search(index, body, mode="retrieve"))
    np.testing.assert_allclose([response[product] for product in cluster], [*cluster.values()], rtol=3e-7)


@pytest.mark.node
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_nearest_products_are_found(anthem, encoder, index, k):
    """The k products nearest to each centre are among the hits, whatever their titles."""
    response = anthem.search(index, KINDLE_BODY, mode=Retrieve(k=k))
    points = stored_points(encoder, PRODUCTS)
    query = to_float64(encoder.encode_query("kindle"))
    for centre in query.centres:
        product = points[:, 0] * centre[0] - points[:, 1:] @ centre[1:]
        product[::10] = np.inf
        assert {str(number) for number in np.argsort(product)[:k]} <= set(ids(response))


@pytest.mark.node
def test_high_lexical_scores_displace_no_neighbour(anthem, index):
    """However high the caller's scores are, the same products are ranked, and boosted lexical hits stay first."""
    boosted = {"query": {"match": {"title": {"query": "kindle", "boost": 1e7}}}, "size": 150}
    options = {"query_text": "kindle", "mode": Retrieve(k=10), "window": 1}
    plain, response = (anthem.search(index, body, **options) for body in (KINDLE_BODY, boosted))
    lexical = {product for product in ids(plain) if "kindle" in PRODUCTS[int(product)]}
    assert set(ids(plain)) == set(ids(response)) > lexical
    ranked = [product for product, score in scores(response).items() if score > 1e-3]
    assert len(ranked) > len(lexical)
    assert {product for product in ranked if product not in lexical} == {
        product for product, score in scores(plain).items() if score > 1e-3 and product not in lexical
    }


@pytest.mark.node
@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ({"bool": {"must": KINDLE, "filter": {"term": {"brand": "stark"}}}}, lambda hit: hit["brand"] == "stark"),
        ({"bool": {"must": [KINDLE, {"range": {"price": {"lt": 60}}}]}}, lambda hit: hit["price"] < 60),
        ({"bool": {"must": KINDLE, "must_not": {"term": {"brand": "acme"}}}}, lambda hit: hit["brand"] != "acme"),
        (
            {"function_score": {"query": {"bool": {"must": KINDLE, "filter": [{"range": {"price": {"gte": 90}}}]}},
                                "field_value_factor": {"field": "price"}}},
            lambda hit: hit["price"] >= 90,
        ),
        (
            {"bool": {"must": KINDLE, "should": [{"term": {"brand": "acme"}}, {"term": {"brand": "stark"}}],
                      "minimum_should_match": 1}},
            lambda hit: hit["brand"] in ("acme", "stark"),
        ),
    ],
)  # fmt: skip
def test_the_callers_filters_apply_to_neighbours(anthem, client, index, query, passes):
    """No product that the filters of the query exclude is added by its vector."""
    body = {"query": query, "size": 150}
    response = anthem.search(index, body, query_text="kindle", mode=Retrieve(k=50))
    assert response["anthem"]["reranked"], response["anthem"]
    assert len(ids(response)) > len(ids(client.search(index=index, body=body)))
    assert all(passes(hit["_source"]) for hit in response["hits"]["hits"])


@pytest.mark.node
def test_post_filter_aggregations_and_highlights_apply(anthem, index):
    """Post filter, aggregations, highlights and totals apply to lexical and near products."""
    body = KINDLE_BODY | {
        "post_filter": {"term": {"brand": "acme"}},
        "aggs": {"brands": {"terms": {"field": "brand"}}},
        "highlight": {"fields": {"title": {}}},
        "track_total_hits": True,
    }
    response = anthem.search(index, body, mode="retrieve")
    assert all(hit["_source"]["brand"] == "acme" for hit in response["hits"]["hits"])
    assert all(("highlight" in hit) == ("kindle" in hit["_source"]["title"]) for hit in response["hits"]["hits"])
    buckets = {bucket["key"]: bucket["doc_count"] for bucket in response["aggregations"]["brands"]["buckets"]}
    assert buckets["acme"] == response["hits"]["total"]["value"] == len(ids(response))
    assert all("anthem" not in hit["_source"] for hit in response["hits"]["hits"])


@pytest.mark.node
@pytest.mark.parametrize("others", [False, True])
def test_without_a_graph_the_search_is_plain(anthem, client, encoder, index, others):
    """If an index, alone or in a pattern, has no HNSW graph, the search is plain and the reason names a command.

    Behind an alias it names the index, whose copy is called INDEX-ann; of several indices each is copied by itself.
    """
    with large_index(client, encoder, graph=False) as flat:
        client.indices.put_alias(index=flat, name=f"{flat}-alias")
        through_alias = anthem.search(f"{flat}-alias", KINDLE_BODY, mode="retrieve")["anthem"]["reason"]
        assert f"search {flat}-ann, the copy that `anthem ingest {flat} --ann` creates" in through_alias
        names = f"{index},{flat}" if others else flat
        response = [anthem.search(names, KINDLE_BODY, mode="retrieve") for _ in range(6)][-1]
        assert response["hits"] == client.search(index=names, body=KINDLE_BODY)["hits"]
        assert response["anthem"]["reason"].startswith(f"{names} has no HNSW graph")
        assert ("anthem ingest INDEX --ann" if others else f"anthem ingest {flat} --ann") in response["anthem"][
            "reason"
        ]
    assert anthem.stats()["breaker"] == "closed"


@pytest.mark.node
def test_vectors_of_another_model_are_ignored(client, encoder, index):
    """Vectors of another model add no products; if there are no others, the search is plain."""
    stale = replace(encoder.bundle, model_id="0" * 16)
    other = AnthemClient(client, Encoder(stale), ClientOptions(text_fields=()))
    response = other.search(index, KINDLE_BODY, mode="retrieve")
    assert response["anthem"]["reason"] == no_values_reason(index)
    assert response["hits"] == client.search(index=index, body=KINDLE_BODY)["hits"]


@pytest.mark.node
def test_an_index_without_vector_fields_adds_nothing(client, anthem, index):
    """In a pattern, an index without vector fields keeps its lexical hits; alone it is searched plainly."""
    name = f"{index}-bare"
    client.indices.create(index=name, body={"mappings": {"properties": {"title": {"type": "text"}}}})
    client.index(index=name, id="bare", body={"title": "kindle"}, refresh=True)
    both, alone = (
        anthem.search(f"{index}*", KINDLE_BODY, mode="retrieve"),
        anthem.search(name, KINDLE_BODY, mode="retrieve"),
    )
    client.indices.delete(index=name)
    assert both["anthem"]["reranked"]
    assert "bare" in ids(both)
    assert (alone["anthem"]["reranked"], ids(alone)) == (False, ["bare"])


@pytest.mark.node
def test_a_page_without_vectors_counts_if_later_pages_have_some(anthem, client, index):
    """A page of products without vectors counts as retrieved if later pages have near products."""
    for number in range(3):
        client.index(index=index, id=f"odd{number}", body={"title": "oddity"}, refresh=True)
    response = anthem.search(index, match("oddity") | {"size": 1}, mode="retrieve")
    long_page = anthem.search(index, match("oddity") | {"size": 150}, mode="retrieve")
    client.delete_by_query(index=index, body={"query": {"match": {"title": "oddity"}}}, params={"refresh": "true"})
    assert response["anthem"]["reranked"]
    assert ids(long_page)[0] == ids(response)[0]
    assert len(ids(long_page)) > 3


@pytest.mark.node
@pytest.mark.parametrize(
    ("extra", "reason"), [({"size": 0}, NO_HITS_REQUESTED_REASON), ({"from": 2000}, NO_HITS_REASON)]
)
def test_a_page_without_hits_is_plain(anthem, client, index, extra, reason):
    """If the page has no hits, totals are those of the plain search."""
    response = anthem.search(index, KINDLE_BODY | extra, mode="retrieve")
    assert response["hits"] == client.search(index=index, body=KINDLE_BODY | extra)["hits"]
    assert response["anthem"]["reason"] == reason


@pytest.mark.node
@pytest.mark.parametrize("kind", ["unified", "plain"])
def test_nothing_is_highlighted_but_the_callers_words(anthem, client, index, kind):
    """A highlight of all fields marks what it marks in the plain search, and not the id of the model."""
    for fields in ("*", "a*", "anthem.model"):
        body = KINDLE_BODY | {"highlight": {"fields": {fields: {"type": kind}}, "require_field_match": False}}
        response, plain = anthem.search(index, body, mode="retrieve"), client.search(index=index, body=body)
        assert response["anthem"]["reranked"]
        marked = [{hit["_id"]: hit["highlight"] for hit in each["hits"]["hits"] if "highlight" in hit}
                  for each in (response, plain)]  # fmt: skip
        assert marked[0] == marked[1]
        assert bool(marked[0]) == (fields == "*")


@pytest.mark.node
def test_near_products_are_of_the_same_model(anthem, encoder, client):
    """A product near the query's centres is added only if its values are of this model."""
    with large_index(client, encoder) as name:
        before = anthem.search(name, KINDLE_BODY, mode="retrieve")
        added = [hit["_id"] for hit in before["hits"]["hits"] if "kindle" not in hit["_source"]["title"]]
        client.update(
            index=name, id=added[0], body={"doc": {"anthem": {"model": "0123456789abcdef"}}}, params={"refresh": "true"}
        )
        assert added[0] not in ids(anthem.search(name, KINDLE_BODY, mode="retrieve"))


@pytest.mark.node
def test_a_query_without_lexical_hits_finds_near_products(anthem, client, index):
    """A misspelled query without lexical hits finds near products and is reranked."""
    assert ids(client.search(index=index, body=match("kinddle"))) == []
    response = anthem.search(index, match("kinddle") | {"size": 5}, mode="retrieve")
    assert response["anthem"]["reranked"]
    assert len(ids(response)) == 5


@pytest.mark.node
def test_a_region_retrieves_by_all_its_centres(anthem, encoder, index):
    """A compound region adds products near either query; without a query text, `filter` gives the filters."""
    region = encoder.encode_query("kindle") | encoder.encode_query("shoe")
    body = {"query": {"match_all": {}}, "size": 150}
    assert anthem.search(index, body, region=region, mode="retrieve")["anthem"]["reranked"]
    acme = {"term": {"brand": "acme"}}
    response = anthem.search(index, KINDLE_BODY, region=region, query_text="shoe", mode=Retrieve(k=5, filter=acme))
    assert all(hit["_source"]["brand"] == "acme" or "kindle" in hit["_source"]["title"]
               for hit in response["hits"]["hits"])  # fmt: skip
    assert any("shoe" in hit["_source"]["title"] for hit in response["hits"]["hits"])


@pytest.mark.node
def test_the_async_client_retrieves_alike(cluster, anthem, client, encoder, index):
    """The async client gives the same response, and the same reason if there is no graph."""

    async def search(name):
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder, ClientOptions(text_fields=())).search(
                name, KINDLE_BODY, mode=Retrieve(k=9)
            )

    with small_index(client, encoder) as flat:
        for name in (index, flat):
            expected, response = anthem.search(name, KINDLE_BODY, mode=Retrieve(k=9)), asyncio.run(search(name))
            assert response["hits"] == expected["hits"]
            assert response["anthem"] | {"took_ms": 0} == expected["anthem"] | {"took_ms": 0}


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": -1}, {"k": 1001}, {"filter": {}}])
def test_invalid_retrieve_options_are_an_error(wrong):
    """A `k` out of range and an empty filter raise a ValueError."""
    with pytest.raises(ValueError, match=str(*wrong.values())):
        Retrieve(**wrong)


def test_an_unknown_mode_is_refused():
    """A mode is a known name, or the options of a mode that has some; a name means the default options."""
    with pytest.raises(ValueError, match="nearby"):
        resolve_mode("nearby")
    assert resolve_mode("filter") == Filter(None, unknown=True, limit=50_000)
    assert resolve_mode("retrieve") == Retrieve(50, None)
    for mode in (Filter(slack=0.5), Retrieve(k=3)):
        assert resolve_mode(mode) is mode
    names = [mode_name(resolve_mode(name)) for name in get_args(ModeName)]
    assert names == list(get_args(ModeName))
