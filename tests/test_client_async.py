"""The asynchronous client gives the same responses as `AnthemClient`, also for many searches at a time."""

import asyncio

import pytest
import small_index
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError
from small_index import match, slow_proxy

from anthem_plugin.client import AnthemClient, AsyncAnthemClient

pytestmark = pytest.mark.node


index, foreign_index = small_index.index, small_index.foreign_index


@pytest.mark.parametrize("mode", ["cluster", "client", "none"])
@pytest.mark.parametrize("query", ["fire tv", "!?"])
def test_both_clients_give_the_same_response(cluster, client, attention_encoder, index, foreign_index, mode, query):
    """Both clients give the same response, except for its duration."""

    async def search(name):
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, attention_encoder).search(name, match(query), mode=mode)

    def without_times(response):
        return response | {"took": 0, "anthem": response["anthem"] | {"took_ms": 0}}

    for name in (index, foreign_index):
        expected = AnthemClient(client, attention_encoder).search(name, match(query), mode=mode)
        assert without_times(asyncio.run(search(name))) == without_times(expected)


def test_the_async_client_fails_like_the_other(cluster, encoder, index):
    """A slow rerank gives the plain search; an index that does not exist raises an error."""

    async def search(url, name):
        async with AsyncOpenSearch(hosts=[url], timeout=2) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(name, match("fire tv"))

    with slow_proxy(b'"rescore"', cluster) as url:
        response = asyncio.run(search(url, index))
    assert len(response["hits"]["hits"]) == 5
    assert not response["anthem"]["reranked"]
    with pytest.raises(NotFoundError):
        asyncio.run(search(cluster, "no-such"))


def test_concurrent_searches_do_not_mix(cluster, attention_encoder, index):
    """Concurrent searches each get their own response, and share one cache."""

    async def search_all():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            anthem = AsyncAnthemClient(opensearch, attention_encoder)
            words = ["fire", "tv", "red", "garden"] * 4
            responses = await asyncio.gather(*(anthem.search(index, match(word), mode="client") for word in words))
            return words, responses, anthem.stats()

    words, responses, stats = asyncio.run(search_all())
    for word, response in zip(words, responses, strict=True):
        assert all(word in hit["_source"]["title"] for hit in response["hits"]["hits"])
    assert stats["reranked"] + stats["skipped"] == 16
    assert stats["cache"]["size"] == 4
