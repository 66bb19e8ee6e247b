"""The clients if a search cannot be reranked: options that hide parts of the response, no vectors, no hits."""

import pytest
import small_index
from small_index import match

from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.request import NO_HITS_REASON

pytestmark = pytest.mark.node


index, foreign_index = small_index.index, small_index.foreign_index


def hits(response):
    """Hits of a response."""
    return response["hits"]["hits"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("paths", ["hits", "hits.hits._id,hits.hits._score"])
def test_a_response_filter_that_hides_needed_keys_is_reported(client, encoder, index, mode, paths):
    """If an option removes needed keys of the response, the search is not reranked, and the reason names the option."""
    response = AnthemClient(client, encoder).search(index, match("fire tv"), mode=mode, filter_path=paths)
    assert response["hits"] == client.search(index=index, body=match("fire tv"), filter_path=paths)["hits"]
    assert not response["anthem"]["reranked"]
    assert response["anthem"]["reason"].startswith("`filter_path` ")


def test_a_response_filter_that_keeps_the_shards_is_reranked(client, encoder, index):
    """A response filter that keeps `_shards` does not prevent reranking."""
    response = AnthemClient(client, encoder).search(index, match("fire tv"), filter_path="_shards,hits.hits._id")
    assert response["anthem"]["reranked"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_body_with_its_own_rescore(client, encoder, index, mode):
    """Cluster mode keeps an existing rescore and adds its own; client mode does not rerank the search, and says why."""
    rescore = {"window_size": 5, "query": {"rescore_query": {"match": {"title": "table"}}, "rescore_query_weight": 9}}
    body = match("tv") | {"rescore": rescore}
    response = AnthemClient(client, encoder).search(index, body, mode=mode)
    assert response["anthem"]["reranked"] == (mode == "cluster")
    if mode == "client":
        assert "`rescore`" in response["anthem"]["reason"]
        assert response["hits"] == client.search(index=index, body=body)["hits"]


def test_without_vectors_client_mode_returns_the_plain_search(client, encoder, foreign_index):
    """If no hit has a vector of this model or a text, client mode returns the plain page; the reason names the fix."""
    body = match("fire tv") | {"from": 1, "size": 3, "_source": ["title"]}
    response = AnthemClient(client, encoder, ClientOptions(text_fields=())).search(foreign_index, body, mode="client")
    assert response["hits"] == client.search(index=foreign_index, body=body)["hits"]
    assert not response["anthem"]["reranked"]
    assert (
        f"no product among the hits has a vector of this model; run: anthem ingest {foreign_index}"
        in response["anthem"]["reason"]
    )


def test_without_vectors_cluster_mode_returns_the_plain_search(client, encoder, foreign_index):
    """If no match has a vector of this model, cluster mode returns the plain search; the reason names the fix."""
    response = AnthemClient(client, encoder).search(foreign_index, match("fire tv"))
    assert response["hits"] == client.search(index=foreign_index, body=match("fire tv"))["hits"]
    assert not response["anthem"]["reranked"]
    assert f"anthem ingest {foreign_index}" in response["anthem"]["reason"]


def test_a_page_without_vectors_is_reranked_if_other_matches_have_vectors(client, encoder, index):
    """A search counts as reranked even if no hit of this page has a vector, as long as other matches have one."""
    body = {"query": {"match": {"title": "tv lonely"}}, "size": 1}
    client.index(index=index, id="lonely", body={"title": "lonely tv tv lonely"}, refresh=True)
    pages = [AnthemClient(client, encoder).search(index, body | {"from": start}, window=9) for start in range(5)]
    client.delete(index=index, id="lonely", refresh=True)
    assert "lonely" in [hit["_id"] for page in pages for hit in page["hits"]["hits"]]
    assert all(page["anthem"]["reranked"] for page in pages)


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("extra", [{"query": {"match": {"title": "zzzz"}}}, {"from": 500}, {"min_score": 99}])
def test_no_hits_are_not_reranked(client, encoder, index, mode, extra):
    """A page without hits is not reported as reranked; totals and aggregations are those of the plain search."""
    body = match("fire tv") | {"aggs": {"all": {"value_count": {"field": "anthem.model"}}}} | extra
    response, plain = (
        AnthemClient(client, encoder).search(index, body, mode=mode),
        client.search(index=index, body=body),
    )
    assert (response["anthem"]["reranked"], response["anthem"]["reason"]) == (False, NO_HITS_REASON)
    assert (response["hits"], response["aggregations"]) == (plain["hits"], plain["aggregations"])


@pytest.mark.parametrize(
    "requested",
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
def test_a_hit_has_the_fields_that_the_caller_requested(client, encoder, index, requested):
    """The model id, which shows that a hit has a vector, is removed from it unless the caller requested it."""
    body = match("fire tv") | requested
    plain, reranked = client.search(index=index, body=body), AnthemClient(client, encoder).search(index, body)
    assert reranked["anthem"]["reranked"]
    actual, expected = ([hit.get("fields") for hit in hits(response)] for response in (reranked, plain))
    assert sorted(map(str, actual)) == sorted(map(str, expected))
