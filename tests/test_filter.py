"""Filter mode on a real node: what is not contained is gone, and an empty page is never without its reason."""

import asyncio
import logging

import numpy as np
import pytest
from opensearchpy import AsyncOpenSearch
from small_shop import PRODUCTS, large_shop, match, small_shop

from anthem_core.geometry.lorentz import lift
from anthem_core.geometry.regions import contained
from anthem_plugin.client import AnthemClient, AsyncAnthemClient, Filter
from anthem_plugin.rewriter.rescore import build_filter_body
from anthem_plugin.scoring import painless
from anthem_plugin.scoring.painless import build_filter_script
from anthem_plugin.scoring.params import to_float64
from anthem_plugin.search.cluster_mode import NOTHING_CONTAINED, TOO_MANY_MATCHES
from anthem_plugin.search.request import NO_HITS_REASON

SCRIPT = {"id": "anthem-containment-0", "params": {"slack": 0.1}}
ALL = match("fire tv red") | {"size": 200, "track_total_hits": True}


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without a vector."""
    with large_shop(client, encoder, graph=False) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client."""
    return AnthemClient(client, encoder, text_fields=())


@pytest.fixture(scope="module")
def excess(encoder):
    """How far out each product lies, by numpy; `-inf` for one without a vector."""
    points = lift(encoder.products(PRODUCTS)[:, 1:].astype(np.float64))
    found = to_float64(encoder.query("fire tv red")).excess(points)
    return np.where(np.arange(len(PRODUCTS)) % 10, found, -np.inf)


def between(excess, share=0.5):
    """A slack that so many products of all with a vector pass, half-way between two of them."""
    ordered = np.sort(excess[np.isfinite(excess)])
    number = int(share * len(ordered))
    return float(ordered[number - 1 : number + 1].mean()) if number else float(ordered[0] + ordered[1]) / 2


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def scores(response):
    """Scores by id."""
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def test_the_callers_query_is_filtered_and_nothing_else():
    """Only `query` and `_source` differ; the query stands in `must` beside a filter that costs one run a match."""
    body = {"query": {"match": {"title": "tv"}}, "sort": ["price"], "collapse": {"field": "brand"}, "size": 3}
    found = build_filter_body(body, SCRIPT)
    contained_only = {"script_score": {"query": {"match_all": {}}, "script": SCRIPT, "min_score": 0.5}}
    assert found.body == body | {
        "query": {"bool": {"must": [body["query"]], "filter": [contained_only]}},
        "_source": {"excludes": ["anthem", "anthem_*.vector"]},
    }


@pytest.mark.parametrize("query", [None, {}, {"hybrid": {"queries": []}}, {"knn": {"v": {"vector": [1], "k": 3}}}])
def test_what_ranks_by_itself_is_not_filtered(query):
    """A body without a query, and one whose query chooses before a filter could, is left as it is."""
    left = build_filter_body({"query": query}, SCRIPT)
    assert (left.body, left.reranked) == ({"query": query}, False)
    assert left.reason


@pytest.mark.node
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_what_stays_is_what_numpy_calls_contained(anthem, client, index, excess, share):
    """At any slack the products are numpy's, with the scores and in the order of the plain search."""
    slack = between(excess, share)
    plain = client.search(index=index, body=ALL)
    found = anthem.search(index, ALL, mode=Filter(slack))
    wanted = [product for product in ids(plain) if excess[int(product)] <= slack]
    assert ids(found) == wanted
    assert found["hits"]["total"]["value"] == len(wanted)
    assert scores(found).items() <= scores(plain).items()
    assert found["anthem"] | {"took_ms": 0} == {
        "reranked": True, "mode": "filter", "signals": ["containment"], "reason": None, "took_ms": 0,
    }  # fmt: skip


@pytest.mark.node
def test_the_slack_of_the_bundle_is_the_default(anthem, encoder, index):
    """Without one of its own a filter has the bundle's slack, and `filter` is the same as `Filter()`."""
    found = [anthem.search(index, ALL, mode=mode) for mode in ("filter", Filter(), Filter(encoder.bundle.slack))]
    assert found[0]["hits"] == found[1]["hits"] == found[2]["hits"]


@pytest.mark.node
def test_products_without_a_vector_stay_unless_told(anthem, index, excess):
    """What nobody knows to be outside stays; with `unknown=False` it goes."""
    slack = between(excess)
    with_them, without = (set(ids(anthem.search(index, ALL, mode=Filter(slack, unknown=one)))) for one in (True, False))
    assert {product for product in with_them if int(product) % 10 == 0} == with_them - without
    assert with_them - without
    assert without


@pytest.mark.node
@pytest.mark.parametrize("text", ["fire tv OR kindle reader", "red OR blue OR mini"])
def test_an_or_is_filtered_by_either(anthem, client, encoder, index, text):
    """Containment in a join is numpy's as well."""
    asked = encoder.query(text.split(" OR ")[0])
    for phrase in text.split(" OR ")[1:]:
        asked |= encoder.query(phrase)
    points = lift(encoder.products(PRODUCTS)[:, 1:].astype(np.float64))
    inside = contained(to_float64(asked), points, 0.15)
    plain = ids(client.search(index=index, body=match(text) | {"size": 200}))
    found = anthem.search(index, match(text) | {"size": 200}, mode=Filter(0.15, unknown=False), operators=True)
    assert ids(found) == [product for product in plain if int(product) % 10 and inside[int(product)]]


@pytest.mark.node
@pytest.mark.parametrize(
    "extra",
    [
        {"sort": [{"price": "desc"}]},
        {"collapse": {"field": "brand"}},
        {"sort": [{"price": "asc"}], "search_after": [20]},
        {"aggs": {"brands": {"terms": {"field": "brand"}}}, "size": 0},
        {"post_filter": {"term": {"brand": "acme"}}},
        {"rescore": {"window_size": 5, "query": {"rescore_query": {"match": {"title": "pit"}}}}},
        {"query": {"bool": {"filter": {"term": {"brand": "acme"}}}}},
        {"query": {"constant_score": {"filter": {"match": {"title": "tv"}}}}, "sort": ["_doc"]},
    ],
)
def test_it_is_a_filter_like_any_other(anthem, client, index, excess, extra):
    """Beside sorts, collapse, aggregations and the rest it gives what a filter on the contained ids would."""
    slack = between(excess)
    inside = {"ids": {"values": [str(number) for number, value in enumerate(excess) if value <= slack]}}
    body = ALL | extra
    wanted = client.search(index=index, body=body | {"query": {"bool": {"must": body["query"], "filter": inside}}})
    found = anthem.search(index, body, query_text="fire tv red", mode=Filter(slack))
    assert found["anthem"]["reranked"]
    assert ids(found) == ids(wanted)
    assert (found["hits"]["total"], found.get("aggregations")) == (wanted["hits"]["total"], wanted.get("aggregations"))


@pytest.mark.node
@pytest.mark.parametrize("extra", [{}, {"track_total_hits": False}, {"size": 0}, {"from": 3}, {"sort": ["price"]}])
def test_where_nothing_is_contained_the_search_is_plain(anthem, client, index, extra):
    """An empty page is never the filter's doing: the caller's own comes, and the reason names the slack."""
    body = ALL | extra
    left = anthem.search(index, body, mode=Filter(-9, unknown=False))
    assert left["hits"] == client.search(index=index, body=body)["hits"]
    assert (left["anthem"]["reranked"], left["anthem"]["reason"]) == (False, NOTHING_CONTAINED.format(-9))


@pytest.mark.node
@pytest.mark.parametrize("extra", [{}, {"track_total_hits": False}])
def test_a_page_beyond_the_last_says_how_many_there_are(anthem, index, extra):
    """A later page is empty where the filtered ones before it held all, and says so; it repeats none of them."""
    many = len(ids(anthem.search(index, ALL, mode=Filter(0.15))))
    beyond = anthem.search(index, ALL | extra | {"from": many, "size": 5}, mode=Filter(0.15))
    assert ids(beyond) == []
    assert beyond["anthem"]["reranked"]
    assert beyond["anthem"]["reason"].startswith(f"the filter leaves {many} products")


@pytest.mark.node
def test_too_many_matches_are_refused(anthem, client, index):
    """A query that finds more than the limit is not filtered; one that finds just as many is."""
    plain = client.search(index=index, body=ALL)
    many = plain["hits"]["total"]["value"]
    assert anthem.search(index, ALL, mode=Filter(limit=many))["anthem"]["reranked"]
    left = anthem.search(index, ALL, mode=Filter(limit=many - 1))
    assert left["hits"] == plain["hits"]
    assert left["anthem"]["reason"] == TOO_MANY_MATCHES.format(many - 1)


@pytest.mark.node
def test_what_finds_nothing_anyway_is_told_from_a_filter(anthem, index):
    """A word that is in no title is not the filter's fault."""
    assert anthem.search(index, match("zzzz"), mode="filter")["anthem"]["reason"] == NO_HITS_REASON


@pytest.mark.node
@pytest.mark.parametrize("unknown", [True, False])
def test_without_vectors_nothing_is_filtered(client, anthem, encoder, unknown):
    """Where no product found has a vector of this model the search is plain, and the reason names the cure."""
    with small_shop(client, encoder, "other") as bare:
        left = anthem.search(bare, match("fire tv"), mode=Filter(unknown=unknown))
        assert left["hits"] == client.search(index=bare, body=match("fire tv"))["hits"]
    assert f"anthem ingest {bare}" in left["anthem"]["reason"]


@pytest.mark.node
def test_a_point_in_time_is_counted_in(anthem, client, index):
    """With a point in time, and without the name of an index, only its products are counted and found."""
    pit = client.create_pit(index=index, params={"keep_alive": "1m"})["pit_id"]
    body = ALL | {"pit": {"id": pit}, "sort": [{"price": "asc"}]}
    found = anthem.search(None, body, mode=Filter(limit=len(PRODUCTS)))
    client.delete_pit(body={"pit_id": [pit]})
    assert found["anthem"]["reranked"]
    assert sorted(ids(found)) == sorted(ids(anthem.search(index, ALL, mode="filter")))


@pytest.mark.node
@pytest.mark.parametrize(
    ("options", "filtered"),
    [({"filter_path": "_shards,hits.hits._id"}, True), ({"filter_path": "_shards,took"}, True),
     ({"filter_path": "hits"}, False), ({"typed_keys": True}, True), ({"rest_total_hits_as_int": True}, True)],
)  # fmt: skip
def test_options_that_form_the_response(anthem, index, options, filtered):
    """What shapes a response does not change what is counted; without `_shards` nobody knows of lost shards."""
    found = anthem.search(index, ALL, mode="filter", **options)
    assert found["anthem"]["reranked"] == filtered
    assert filtered == (found["anthem"]["reason"] is None)


@pytest.mark.node
def test_a_cluster_that_forbids_scripts_filters_nothing(client, encoder, index, caplog):
    """Where the script cannot be stored the search is plain, says so, and goes on saying so without another try."""
    client.delete_script(id=painless.script_id(), ignore=[404])
    anthem = AnthemClient(client, encoder)
    client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": True}})
    try:
        with caplog.at_level(logging.WARNING, "anthem_plugin"):
            found = [anthem.search(index, ALL, mode="filter") for _ in range(2)]
    finally:
        client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": None}})
    assert all("does not take the script" in one["anthem"]["reason"] for one in found)
    assert sum("does not take the script" in message for message in caplog.messages) == 1
    assert AnthemClient(client, encoder).search(index, ALL, mode="filter")["anthem"]["reranked"]


@pytest.mark.node
def test_too_many_hyperboloids_are_not_filtered(anthem, index):
    """More than the script takes: the search is plain, and says why."""
    text = "fire OR tv OR red OR mini OR pro OR pit OR stick OR tablet OR kindle"
    left = anthem.search(index, match(text), mode="filter", operators=True)
    assert (left["anthem"]["reranked"], left["anthem"]["mode"]) == (False, "none")
    assert "the script takes 8" in left["anthem"]["reason"]


@pytest.mark.node
@pytest.mark.parametrize("slack", [0.15, -9])
def test_the_async_twin_filters_alike(cluster, anthem, encoder, index, slack):
    """Awaited, a filter gives the same."""

    async def ask():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(index, ALL, mode=Filter(slack, unknown=False))

    expected = anthem.search(index, ALL, mode=Filter(slack, unknown=False))
    found = asyncio.run(ask())
    assert (found["hits"], found["anthem"]["reason"]) == (expected["hits"], expected["anthem"]["reason"])


@pytest.mark.parametrize("wrong", [{"slack": float("nan")}, {"slack": float("inf")}, {"limit": 0}])
def test_a_filter_must_make_sense(wrong):
    """No finite slack and an empty limit are the caller's errors, told at once."""
    with pytest.raises(ValueError, match=str(*wrong.values())):
        Filter(**wrong)


def test_the_script_says_so_too(encoder):
    """The parameters of a filter are those of the score with slack, and what becomes of the unknown."""
    script = build_filter_script(encoder.query("fire"), AnthemClient(None, encoder).scoring, Filter(0.1, unknown=False))
    assert (script["params"]["slack"], script["params"]["unknown"]) == (0.1, 0.0)
    assert script["id"] == painless.script_id()
