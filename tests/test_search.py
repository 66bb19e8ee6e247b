"""Searches on a real node: both modes give the same ranking, and no failure of reranking breaks a search."""

import itertools
import logging
import time
import uuid

import numpy as np
import pytest
from opensearchpy.exceptions import NotFoundError
from small_index import model_documents

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring import painless
from anthem_plugin.search import client_mode
from anthem_plugin.search.refusals import REFUSAL_RETRY_SECONDS

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
    """320 products on one shard, every tenth not ingested."""
    name = f"test-search-{uuid.uuid4().hex}"
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": MAPPING})
    client.indices.put_mapping(index=name, body=ModelFields().mapping(encoder.bundle.dimension))
    lines = []
    for number, (title, values) in enumerate(zip(TITLES, model_documents(encoder, TITLES), strict=True)):
        product = {"title": title, "brand": title.split()[0], "price": number, "tags": [{"of": "shop"}]}
        lines += [{"index": {"_id": str(number)}}, product | (values if number % 10 else {})]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture
def anthem(client, encoder):
    """A new client."""
    return AnthemClient(client, encoder)


@pytest.fixture
def other_index(client, index):
    """Function that creates further indices, matched by the pattern `{index}*`; they are deleted afterwards."""
    names = []

    def create(mapping, *products):
        name = f"{index}-{len(names)}"
        client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mapping})
        names.append(name)
        for product in products:
            client.index(index=name, body=product, refresh=True)
        return name

    yield create
    for name in names:
        client.indices.delete(index=name)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("window", [10, 100])
def test_both_modes_give_the_same_ranking(anthem, index, query, window):
    """On one shard both modes give the same products with the same scores in the same order, except for ties."""
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
def test_the_window_is_reordered_and_the_rest_stays_in_lexical_order(anthem, client, index, mode):
    """The first `window` lexical hits are reordered among themselves; all others keep their ranks."""
    body = match("fire tv") | {"size": 90}
    lexical = ids(client.search(index=index, body=body))
    ranked = ids(anthem.search(index, body, mode=mode, window=30))
    assert sorted(ranked[:30]) == sorted(lexical[:30])
    assert ranked[:30] != lexical[:30]
    assert ranked[30:] == lexical[30:]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_pages_are_cut_from_one_ranking(anthem, index, mode):
    """Three consecutive pages equal one long page, also across the end of the window."""
    whole = ids(anthem.search(index, match("fire tv") | {"size": 60}, mode=mode, window=30))
    pages = [anthem.search(index, match("fire tv") | {"from": start, "size": 20}, mode=mode, window=30)
             for start in (0, 20, 40)]  # fmt: skip
    assert [product for page in pages for product in ids(page)] == whole


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_everything_except_the_order_stays(anthem, client, index, mode):
    """Filters, aggregations, highlights, named queries, inner hits and totals equal those of the plain search."""
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
def test_sources_contain_no_values_unless_requested(anthem, index, mode):
    """A page contains none of the model's values, unless the caller names them in `_source`."""
    plain = anthem.search(index, match("fire tv"), mode=mode)
    assert plain["anthem"]["signals"] == ["lexical", "containment", "attention"]
    assert all(set(hit["_source"]) == {"title", "brand", "price", "tags"} for hit in plain["hits"]["hits"])
    response = anthem.search(index, match("fire tv") | {"_source": ["title", "anthem.vector"]}, mode=mode)
    objects = [hit["_source"].get("anthem", {}) for hit in response["hits"]["hits"]]
    assert any(objects)
    assert all(set(stored) <= {"vector"} for stored in objects)


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize(
    ("body", "word"),
    [
        (match("fire tv") | {"sort": ["price"]}, "does not sort by `_score` alone"),
        (match("fire tv") | {"sort": ["price"], "search_after": [3]}, "search_after"),
        (match("?!"), "letters"),
        ({"query": {"bool": {"filter": match("fire")["query"]}}}, "no query text"),
        ({}, "no query"),
    ],
)
def test_a_search_that_is_not_reranked_is_the_plain_search(anthem, client, index, mode, body, word):
    """The response is that to the caller's own body, with the reason."""
    plain, response = client.search(index=index, body=body), anthem.search(index, body, mode=mode)
    assert response["hits"] == plain["hits"]
    assert (response["anthem"]["reranked"], response["anthem"]["mode"]) == (False, "none")
    assert word in response["anthem"]["reason"]


def test_client_mode_reranks_groups(anthem, client, index):
    """With `collapse`, client mode ranks the same groups, by the scores that their hits have without `collapse`."""
    body = match("fire tv") | {"collapse": {"field": "brand"}}
    plain, reranked = client.search(index=index, body=body), anthem.search(index, body, mode="client")
    assert reranked["anthem"]["reranked"]
    assert sorted(ids(reranked)) == sorted(ids(plain))
    ungrouped = anthem.search(index, match("fire tv") | {"size": 200}, mode="client", window=200)
    score = dict(zip(ids(ungrouped), scores(ungrouped), strict=True))
    assert scores(reranked).tolist() == [score[product] for product in ids(reranked)]
    assert scores(reranked).tolist() == sorted(scores(reranked), reverse=True)
    assert not anthem.search(index, body)["anthem"]["reranked"]


@pytest.mark.parametrize("wrong", [{"mode": "clutser"}, {"window": 0}, {"window": -3}])
def test_an_invalid_mode_or_window_is_refused(anthem, index, wrong):
    """An unknown mode and a window below 1 raise a ValueError."""
    with pytest.raises(ValueError, match=str(*wrong.values())):
        anthem.search(index, match("fire tv"), **wrong)


def test_options_that_override_the_body_prevent_reranking(anthem, index):
    """A `size` outside the body would cut the window, so the search is not reranked, and the reason names it."""
    response = anthem.search(index, match("fire tv"), mode="client", size=3)
    assert (len(response["hits"]["hits"]), response["anthem"]["reranked"]) == (3, False)
    assert "`size`" in response["anthem"]["reason"]


def test_a_missing_script_is_stored(anthem, client, index):
    """The first search on a cluster without the script stores the script and is reranked."""
    client.delete_script(id=painless.script_id(), ignore=[404])
    assert anthem.search(index, match("fire tv"))["anthem"]["mode"] == "cluster"
    assert client.get_script(id=painless.script_id())["script"]["source"] == painless.script_source()


def test_without_scripts_the_client_reranks(anthem, client, index, caplog, monkeypatch):
    """If the script cannot be stored, the client reranks instead and logs one warning; it tries again after a pause."""
    client.delete_script(id=painless.script_id(), ignore=[404])
    expected = ids(anthem.search(index, match("fire tv"), mode="client"))
    client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": True}})
    try:
        with caplog.at_level(logging.WARNING, "anthem_plugin"):
            responses = [anthem.search(index, match("fire tv")) for _ in range(2)]
    finally:
        client.cluster.put_settings(body={"transient": {"cluster.blocks.read_only": None}})
    assert [(response["anthem"]["mode"], ids(response)) for response in responses] == [("client", expected)] * 2
    assert sum("does not accept the script" in message for message in caplog.messages) == 1
    assert anthem.stats()["scripts"] == "forbidden"
    later = time.monotonic() + REFUSAL_RETRY_SECONDS
    monkeypatch.setattr(anthem._flow.refusals, "_clock", lambda: later)
    assert anthem.search(index, match("fire tv"))["anthem"]["mode"] == "cluster"
    assert anthem.stats()["scripts"] == "allowed"


@pytest.mark.parametrize(
    ("source", "word"),
    [("throw new IllegalArgumentException('on purpose')", "on purpose"), (None, "unable to find script")],
)
def test_a_broken_script_gives_the_plain_search(anthem, client, index, monkeypatch, source, word):
    """If the script fails on every product, or is still missing after it was stored, the search is plain."""
    monkeypatch.setattr(painless, "script_id", lambda: "anthem-test")
    if source:
        client.put_script(id="anthem-test", body={"script": {"lang": "painless", "source": source}})
    plain, response = client.search(index=index, body=match("fire tv")), anthem.search(index, match("fire tv"))
    client.delete_script(id="anthem-test", ignore=[404])
    assert response["hits"] == plain["hits"]
    assert not response["anthem"]["reranked"]
    assert word in response["anthem"]["reason"]


def test_a_shard_that_fails_in_the_script_loses_no_product(anthem, client, index, other_index, caplog):
    """If a shard fails only because of the script, the response is the plain one, with all products; it is logged."""
    fields = {"model": {"type": "keyword", "doc_values": False}}  # no vector of another type, which would be noticed
    name = other_index({"properties": {"anthem": {"properties": fields}}}, {"title": "fire tv"})
    body = match("fire tv") | {"size": 300}
    with caplog.at_level(logging.WARNING, "anthem_plugin"):
        plain, response = client.search(index=f"{index}*", body=body), anthem.search(f"{index}*", body)
    assert f"The search was not reranked: {response['anthem']['reason']}" in caplog.messages
    assert response["hits"] == plain["hits"]
    assert any(hit["_index"] == name for hit in response["hits"]["hits"])
    assert not response["anthem"]["reranked"]
    assert "1 of 2 shards failed" in response["anthem"]["reason"]


def test_a_shard_that_fails_anyway_does_not_prevent_reranking(anthem, index, other_index):
    """If the plain search loses the same shard, the reranked response is returned."""
    other_index({"properties": {"title": {"type": "text"}, "price": {"type": "text"}}}, {"title": "fire tv"})
    body = match("fire tv") | {"aggs": {"prices": {"terms": {"field": "price"}}}}
    response = anthem.search(f"{index}*", body)
    assert response["_shards"]["failed"] == 1
    assert response["anthem"]["reranked"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_an_index_without_vectors_in_a_pattern_loses_no_product(anthem, client, index, other_index, mode):
    """A search over a pattern that matches an index without ANTHEM's fields is reranked and loses no product."""
    other_index({"properties": {"title": {"type": "text"}}}, {"title": "fire tv"}, {"title": "tv"})
    body = match("fire tv") | {"size": 300}
    plain, ranked = client.search(index=f"{index}*", body=body), anthem.search(f"{index}*", body, mode=mode)
    assert ranked["anthem"]["reranked"]
    assert ranked["_shards"]["failed"] == 0
    assert sorted(ids(ranked)) == sorted(ids(plain))


def test_errors_of_the_plain_search_are_raised(anthem, index):
    """A search that would fail without ANTHEM raises the same error."""
    with pytest.raises(NotFoundError):
        anthem.search(f"{index}-nowhere", match("fire tv"))


def test_a_defect_in_reranking_gives_the_plain_search(anthem, client, index, monkeypatch):
    """Even an unexpected exception in reranking gives the plain search, and the reason names it."""
    monkeypatch.setattr(client_mode, "rerank_hits", lambda *_, **__: 1 / 0)
    response = anthem.search(index, match("fire tv"), mode="client")
    assert response["hits"] == client.search(index=index, body=match("fire tv"))["hits"]
    assert "ZeroDivisionError" in response["anthem"]["reason"]


def test_the_path_of_the_query_text_can_be_configured(client, encoder, index):
    """With `query_path`, bodies of any form are reranked without `query_text`."""
    body = {"query": {"bool": {"must": [{"match": {"title": "fire tv"}}]}}}
    path = "query.bool.must.0.match.title"
    assert AnthemClient(client, encoder, ClientOptions(query_path=path)).search(index, body)["anthem"]["reranked"]
