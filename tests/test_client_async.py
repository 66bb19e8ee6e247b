"""The asynchronous client answers as its twin does, many searches at a time."""

import asyncio

import pytest
import small_shop
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError
from small_shop import match, slow_for

from anthem_plugin.client import AnthemClient, AsyncAnthemClient

pytestmark = pytest.mark.node


index, bare = small_shop.index, small_shop.bare


@pytest.mark.parametrize("mode", ["cluster", "client", "none"])
@pytest.mark.parametrize("query", ["fire tv", "!?"])
def test_the_async_twin_answers_alike(cluster, client, attentive, index, bare, mode, query):
    """Around an `AsyncOpenSearch` a search gives what it gives around an `OpenSearch`, its time aside."""

    async def ask(name):
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, attentive).search(name, match(query), mode=mode)

    def timeless(response):
        return response | {"took": 0, "anthem": response["anthem"] | {"took_ms": 0}}

    for name in (index, bare):
        expected = AnthemClient(client, attentive).search(name, match(query), mode=mode)
        assert timeless(asyncio.run(ask(name))) == timeless(expected)


def test_the_async_twin_survives_and_raises_alike(cluster, encoder, index):
    """A slow rerank costs the reranking alone; an index that is none is the caller's error."""

    async def ask(url, name):
        async with AsyncOpenSearch(hosts=[url], timeout=2) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(name, match("fire tv"))

    with slow_for(b'"rescore"', cluster) as url:
        left = asyncio.run(ask(url, index))
    assert len(left["hits"]["hits"]) == 5
    assert not left["anthem"]["reranked"]
    with pytest.raises(NotFoundError):
        asyncio.run(ask(cluster, "no-such"))


def test_searches_at_once_do_not_mix(cluster, attentive, index):
    """Many awaited searches at a time get each their own answer, and share one cache."""

    async def ask():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            anthem = AsyncAnthemClient(opensearch, attentive)
            words = ["fire", "tv", "red", "garden"] * 4
            found = await asyncio.gather(*(anthem.search(index, match(word), mode="client") for word in words))
            return words, found, anthem.stats()

    words, found, stats = asyncio.run(ask())
    for word, response in zip(words, found, strict=True):
        assert all(word in hit["_source"]["title"] for hit in response["hits"]["hits"])
    assert stats["reranked"] == 16
    assert stats["cache"]["size"] == 4
