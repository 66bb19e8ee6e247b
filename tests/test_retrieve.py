"""Retrieve mode on a real node: what is near joins what the words find, and passes the same filters."""

import asyncio

import numpy as np
import pytest
from opensearchpy import AsyncOpenSearch
from small_shop import PRODUCTS, large_shop, match, small_shop

from anthem_core.fusion import fuse, window_score
from anthem_core.geometry.lorentz import lift
from anthem_core.geometry.regions import query_distance
from anthem_plugin.client import AnthemClient, AsyncAnthemClient, Filter, Retrieve
from anthem_plugin.rewriter.retrieve import INSEPARABLE_FILTERS_REASON, OWN_RESCORE_REASON, build_retrieve_body
from anthem_plugin.scoring.params import to_float64
from anthem_plugin.search.request import NO_HITS_REASON

WORDS = {"match": {"title": "kindle"}}
ALL = {"query": WORDS, "size": 150}
PARAMS = {"centres": [[1.0, 0.0], [2.0, 1.0]], "vector": "anthem.vector", "model_field": "anthem.model", "model": "m"}
SCRIPT = {"id": "anthem-containment-0", "params": PARAMS}


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products with a graph, every tenth without a vector."""
    with large_shop(client, encoder) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client that ranks by two signals."""
    return AnthemClient(client, encoder, text_fields=())


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def scores(response):
    """Scores by id."""
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def test_neighbours_of_every_centre_stand_beside_the_callers_query():
    """Each centre asks for three times k, of this model, within the caller's filters; both passes know their part."""
    brand = {"term": {"brand": "acme"}}
    query = {"bool": {"must": [WORDS], "filter": [brand]}}
    body = build_retrieve_body({"query": query, "size": 5}, SCRIPT, "kindle", Retrieve(k=7), window=20).body
    asked, near = body["query"]["bool"]["should"]
    assert asked == query
    found = near["constant_score"]["filter"]["bool"]
    assert found["filter"] == [{"term": {"anthem.model": "m"}}]
    assert [one["knn"]["anthem.vector"] for one in found["should"]] == [
        {"vector": centre, "k": 21, "ignore_unmapped": True, "filter": {"bool": {"filter": [brand]}}}
        for centre in PARAMS["centres"]
    ]
    (rescore,) = body["rescore"]
    assert rescore["window_size"] == 20 + 2 * 21
    inner = rescore["query"]["rescore_query"]["script_score"]["query"]
    assert inner == {"bool": {"should": [query, {"match_all": {"boost": 0}}]}}
    assert (body["size"], body["_source"]) == (5, {"excludes": ["anthem", "anthem_*.vector"]})


@pytest.mark.parametrize(
    ("body", "text", "reason"),
    [
        ({"query": WORDS}, "fire", INSEPARABLE_FILTERS_REASON),
        ({"query": WORDS}, None, INSEPARABLE_FILTERS_REASON),
        ({"query": WORDS, "rescore": {"query": {"rescore_query": WORDS}}}, "kindle", OWN_RESCORE_REASON),
        ({"query": WORDS, "sort": ["price"]}, "kindle", "the body sorts by something else than `_score`"),
        ({"query": WORDS, "collapse": {"field": "x"}}, "kindle", "OpenSearch refuses `collapse` beside a rescore"),
        ({"query": {"knn": {}}}, "kindle", "a `knn` query ranks by itself; it is left as it is"),
        ({}, "kindle", "the body has no query"),
    ],
)
def test_what_cannot_be_joined_is_left_alone(body, text, reason):
    """A body whose filters cannot be told from its words, or that takes no rescore, is left exactly as it is."""
    left = build_retrieve_body(body, SCRIPT, text)
    assert (left.body, left.reranked, left.reason) == (body, False, reason)


def test_a_filter_of_the_callers_takes_the_place_of_what_is_read_from_the_query():
    """With `filter` any query can be joined, and near products pass that clause alone."""
    own = {"term": {"stock": True}}
    body = build_retrieve_body({"query": WORDS}, SCRIPT, "fire", Retrieve(filter=own)).body
    near = body["query"]["bool"]["should"][1]["constant_score"]["filter"]["bool"]["should"]
    assert all(one["knn"]["anthem.vector"]["filter"] == {"bool": {"filter": [own]}} for one in near)


def test_the_window_keeps_within_what_opensearch_takes():
    """However many neighbours there are, no more are rescored than an index allows by default."""
    body = build_retrieve_body({"query": WORDS}, SCRIPT, "kindle", Retrieve(k=1000), window=9000).body
    assert body["rescore"][0]["window_size"] == 10_000


@pytest.mark.node
@pytest.mark.parametrize("text", ["kindle", "fire tv", "zzzz kindle", "running tablets"])
def test_both_are_ranked_by_the_fusion(anthem, client, encoder, index, text):
    """Every product has numpy's score, with the caller's lexical one or, found by its vector alone, with 0."""
    body = match(text) | {"size": 150}
    lexical = scores(client.search(index=index, body=body))
    found = scores(anthem.search(index, body, mode=Retrieve(k=10)))
    assert lexical.keys() <= found.keys()
    points = lift(encoder.products(PRODUCTS)[:, 1:].astype(np.float64))
    distance = query_distance(to_float64(encoder.query(text)), points, encoder.bundle.gamma)
    distance[::10] = np.nan
    known = np.array([lexical.get(str(number), 0.0) for number in range(len(PRODUCTS))])
    wanted = window_score(known, fuse(known, distance, anthem.scoring.fusion))
    np.testing.assert_allclose([*found.values()], [wanted[int(product)] for product in found], rtol=3e-7)
    assert [*found.values()] == sorted(found.values(), reverse=True)


@pytest.mark.node
@pytest.mark.parametrize("text", ["kindle", "fire tv"])
def test_what_the_words_find_ranks_as_in_cluster_mode(anthem, index, text):
    """Among lexical hits scores and order are those of cluster mode, to float32."""
    body = match(text) | {"size": 150}
    cluster, found = scores(anthem.search(index, body)), scores(anthem.search(index, body, mode="retrieve"))
    np.testing.assert_allclose([found[product] for product in cluster], [*cluster.values()], rtol=3e-7)


@pytest.mark.node
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_nearest_are_there(anthem, encoder, index, k):
    """The k products nearest to each centre are among the hits, whatever their words."""
    found = anthem.search(index, ALL, mode=Retrieve(k=k))
    points = lift(encoder.products(PRODUCTS)[:, 1:].astype(np.float64))
    query = to_float64(encoder.query("kindle"))
    for centre in query.centres:
        product = points[:, 0] * centre[0] - points[:, 1:] @ centre[1:]
        product[::10] = np.inf
        assert {str(number) for number in np.argsort(product)[:k]} <= set(ids(found))


@pytest.mark.node
@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ({"bool": {"must": WORDS, "filter": {"term": {"brand": "stark"}}}}, lambda hit: hit["brand"] == "stark"),
        ({"bool": {"must": [WORDS, {"range": {"price": {"lt": 60}}}]}}, lambda hit: hit["price"] < 60),
        ({"bool": {"must": WORDS, "must_not": {"term": {"brand": "acme"}}}}, lambda hit: hit["brand"] != "acme"),
        (
            {"function_score": {"query": {"bool": {"must": WORDS, "filter": [{"range": {"price": {"gte": 90}}}]}},
                                "field_value_factor": {"field": "price"}}},
            lambda hit: hit["price"] >= 90,
        ),
        (
            {"bool": {"must": WORDS, "should": [{"term": {"brand": "acme"}}, {"term": {"brand": "stark"}}],
                      "minimum_should_match": 1}},
            lambda hit: hit["brand"] in ("acme", "stark"),
        ),
    ],
)  # fmt: skip
def test_the_callers_filters_hold_for_neighbours_too(anthem, client, index, query, passes):
    """No product comes in by its vector that the filters of the query would have kept out."""
    body = {"query": query, "size": 150}
    found = anthem.search(index, body, query_text="kindle", mode=Retrieve(k=50))
    assert found["anthem"]["reranked"], found["anthem"]
    assert len(ids(found)) > len(ids(client.search(index=index, body=body)))
    assert all(passes(hit["_source"]) for hit in found["hits"]["hits"])


@pytest.mark.node
def test_a_post_filter_and_the_rest_of_a_body_hold(anthem, index):
    """Post filter, aggregations, highlights and totals are of the products found both ways."""
    body = ALL | {
        "post_filter": {"term": {"brand": "acme"}},
        "aggs": {"brands": {"terms": {"field": "brand"}}},
        "highlight": {"fields": {"title": {}}},
        "track_total_hits": True,
    }
    found = anthem.search(index, body, mode="retrieve")
    assert all(hit["_source"]["brand"] == "acme" for hit in found["hits"]["hits"])
    assert all(("highlight" in hit) == ("kindle" in hit["_source"]["title"]) for hit in found["hits"]["hits"])
    buckets = {bucket["key"]: bucket["doc_count"] for bucket in found["aggregations"]["brands"]["buckets"]}
    assert buckets["acme"] == found["hits"]["total"]["value"] == len(ids(found))
    assert all("anthem" not in hit["_source"] for hit in found["hits"]["hits"])


@pytest.mark.node
@pytest.mark.parametrize("others", [False, True])
def test_without_a_graph_it_is_left_alone(anthem, client, encoder, index, others):
    """An index whose vectors have no graph, alone or in a pattern, is searched plainly, and the cure is named."""
    with large_shop(client, encoder, graph=False) as flat:
        names = f"{index},{flat}" if others else flat
        left = [anthem.search(names, ALL, mode="retrieve") for _ in range(6)][-1]
        assert left["hits"] == client.search(index=names, body=ALL)["hits"]
        assert left["anthem"]["reason"].startswith(f"{names} has no HNSW graph")
        assert f"anthem ingest {names} --ann" in left["anthem"]["reason"]
    assert anthem.stats()["breaker"] == "closed"


@pytest.mark.node
def test_vectors_of_another_model_are_never_near(client, anthem, encoder, index):
    """A stale vector brings no product in: where there are no others the search is plain."""
    other = AnthemClient(client, encoder, text_fields=())
    other._reranker._in_cluster._scoring = type(anthem.scoring)(
        "0" * 16, anthem.scoring.dimension, anthem.scoring.gamma, 0.0, anthem.scoring.fusion
    )
    left = other.search(index, ALL, mode="retrieve")
    assert "no product among the hits has a vector of this model" in left["anthem"]["reason"]
    assert left["hits"] == client.search(index=index, body=ALL)["hits"]


@pytest.mark.node
def test_an_index_that_knows_no_vectors_adds_nothing(client, anthem, index):
    """In a pattern an index without ANTHEM's fields loses no product; alone it is left alone."""
    name = f"{index}-bare"
    client.indices.create(index=name, body={"mappings": {"properties": {"title": {"type": "text"}}}})
    client.index(index=name, id="bare", body={"title": "kindle"}, refresh=True)
    both, alone = anthem.search(f"{index}*", ALL, mode="retrieve"), anthem.search(name, ALL, mode="retrieve")
    client.indices.delete(index=name)
    assert both["anthem"]["reranked"]
    assert "bare" in ids(both)
    assert (alone["anthem"]["reranked"], ids(alone)) == (False, ["bare"])


@pytest.mark.node
def test_near_products_beneath_a_page_without_vectors_count(anthem, client, index):
    """A page of products without vectors is of a search that retrieved, where near ones stand on later pages."""
    for number in range(3):
        client.index(index=index, id=f"odd{number}", body={"title": "oddity"}, refresh=True)
    found = anthem.search(index, match("oddity") | {"size": 1}, mode="retrieve")
    every = anthem.search(index, match("oddity") | {"size": 150}, mode="retrieve")
    client.delete_by_query(index=index, body={"query": {"match": {"title": "oddity"}}}, params={"refresh": "true"})
    assert found["anthem"]["reranked"]
    assert ids(every)[0] == ids(found)[0]
    assert len(ids(every)) > 3


@pytest.mark.node
@pytest.mark.parametrize("extra", [{"size": 0}, {"from": 2000}])
def test_no_hits_are_the_plain_search(anthem, client, index, extra):
    """Where the page has no hits anyway, totals are those of the caller's own search."""
    left = anthem.search(index, ALL | extra, mode="retrieve")
    assert left["hits"] == client.search(index=index, body=ALL | extra)["hits"]
    assert left["anthem"]["reason"] == NO_HITS_REASON


@pytest.mark.node
def test_words_that_find_nothing_find_what_is_near(anthem, client, index):
    """A misspelled query that has no lexical hit has neighbours, and is reranked."""
    assert ids(client.search(index=index, body=match("kinddle"))) == []
    found = anthem.search(index, match("kinddle") | {"size": 5}, mode="retrieve")
    assert found["anthem"]["reranked"]
    assert len(ids(found)) == 5


@pytest.mark.node
def test_a_region_is_retrieved_by_all_its_centres(anthem, encoder, index):
    """A join of two queries brings in what is near to either; without a text of it, `filter` says what holds."""
    region = encoder.query("kindle") | encoder.query("shoe")
    body = {"query": {"match_all": {}}, "size": 150}
    assert anthem.search(index, body, region=region, mode="retrieve")["anthem"]["reranked"]
    acme = {"term": {"brand": "acme"}}
    found = anthem.search(index, ALL, region=region, query_text="shoe", mode=Retrieve(k=5, filter=acme))
    assert all(hit["_source"]["brand"] == "acme" or "kindle" in hit["_source"]["title"]
               for hit in found["hits"]["hits"])  # fmt: skip
    assert any("shoe" in hit["_source"]["title"] for hit in found["hits"]["hits"])


@pytest.mark.node
def test_the_async_twin_retrieves_alike(cluster, anthem, client, encoder, index):
    """Awaited, it gives the same, and the same reason where there is no graph."""

    async def ask(name):
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder, text_fields=()).search(name, ALL, mode=Retrieve(k=9))

    with small_shop(client, encoder) as flat:
        for name in (index, flat):
            expected, found = anthem.search(name, ALL, mode=Retrieve(k=9)), asyncio.run(ask(name))
            assert found["hits"] == expected["hits"]
            assert found["anthem"] | {"took_ms": 0} == expected["anthem"] | {"took_ms": 0}


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": -1}, {"k": 1001}, {"filter": {}}])
def test_neighbours_must_make_sense(wrong):
    """None of them, more than a search should ask for, and a clause that says nothing, are the caller's errors."""
    with pytest.raises(ValueError, match=str(*wrong.values())):
        Retrieve(**wrong)


def test_a_mode_of_ones_own_is_a_mode(encoder):
    """What is neither a name nor a way to filter or retrieve is refused at once."""
    with pytest.raises(ValueError, match="nearby"):
        AnthemClient(None, encoder)._course(None, {}, None, "nearby", 1, {})
    assert Filter() == Filter(None, unknown=True, limit=50_000)
