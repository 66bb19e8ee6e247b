"""The clients if a search cannot be reranked: options that hide parts of the response, no values, no hits."""

import asyncio

import pytest
import small_index
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import NotFoundError, RequestError
from small_index import match

from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.request import NO_HITS_REASON, NO_INDEX_REASON, no_values_reason

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
def test_without_values_the_search_is_plain(client, encoder, foreign_index, mode):
    """If no hit has values of this model, and no text is read, the page is the plain one; the reason names the fix."""
    body = match("fire tv") | {"from": 1, "size": 3, "_source": ["title"]}
    response = AnthemClient(client, encoder, ClientOptions(text_fields=())).search(foreign_index, body, mode=mode)
    assert response["hits"] == client.search(index=foreign_index, body=body)["hits"]
    assert not response["anthem"]["reranked"]
    assert response["anthem"]["reason"] == no_values_reason(foreign_index)
    assert f"anthem ingest {foreign_index}" in response["anthem"]["reason"]


def test_a_page_without_values_is_reranked_if_others_have_some(client, encoder, index):
    """A search counts as reranked even if no hit of this page has values, as long as others in the window have some."""
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


@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("nomatch*", {}), ("missing", {"ignore_unavailable": True}), ("{index}*", {"expand_wildcards": "none"})],
)
def test_no_index_is_not_searched_in_any_mode(client, encoder, index, mode, name, options):
    """A search of no index has the `hits` of the plain search, and the reason that no index was searched."""
    name = name.format(index=index)
    response = AnthemClient(client, encoder).search(name, match("fire tv"), mode=mode, **options)
    assert (response["anthem"]["reranked"], response["anthem"]["reason"]) == (False, NO_INDEX_REASON)
    assert response["hits"] == client.search(index=name, body=match("fire tv"), **options)["hits"]


@pytest.mark.parametrize(
    "requested",
    [
        {},
        {"docvalue_fields": ["anthem.model"]},
        {"docvalue_fields": [{"field": "anthem.mo*"}]},
        {"fields": ["title"]},
        {"fields": ["anthem.model", "title"]},
        {"docvalue_fields": ["anthem.text_hash"], "fields": ["anthem.*"]},
        {"stored_fields": "_none_", "docvalue_fields": ["title.raw"]},
        {"stored_fields": ["_id"]},
    ],
)
def test_a_hit_has_the_fields_that_the_caller_requested(client, encoder, index, requested):
    """Model id and text hash, which show what the model knows, are removed from a hit unless the caller wants them."""
    body = match("fire tv") | requested
    plain, reranked = client.search(index=index, body=body), AnthemClient(client, encoder).search(index, body)
    assert reranked["anthem"]["reranked"]
    actual, expected = ([hit.get("fields") for hit in hits(response)] for response in (reranked, plain))
    assert sorted(map(str, actual)) == sorted(map(str, expected))


REFUSED = {
    "before reranking": ("no-such", {"query": {"match_all": {}}}, NotFoundError),
    "while reranking": (None, match("fire tv") | {"aggs": 5}, RequestError),
    "while discovering": ("no-such", match("fire tv"), NotFoundError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_of_the_plain_search_is_alone(cluster, client, encoder, index, name):
    """What the plain search raises has no exception of reranking behind it, in both clients, msearch and templates."""
    asked, body, kind = REFUSED[name]
    anthem, asked = AnthemClient(client, encoder), asked or index

    async def search():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(asked, body)

    calls = [
        lambda: anthem.search(asked, body),
        lambda: asyncio.run(search()),
        lambda: anthem.search_template({"source": body}, asked),
        lambda: anthem.search_template({"id": "no-such"}, asked),
    ]
    for call in calls:
        with pytest.raises((kind, NotFoundError)) as caught:
            call()
        assert (caught.value.__context__, caught.value.__cause__) == (None, None)


@pytest.mark.parametrize("body", [None, "", b"{}"])
def test_what_is_no_body_is_searched_plainly(client, encoder, index, body):
    """A search without a body, or with a string, is the plain one, and a sentence says what to pass."""
    anthem = AnthemClient(client, encoder)
    response = anthem.search(index, body)
    assert response["hits"] == client.search(index=index, body=body)["hits"]
    assert response["anthem"]["reason"].count("dict") == 1
    assert "None" not in response["anthem"]["reason"]
    assert anthem.stats()["failed"] == 0


@pytest.mark.parametrize("path", [5, [5], {"a": 1}, [["query"]], b"query"])
def test_a_path_of_the_wrong_type_is_the_callers_error(client, encoder, index, path):
    """A query path that is no string is a TypeError before anything is sent; it never counts as a failure."""
    anthem = AnthemClient(client, encoder)
    with pytest.raises(TypeError, match="query_path is"):
        anthem.search(index, match("fire tv"), query_path=path)
    assert anthem.stats()["failed"] == 0


TOO_LONG = [float("inf"), 1e12, 2**70, pytest.param(10**5000, id="huge"), (1, float("inf"))]


@pytest.mark.parametrize("seconds", [-1, -0.5, float("nan"), *TOO_LONG])
def test_a_time_out_that_cannot_be_kept_is_the_callers_error(cluster, client, encoder, index, seconds):
    """A time-out below zero or beyond what sockets take is a ValueError before anything is sent, in both clients."""
    anthem = AnthemClient(client, encoder)

    async def search():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(index, match("fire tv"), request_timeout=seconds)

    calls = [
        lambda: anthem.search(index, match("fire tv"), request_timeout=seconds),
        lambda: anthem.msearch([{}, match("fire tv")], index, request_timeout=seconds),
        lambda: asyncio.run(search()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="request_timeout is"):
            call()
    assert anthem.stats()["failed"] == 0


def test_a_time_out_that_cannot_be_sent_pauses_nothing(client, encoder, index):
    """A time-out of a form that only another connection class takes fails alone, and never opens the breaker."""
    anthem = AnthemClient(client, encoder)
    for _ in range(CircuitBreaker().failures):
        with pytest.raises(NoConnection, match="Timeout value"):
            anthem.search(index, match("fire tv"), request_timeout=(1, 2))
    assert (anthem.stats()["failed"], anthem.stats()["breaker"]) == (0, "closed")
    assert anthem.search(index, match("fire tv"), request_timeout=1e9)["anthem"]["reranked"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize(
    "keys",
    [
        {"script_fields": {}},
        {"script_fields": {"a": {"script": "1"}}},
        {"script_fields": {}, "_source": False},
        {"stored_fields": []},
        {"stored_fields": [], "_source": True},
        {"stored_fields": [], "script_fields": {}},
        {"fields": []},
        {"docvalue_fields": []},
        {"_source": []},
        {"_source": {}},
    ],
    ids=str,
)
def test_empty_keys_keep_the_source_as_opensearch_does(client, encoder, index, mode, keys):
    """A reranked hit has a `_source` if, and only if, the plain search returns one, with empty keys too."""
    body = match("fire tv") | keys
    response, plain = (
        AnthemClient(client, encoder).search(index, body, mode=mode),
        client.search(index=index, body=body),
    )
    assert response["anthem"]["reranked"]

    def titles(found):
        return {hit["_id"]: hit["_source"]["title"] if "_source" in hit else None for hit in hits(found)}

    assert titles(response) == titles(plain)
    assert "vector" not in str(hits(response))
