"""Searching a real node: both modes rank alike, and nothing about reranking breaks a search."""

import itertools
import logging
import uuid

import numpy as np
import pytest
from opensearchpy.exceptions import NotFoundError

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.scoring import painless
from anthem_plugin.search import client_mode

pytestmark = pytest.mark.node

BRANDS = ["acme", "globex", "initech", "umbrella", "stark"]
NOUNS = ["tv stick", "tablet", "phone case", "running shoe", "garden hose", "desk lamp", "fire pit", "kindle reader"]
TRAITS = ["red", "blue", "wireless", "waterproof", "fire resistant", "mini", "pro", "4k"]
TITLES = [" ".join(parts) for parts in itertools.product(BRANDS, TRAITS, NOUNS)]
QUERIES = ["fire tv", "fire", "red shoe", "wireless tablet", "pro phone", "blue lamp mini", "4k tv", "waterproof case",
           "acme kindle", "fier tv stick", "stark hose red", "reader", "globex", "garden pit", "desk"]  # fmt: skip
KINDS = {"title": "text", "brand": "keyword", "price": "integer", "tags": "nested"}
MAPPING = {"properties": {name: {"type": kind} for name, kind in KINDS.items()}}


def match(query):
    """Body of a plain search."""
    return {"query": {"match": {"title": {"query": query}}}}


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def scores(response):
    """Scores of the hits, in order."""
    return np.array([hit["_score"] for hit in response["hits"]["hits"]])


def by_id(response):
    """Hits by id, without their scores."""
    return {hit["_id"]: {**hit, "_score": None} for hit in response["hits"]["hits"]}


@pytest.fixture(scope="module")
def index(client, encoder):
    """A shop on one shard: 320 products, every tenth without a vector."""
    name = f"test-search-{uuid.uuid4().hex}"
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": MAPPING})
    client.indices.put_mapping(index=name, body=VectorFields().mapping(encoder.bundle.dimension))
    lines = []
    for number, (title, point) in enumerate(zip(TITLES, encoder.products(TITLES), strict=True)):
        vector = VectorFields().document(point, encoder.bundle.model, title) if number % 10 else {}
        product = {"title": title, "brand": title.split()[0], "price": number, "tags": [{"of": "shop"}]}
        lines += [{"index": {"_id": str(number)}}, product | vector]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture
def anthem(client, encoder):
    """A client that reranks by the two signals both modes have, and has sent nothing yet."""
    return AnthemClient(client, encoder, text_fields=())


@pytest.fixture
def other_index(client, index):
    """Creates further indices whose names a pattern finds beside the shop's, gone afterwards."""
    made = []

    def create(mapping, *products):
        name = f"{index}-{len(made)}"
        client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mapping})
        made.append(name)
        for product in products:
            client.index(index=name, body=product, refresh=True)
        return name

    yield create
    for name in made:
        client.indices.delete(index=name)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("window", [10, 100])
def test_both_modes_rank_alike(anthem, index, query, window):
    """On one shard cluster and client give the same products in the same order with the same scores, ties aside."""
    body = match(query) | {"size": 60}
    inside, outside = (anthem.search(index, body, mode=mode, window=window) for mode in ("cluster", "client"))
    assert (inside["anthem"]["mode"], outside["anthem"]["mode"]) == ("cluster", "client")
    np.testing.assert_allclose(scores(inside), scores(outside), rtol=3e-7)
    score = dict(zip(ids(outside), scores(outside), strict=True))
    np.testing.assert_allclose([score[product] for product in ids(inside)], scores(inside), rtol=3e-7)
    assert inside["hits"]["max_score"] == pytest.approx(outside["hits"]["max_score"], rel=3e-7)
    assert inside["hits"]["total"] == outside["hits"]["total"]
    assert by_id(inside) == by_id(outside)


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_the_window_is_on_top_and_the_rest_in_lexical_order(anthem, client, index, mode):
    """The first `window` lexical hits are reordered among themselves, the others stay where they were."""
    body = match("fire tv") | {"size": 90}
    lexical = ids(client.search(index=index, body=body))
    ranked = ids(anthem.search(index, body, mode=mode, window=30))
    assert sorted(ranked[:30]) == sorted(lexical[:30])
    assert ranked[:30] != lexical[:30]
    assert ranked[30:] == lexical[30:]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_pages_are_cut_from_one_ranking(anthem, index, mode):
    """Three pages one after the other are the long page, across the end of the window too."""
    whole = ids(anthem.search(index, match("fire tv") | {"size": 60}, mode=mode, window=30))
    pages = [anthem.search(index, match("fire tv") | {"from": start, "size": 20}, mode=mode, window=30)
             for start in (0, 20, 40)]  # fmt: skip
    assert [product for page in pages for product in ids(page)] == whole


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_all_else_of_a_search_stays(anthem, client, index, mode):
    """Filters, aggregations, highlights, named queries, inner hits and totals are those of the plain search."""
    query = {
        "bool": {
            "must": {"match": {"title": {"query": "fire tv", "_name": "words"}}},
            "filter": {"range": {"price": {"gte": 40}}},
            "should": {"nested": {"path": "tags", "query": {"match_all": {}}, "inner_hits": {}}},
        }
    }
    body = {
        "query": query,
        "aggs": {"brands": {"terms": {"field": "brand"}}},
        "highlight": {"fields": {"title": {}}},
        "post_filter": {"terms": {"brand": BRANDS[:3]}},
        "track_total_hits": True,
        "size": 50,
        "script_fields": {"double": {"script": "doc['price'].value * 2"}},
    }
    plain = client.search(index=index, body=body)
    ranked = anthem.search(index, body, query_text="fire tv", mode=mode)
    assert ranked["anthem"]["reranked"]
    assert ranked["aggregations"] == plain["aggregations"]
    assert ranked["hits"]["total"] == plain["hits"]["total"]
    assert by_id(ranked) == by_id(plain)


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_vectors_stay_out_of_sources_unless_asked_for(anthem, index, mode):
    """A page carries no vectors; a caller who names them gets them."""
    plain = anthem.search(index, match("fire tv"), mode=mode)
    assert all(set(hit["_source"]) == {"title", "brand", "price", "tags"} for hit in plain["hits"]["hits"])
    asked = anthem.search(index, match("fire tv") | {"_source": ["title", "anthem.vector"]}, mode=mode)
    found = [hit["_source"].get("anthem", {}) for hit in asked["hits"]["hits"]]
    assert any(found)
    assert all(set(stored) <= {"vector"} for stored in found)


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize(
    ("body", "word"),
    [
        (match("fire tv") | {"sort": ["price"]}, "sorts"),
        (match("fire tv") | {"sort": ["price"], "search_after": [3]}, "search_after"),
        (match("?!"), "letters"),
        ({"query": {"bool": {"must": match("fire")["query"]}}}, "no query text"),
        ({}, "no query text"),
    ],
)
def test_what_is_not_reranked_is_the_plain_search(anthem, client, index, mode, body, word):
    """The response is that of the caller's own body, and the reason is given."""
    plain, left = client.search(index=index, body=body), anthem.search(index, body, mode=mode)
    assert left["hits"] == plain["hits"]
    assert (left["anthem"]["reranked"], left["anthem"]["mode"]) == (False, "none")
    assert word in left["anthem"]["reason"]


def test_groups_are_reranked_in_the_client(anthem, client, index):
    """With `collapse` client mode ranks the groups the plain search has, by the scores their hits have without it."""
    body = match("fire tv") | {"collapse": {"field": "brand"}}
    plain, found = client.search(index=index, body=body), anthem.search(index, body, mode="client")
    assert found["anthem"]["reranked"]
    assert sorted(ids(found)) == sorted(ids(plain))
    alone = anthem.search(index, match("fire tv") | {"size": 200}, mode="client", window=200)
    score = dict(zip(ids(alone), scores(alone), strict=True))
    assert scores(found).tolist() == [score[product] for product in ids(found)]
    assert scores(found).tolist() == sorted(scores(found), reverse=True)
    assert not anthem.search(index, body)["anthem"]["reranked"]


@pytest.mark.parametrize("wrong", [{"mode": "clutser"}, {"window": 0}, {"window": -3}])
def test_mode_and_window_must_make_sense(anthem, index, wrong):
    """A misspelled mode and an empty window are the caller's errors, told at once."""
    with pytest.raises(ValueError, match=str(*wrong.values())):
        anthem.search(index, match("fire tv"), **wrong)


def test_options_that_shape_the_result_are_left_alone(anthem, index):
    """A `size` outside the body would cut the window: the search is not reranked, and the reason names it."""
    left = anthem.search(index, match("fire tv"), mode="client", size=3)
    assert (len(left["hits"]["hits"]), left["anthem"]["reranked"]) == (3, False)
    assert "`size`" in left["anthem"]["reason"]


def test_a_missing_script_is_put_once(anthem, client, index):
    """The first search on a cluster that does not know the script stores it and is reranked all the same."""
    client.delete_script(id=painless.script_id(), ignore=[404])
    assert anthem.search(index, match("fire tv"))["anthem"]["mode"] == "cluster"
    assert client.get_script(id=painless.script_id())["script"]["source"] == painless.script_source()


def test_a_cluster_that_forbids_scripts_is_reranked_in_the_client(anthem, client, index, caplog):
    """When the script cannot be stored, hits are reranked here from then on, and the log says so once."""
    client.delete_script(id=painless.script_id(), ignore=[404])
    wanted = ids(anthem.search(index, match("fire tv"), mode="client"))
    client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": True}})
    try:
        with caplog.at_level(logging.WARNING, "anthem_plugin"):
            found = [anthem.search(index, match("fire tv")) for _ in range(2)]
    finally:
        client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": None}})
    assert [(response["anthem"]["mode"], ids(response)) for response in found] == [("client", wanted)] * 2
    assert sum("does not take the script" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("source", "word"),
    [("throw new IllegalArgumentException('on purpose')", "on purpose"), (None, "unable to find script")],
)
def test_a_broken_script_gives_the_plain_result(anthem, client, index, monkeypatch, source, word):
    """A script that fails on every product, or is missing still after it was put, costs the reranking alone."""
    monkeypatch.setattr(painless, "script_id", lambda: "anthem-test")
    if source:
        client.put_script(id="anthem-test", body={"script": {"lang": "painless", "source": source}})
    plain, left = client.search(index=index, body=match("fire tv")), anthem.search(index, match("fire tv"))
    client.delete_script(id="anthem-test", ignore=[404])
    assert left["hits"] == plain["hits"]
    assert not left["anthem"]["reranked"]
    assert word in left["anthem"]["reason"]


def test_an_index_whose_shard_fails_in_the_script_loses_no_product(anthem, client, index, other_index):
    """A shard that fails for the script alone makes the search the plain one: all products are there."""
    fields = {"vector": {"type": "float"}, "model": {"type": "keyword", "doc_values": False}}
    name = other_index(
        {"properties": {"anthem": {"properties": fields}}}, {"title": "fire tv", "anthem": {"vector": 1.0}}
    )
    body = match("fire tv") | {"size": 300}
    plain, left = client.search(index=f"{index}*", body=body), anthem.search(f"{index}*", body)
    assert left["hits"] == plain["hits"]
    assert any(hit["_index"] == name for hit in left["hits"]["hits"])
    assert not left["anthem"]["reranked"]
    assert "1 of 2 shards failed" in left["anthem"]["reason"]


def test_a_shard_that_fails_anyway_is_no_reason_to_give_up(anthem, index, other_index):
    """Where the plain search loses the same shard, the reranked response stands."""
    other_index({"properties": {"title": {"type": "text"}, "price": {"type": "text"}}}, {"title": "fire tv"})
    body = match("fire tv") | {"aggs": {"prices": {"terms": {"field": "price"}}}}
    found = anthem.search(f"{index}*", body)
    assert found["_shards"]["failed"] == 1
    assert found["anthem"]["reranked"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_an_index_without_vectors_in_a_pattern_loses_no_product(anthem, client, index, other_index, mode):
    """A pattern that finds an index without ANTHEM's fields is reranked, and no product of it is missing."""
    other_index({"properties": {"title": {"type": "text"}}}, {"title": "fire tv"}, {"title": "tv"})
    body = match("fire tv") | {"size": 300}
    plain, ranked = client.search(index=f"{index}*", body=body), anthem.search(f"{index}*", body, mode=mode)
    assert ranked["anthem"]["reranked"]
    assert ranked["_shards"]["failed"] == 0
    assert sorted(ids(ranked)) == sorted(ids(plain))


def test_the_callers_own_errors_are_the_callers(anthem, index):
    """A search that fails without us fails as it would: nothing is swallowed."""
    with pytest.raises(NotFoundError):
        anthem.search(f"{index}-nowhere", match("fire tv"))


def test_a_fault_of_our_own_gives_the_plain_result(anthem, client, index, monkeypatch):
    """Even a defect in reranking costs the reranking alone."""
    monkeypatch.setattr(client_mode, "rerank", lambda *_, **__: 1 / 0)
    left = anthem.search(index, match("fire tv"), mode="client")
    assert left["hits"] == client.search(index=index, body=match("fire tv"))["hits"]
    assert "ZeroDivisionError" in left["anthem"]["reason"]


def test_an_application_can_say_where_its_query_text_stands(client, encoder, index):
    """With a path, bodies of any shape are reranked without naming the text each time."""
    body = {"query": {"bool": {"must": [{"match": {"title": "fire tv"}}]}}}
    path = "query.bool.must.0.match.title"
    assert AnthemClient(client, encoder, query_path=path).search(index, body)["anthem"]["reranked"]
