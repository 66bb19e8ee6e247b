"""Filter mode on a real node: products that are not contained are dropped, and an empty page has a reason."""

import asyncio
import logging

import numpy as np
import pytest
from opensearchpy import AsyncOpenSearch
from small_index import PRODUCTS, large_index, match, small_index, stored_points

from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.modes import Filter
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.rescore import build_filter_body
from anthem_plugin.scoring import painless
from anthem_plugin.scoring.painless import build_filter_script
from anthem_plugin.scoring.params import ScoringParams, to_float64
from anthem_plugin.search.cluster_mode import NOTHING_CONTAINED, TOO_MANY_MATCHES
from anthem_plugin.search.request import NO_HITS_REASON

SCRIPT = {"id": "anthem-score-0", "params": {"slack": 0.1}}
ALL = match("fire tv red") | {"size": 200, "track_total_hits": True}


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without values of the model."""
    with large_index(client, encoder, graph=False) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client without attention."""
    return AnthemClient(client, encoder, ClientOptions(text_fields=()))


@pytest.fixture(scope="module")
def excess(encoder):
    """Excess of each product, computed by numpy; `-inf` for a product without a vector."""
    points = stored_points(encoder, PRODUCTS)
    values = to_float64(encoder.encode_query("fire tv red")).excess(points)
    return np.where(np.arange(len(PRODUCTS)) % 10, values, -np.inf)


def slack_for(excess, fraction=0.5):
    """A slack that this fraction of the products with a vector pass, half-way between two of their values."""
    ordered = np.sort(excess[np.isfinite(excess)])
    number = int(fraction * len(ordered))
    return float(ordered[number - 1 : number + 1].mean()) if number else float(ordered[0] + ordered[1]) / 2


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def scores(response):
    """Scores by id."""
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def test_only_query_and_source_change():
    """Only `query` and `_source` differ; the filter is next to the query, so the script runs once per match."""
    body = {"query": {"match": {"title": "tv"}}, "sort": ["price"], "collapse": {"field": "brand"}, "size": 3}
    response = build_filter_body(body, SCRIPT)
    contained_only = {"script_score": {"query": {"match_all": {}}, "script": SCRIPT, "min_score": 0.5}}
    assert response.body == body | {
        "query": {"bool": {"must": [body["query"]], "filter": [contained_only]}},
        "_source": {"excludes": ["anthem", "anthem_*.vector", "anthem_*.trigrams"]},
    }


@pytest.mark.parametrize("query", [None, {}, {"hybrid": {"queries": []}}, {"knn": {"v": {"vector": [1], "k": 3}}}])
def test_queries_with_their_own_ranking_are_not_filtered(query):
    """A body without a query, or with a query that selects its hits before a filter applies, is returned unchanged."""
    unfiltered = build_filter_body({"query": query}, SCRIPT)
    assert (unfiltered.body, unfiltered.reranked) == ({"query": query}, False)
    assert unfiltered.reason


@pytest.mark.node
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_filtered_products_equal_numpys(anthem, client, index, excess, fraction):
    """For any slack the products are those of numpy, with the scores and the order of the plain search."""
    slack = slack_for(excess, fraction)
    plain = client.search(index=index, body=ALL)
    response = anthem.search(index, ALL, mode=Filter(slack))
    expected = [product for product in ids(plain) if excess[int(product)] <= slack]
    assert ids(response) == expected
    assert response["hits"]["total"]["value"] == len(expected)
    assert scores(response).items() <= scores(plain).items()
    assert response["anthem"] | {"took_ms": 0} == {
        "reranked": True, "mode": "filter", "signals": ["containment"], "reason": None, "took_ms": 0,
    }  # fmt: skip


@pytest.mark.node
def test_the_slack_of_the_bundle_is_the_default(anthem, encoder, index):
    """The slack defaults to the bundle's, and `filter` means `Filter()`."""
    responses = [anthem.search(index, ALL, mode=mode) for mode in ("filter", Filter(), Filter(encoder.bundle.slack))]
    assert responses[0]["hits"] == responses[1]["hits"] == responses[2]["hits"]


@pytest.mark.node
def test_unknown_decides_about_products_without_a_vector(anthem, index, excess):
    """Products without a vector are kept; `unknown=False` drops them."""
    slack = slack_for(excess)
    with_unknown, without_unknown = (
        set(ids(anthem.search(index, ALL, mode=Filter(slack, unknown=unknown)))) for unknown in (True, False)
    )
    assert {product for product in with_unknown if int(product) % 10 == 0} == with_unknown - without_unknown
    assert with_unknown - without_unknown
    assert without_unknown


@pytest.mark.node
@pytest.mark.parametrize("text", ["fire tv OR kindle reader", "red OR blue OR mini"])
def test_or_filters_by_either_phrase(anthem, client, encoder, index, text):
    """Containment in a compound region is that of numpy."""
    region = encoder.encode_query(text.split(" OR ")[0])
    for phrase in text.split(" OR ")[1:]:
        region |= encoder.encode_query(phrase)
    plain = ids(client.search(index=index, body=match(text) | {"size": 200}))
    region, points = to_float64(region), stored_points(encoder, PRODUCTS)
    matching = [int(product) for product in plain if int(product) % 10]
    slack = slack_for(region.excess(points)[matching])
    response = anthem.search(index, match(text) | {"size": 200}, mode=Filter(slack, unknown=False), operators=True)
    assert 0 < len(ids(response)) < len(matching)
    assert ids(response) == [str(product) for product in matching if region.contains(points, slack)[product]]


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
def test_it_combines_with_every_key_like_any_filter(anthem, client, index, excess, extra):
    """With sorts, collapse, aggregations and other keys it has the effect of a filter on the contained ids."""
    slack = slack_for(excess)
    inside = {"ids": {"values": [str(number) for number, value in enumerate(excess) if value <= slack]}}
    body = ALL | extra
    expected = client.search(index=index, body=body | {"query": {"bool": {"must": body["query"], "filter": inside}}})
    response = anthem.search(index, body, query_text="fire tv red", mode=Filter(slack))
    assert response["anthem"]["reranked"]
    assert ids(response) == ids(expected)
    assert (response["hits"]["total"], response.get("aggregations")) == (
        expected["hits"]["total"],
        expected.get("aggregations"),
    )


@pytest.mark.node
@pytest.mark.parametrize("extra", [{}, {"track_total_hits": False}, {"size": 0}, {"from": 3}, {"sort": ["price"]}])
def test_if_nothing_is_contained_the_search_is_plain(anthem, client, index, extra):
    """If no product is contained, the response is the plain one, and the reason names the slack."""
    body = ALL | extra
    unfiltered = anthem.search(index, body, mode=Filter(-9, unknown=False))
    assert unfiltered["hits"] == client.search(index=index, body=body)["hits"]
    assert (unfiltered["anthem"]["reranked"], unfiltered["anthem"]["reason"]) == (
        False,
        NOTHING_CONTAINED.format(-9),
    )


@pytest.mark.node
@pytest.mark.parametrize("extra", [{}, {"track_total_hits": False}])
def test_a_page_after_the_last_product_gives_their_number(anthem, index, excess, extra):
    """A page after the last contained product is empty, and the reason gives the number of contained products."""
    slack = slack_for(excess)
    total = len(ids(anthem.search(index, ALL, mode=Filter(slack))))
    empty_page = anthem.search(index, ALL | extra | {"from": total, "size": 5}, mode=Filter(slack))
    assert ids(empty_page) == []
    assert empty_page["anthem"]["reranked"]
    assert empty_page["anthem"]["reason"].startswith(f"{total} products pass the filter")


@pytest.mark.node
def test_too_many_matches_are_not_filtered(anthem, client, index):
    """A query with more matches than the limit is not filtered; one with exactly as many is."""
    plain = client.search(index=index, body=ALL)
    matches = plain["hits"]["total"]["value"]
    assert anthem.search(index, ALL, mode=Filter(limit=matches))["anthem"]["reranked"]
    unfiltered = anthem.search(index, ALL, mode=Filter(limit=matches - 1))
    assert unfiltered["hits"] == plain["hits"]
    assert unfiltered["anthem"]["reason"] == TOO_MANY_MATCHES.format(matches - 1)


@pytest.mark.node
def test_a_query_without_matches_has_its_own_reason(anthem, index):
    """A query without matches has another reason than a filter that drops everything."""
    assert anthem.search(index, match("zzzz"), mode="filter")["anthem"]["reason"] == NO_HITS_REASON


@pytest.mark.node
@pytest.mark.parametrize("unknown", [True, False])
def test_without_vectors_nothing_is_filtered(client, anthem, encoder, unknown):
    """If no match has a vector of this model, the response is the plain one, and the reason names a command."""
    with small_index(client, encoder, "other") as bare:
        unfiltered = anthem.search(bare, match("fire tv"), mode=Filter(unknown=unknown))
        assert unfiltered["hits"] == client.search(index=bare, body=match("fire tv"))["hits"]
    assert f"anthem ingest {bare}" in unfiltered["anthem"]["reason"]


@pytest.mark.node
def test_a_point_in_time_is_filtered(anthem, client, index):
    """With a point in time and no index name, only its products are counted and found."""
    pit = client.create_pit(index=index, params={"keep_alive": "1m"})["pit_id"]
    body = ALL | {"pit": {"id": pit}, "sort": [{"price": "asc"}]}
    response = anthem.search(None, body, mode=Filter(limit=len(PRODUCTS)))
    client.delete_pit(body={"pit_id": [pit]})
    assert response["anthem"]["reranked"]
    assert sorted(ids(response)) == sorted(ids(anthem.search(index, ALL, mode="filter")))


@pytest.mark.node
@pytest.mark.parametrize(
    ("options", "filtered"),
    [({"filter_path": "_shards,hits.hits._id"}, True), ({"filter_path": "_shards,took"}, True),
     ({"filter_path": "hits"}, False), ({"typed_keys": True}, True), ({"rest_total_hits_as_int": True}, True)],
)  # fmt: skip
def test_options_that_shape_the_response(anthem, index, options, filtered):
    """Options that shape a response do not affect the counts; without `_shards` failed shards cannot be detected."""
    response = anthem.search(index, ALL, mode="filter", **options)
    assert response["anthem"]["reranked"] == filtered
    assert filtered == (response["anthem"]["reason"] is None)


@pytest.mark.node
def test_a_cluster_that_forbids_scripts_filters_nothing(client, encoder, index, caplog):
    """If the script cannot be stored, searches are plain with that reason, and the client does not try again."""
    client.delete_script(id=painless.script_id(), ignore=[404])
    anthem = AnthemClient(client, encoder)
    client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": True}})
    try:
        with caplog.at_level(logging.WARNING, "anthem_plugin"):
            responses = [anthem.search(index, ALL, mode="filter") for _ in range(2)]
    finally:
        client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": None}})
    assert all("does not accept the script" in response["anthem"]["reason"] for response in responses)
    assert sum("does not accept the script" in message for message in caplog.messages) == 1
    assert AnthemClient(client, encoder).search(index, ALL, mode="filter")["anthem"]["reranked"]


@pytest.mark.node
def test_too_many_hyperboloids_are_not_filtered(anthem, index):
    """More hyperboloids than the script takes: the search is plain, with that reason."""
    text = "fire OR tv OR red OR mini OR pro OR pit OR stick OR tablet OR kindle"
    unfiltered = anthem.search(index, match(text), mode="filter", operators=True)
    assert (unfiltered["anthem"]["reranked"], unfiltered["anthem"]["mode"]) == (False, "none")
    assert "the script takes at most 8" in unfiltered["anthem"]["reason"]


@pytest.mark.node
@pytest.mark.parametrize("drops_all", [False, True])
def test_the_async_client_filters_alike(cluster, anthem, encoder, index, excess, drops_all):
    """The async client gives the same response."""
    slack = -9 if drops_all else slack_for(excess)

    async def search():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(index, ALL, mode=Filter(slack, unknown=False))

    expected = anthem.search(index, ALL, mode=Filter(slack, unknown=False))
    response = asyncio.run(search())
    assert (response["hits"], response["anthem"]["reason"]) == (expected["hits"], expected["anthem"]["reason"])


@pytest.mark.parametrize("wrong", [{"slack": float("nan")}, {"slack": float("inf")}, {"limit": 0}])
def test_invalid_filter_options_are_an_error(wrong):
    """A slack that is not finite and a limit below 1 raise a ValueError."""
    with pytest.raises(ValueError, match=str(*wrong.values())):
        Filter(**wrong)


def test_the_script_has_the_options_as_parameters(encoder):
    """The parameters of a filter script contain slack and `unknown`."""
    scoring = ScoringParams.from_bundle(encoder.bundle)
    script = build_filter_script(encoder.encode_query("fire"), scoring, Filter(0.1, unknown=False))
    assert (script["params"]["slack"], script["params"]["unknown"]) == (0.1, 0.0)
    assert script["id"] == painless.script_id()
