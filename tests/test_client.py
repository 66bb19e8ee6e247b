"""The clients where a search cannot be reranked as asked: options that hide, no vectors, no hits."""

import pytest
import small_shop
from small_shop import match

from anthem_plugin.client import AnthemClient
from anthem_plugin.search.request import NO_HITS_REASON

pytestmark = pytest.mark.node


index, bare = small_shop.index, small_shop.bare


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("paths", ["hits", "hits.hits._id,hits.hits._score"])
def test_a_filter_that_hides_what_is_needed_is_said_so(client, encoder, index, mode, paths):
    """An option that takes parts of the response away costs the reranking, and the reason is a sentence naming it."""
    left = AnthemClient(client, encoder).search(index, match("fire tv"), mode=mode, filter_path=paths)
    assert left["hits"] == client.search(index=index, body=match("fire tv"), filter_path=paths)["hits"]
    assert not left["anthem"]["reranked"]
    assert left["anthem"]["reason"].startswith("`filter_path` ")


def test_a_filter_that_keeps_the_shards_is_reranked(client, encoder, index):
    """With `_shards` in it a filter of the response does no harm."""
    found = AnthemClient(client, encoder).search(index, match("fire tv"), filter_path="_shards,hits.hits._id")
    assert found["anthem"]["reranked"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_rescore_of_the_callers_own(client, encoder, index, mode):
    """Cluster mode goes along with an existing rescore; client mode leaves the search as it is, and says why."""
    own = {"window_size": 5, "query": {"rescore_query": {"match": {"title": "table"}}, "rescore_query_weight": 9}}
    body = match("tv") | {"rescore": own}
    found = AnthemClient(client, encoder).search(index, body, mode=mode)
    assert found["anthem"]["reranked"] == (mode == "cluster")
    if mode == "client":
        assert "`rescore`" in found["anthem"]["reason"]
        assert found["hits"] == client.search(index=index, body=body)["hits"]


def test_without_vectors_the_client_does_not_claim_to_rerank(client, encoder, bare):
    """Where no hit has a vector of this model or a text, client mode gives the plain page and names the cure."""
    body = match("fire tv") | {"from": 1, "size": 3, "_source": ["title"]}
    left = AnthemClient(client, encoder, text_fields=()).search(bare, body, mode="client")
    assert left["hits"] == client.search(index=bare, body=body)["hits"]
    assert not left["anthem"]["reranked"]
    assert f"no product among the hits has a vector of this model: anthem ingest {bare}" in left["anthem"]["reason"]


def test_the_cluster_does_not_claim_to_rerank_without_vectors(client, encoder, bare):
    """Where no product found has a vector of this model, cluster mode gives the plain search and names the cure."""
    left = AnthemClient(client, encoder).search(bare, match("fire tv"))
    assert left["hits"] == client.search(index=bare, body=match("fire tv"))["hits"]
    assert not left["anthem"]["reranked"]
    assert f"anthem ingest {bare}" in left["anthem"]["reason"]


def test_a_page_without_vectors_is_reranked_where_others_have_them(client, encoder, index):
    """That the hits of one page have no vector does not make a search that was reranked a plain one."""
    body = {"query": {"match": {"title": "tv lonely"}}, "size": 1}
    client.index(index=index, id="lonely", body={"title": "lonely tv tv lonely"}, refresh=True)
    pages = [AnthemClient(client, encoder).search(index, body | {"from": start}, window=9) for start in range(5)]
    client.delete(index=index, id="lonely", refresh=True)
    assert "lonely" in [hit["_id"] for page in pages for hit in page["hits"]["hits"]]
    assert all(page["anthem"]["reranked"] for page in pages)


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("extra", [{"query": {"match": {"title": "zzzz"}}}, {"from": 500}, {"min_score": 99}])
def test_no_hits_are_not_reranked(client, encoder, index, mode, extra):
    """A page without hits is not called reranked, and totals and aggregations are those of the plain search."""
    body = match("fire tv") | {"aggs": {"all": {"value_count": {"field": "anthem.model"}}}} | extra
    left, plain = AnthemClient(client, encoder).search(index, body, mode=mode), client.search(index=index, body=body)
    assert (left["anthem"]["reranked"], left["anthem"]["reason"]) == (False, NO_HITS_REASON)
    assert (left["hits"], left["aggregations"]) == (plain["hits"], plain["aggregations"])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"docvalue_fields": ["anthem.model"]},
        {"docvalue_fields": [{"field": "anthem.mo*"}]},
        {"fields": ["title"]},
        {"fields": ["anthem.model", "title"]},
        {"stored_fields": "_none_", "docvalue_fields": ["title.raw"]},
        {"stored_fields": ["_id"]},
    ],
)
def test_a_hit_has_the_fields_the_caller_asked_for(client, encoder, index, asked):
    """What tells that a hit has a vector is not left in it, unless the caller asked for it."""
    body = match("fire tv") | asked
    plain, found = client.search(index=index, body=body), AnthemClient(client, encoder).search(index, body)
    assert found["anthem"]["reranked"]
    fields, wanted = ([hit.get("fields") for hit in one["hits"]["hits"]] for one in (found, plain))
    assert sorted(map(str, fields)) == sorted(map(str, wanted))
