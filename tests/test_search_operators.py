"""OR between phrases of a query text, and regions: both modes give the same ranking, in both clients."""

import asyncio
import json
import uuid

import numpy as np
import pytest
from click.testing import CliRunner
from opensearchpy import AsyncOpenSearch
from small_index import model_documents

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.options import ClientOptions

pytestmark = pytest.mark.node

WORDS = ["fire", "kindle", "garden", "red", "tv", "stick", "reader", "hose"]
TITLES = [f"{first} {second} of {number}" for number, first in enumerate(WORDS) for second in WORDS]
TEXT = "fire tv OR kindle reader"
MANY_PHRASES = " OR ".join([*WORDS, "desk"])


def match(text):
    """Body of a plain search for all words of a text."""
    return {"query": {"match": {"title": text}}, "size": 64}


def scores(response):
    """Scores by id."""
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def assert_same_ranking(actual, expected):
    """Check that two responses have the same scores, rank by rank and product by product."""
    np.testing.assert_allclose([*scores(actual).values()], [*scores(expected).values()], rtol=1e-6)
    by_product = [scores(expected)[product] for product in scores(actual)]
    np.testing.assert_allclose(by_product, [*scores(actual).values()], rtol=1e-6)


@pytest.fixture(scope="module")
def index(client, encoder):
    """An ingested index on one shard."""
    name = f"test-operators-{uuid.uuid4().hex}"
    mappings = ModelFields().mapping(encoder.bundle.dimension)
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mappings})
    lines = []
    for title, values in zip(TITLES, model_documents(encoder, TITLES), strict=True):
        lines += [{"index": {"_id": title}}, {"title": title} | values]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture
def anthem(client, encoder):
    """A client."""
    return AnthemClient(client, encoder)


def test_both_modes_rank_or_in_the_same_way(anthem, index):
    """Both modes give a text with OR the same order and scores, which differ from those of the text as one phrase."""
    inside, outside = (anthem.search(index, match(TEXT), mode=mode, operators=True) for mode in ("cluster", "client"))
    assert (inside["anthem"]["mode"], outside["anthem"]["mode"]) == ("cluster", "client")
    assert inside["anthem"]["signals"] == outside["anthem"]["signals"] == ["lexical", "containment", "attention"]
    assert inside["anthem"]["reason"] is None
    assert_same_ranking(inside, outside)
    assert scores(inside) != scores(anthem.search(index, match(TEXT)))


def test_a_text_without_or_is_unchanged(anthem, index):
    """For a text without OR, `operators` makes no difference."""
    without, with_operators = (anthem.search(index, match("fire tv"), operators=flag) for flag in (False, True))
    assert without["hits"] == with_operators["hits"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_region_ranks_the_hits(anthem, encoder, index, mode):
    """The region `a | b` ranks like the text `a OR b`, whose attention it keeps, and `a & b` ranks differently."""
    fire, kindle = encoder.encode_query("fire tv"), encoder.encode_query("kindle reader")
    expected = anthem.search(index, match(TEXT), mode=mode, operators=True)
    either, both = (anthem.search(index, match(TEXT), mode=mode, region=region, operators=True)
                    for region in (fire | kindle, fire & kindle))  # fmt: skip
    assert either["hits"] == expected["hits"]
    assert scores(both) != scores(either)


def test_a_region_needs_no_text(anthem, encoder, index):
    """With a region, a body without a query text is reranked."""
    body = {"query": {"match_all": {}}, "size": 64}
    response = anthem.search(index, body, region=encoder.encode_query("fire") & encoder.encode_query("tv"))
    assert response["anthem"]["reranked"]


def test_too_many_hyperboloids_are_ranked_in_the_client(anthem, index):
    """If there are more hyperboloids than the script takes, the client ranks, and the reason says why."""
    response = anthem.search(index, match(MANY_PHRASES), operators=True)
    assert (response["anthem"]["reranked"], response["anthem"]["mode"]) == (True, "client")
    assert "the script takes at most 8" in response["anthem"]["reason"]
    assert response["hits"] == anthem.search(index, match(MANY_PHRASES), mode="client", operators=True)["hits"]


def test_attention_is_that_of_the_best_phrase(client, attention_encoder, index):
    """Attention ranks by the best phrase: repeating a phrase, or adding one without letters, changes nothing."""
    anthem = AnthemClient(client, attention_encoder)
    single, repeated, without_letters, other = (
        anthem.search(index, match("fire tv"), query_text=text, mode="client", operators=True)
        for text in ("fire tv", "fire tv OR fire tv", "fire tv OR ?!", TEXT)
    )
    assert single["anthem"]["signals"] == ["lexical", "attention"]
    assert repeated["hits"] == without_letters["hits"] == single["hits"]
    assert any(score > scores(single)[product] for product, score in scores(other).items())


def test_the_async_client_does_the_same(cluster, anthem, encoder, index):
    """The async client returns the same hits for a text with OR."""

    async def search_async():
        async with AsyncOpenSearch(hosts=[cluster]) as client:
            async_client = AsyncAnthemClient(client, encoder, ClientOptions(text_fields=()))
            return await async_client.search(index, match(TEXT), operators=True)

    assert asyncio.run(search_async())["hits"] == anthem.search(index, match(TEXT), operators=True)["hits"]


def test_the_command_supports_operators(cluster, encoder, index):
    """`anthem search --operators` reranks by either phrase and explains by the phrase that decides."""
    options = ["--bundle", str(encoder.bundle.path), "--url", cluster, "--operators", "--explain", "--json"]
    result = CliRunner().invoke(search, [index, TEXT, *options])
    assert result.exit_code == 0, result.stderr
    search_result = json.loads(result.stdout)
    assert search_result["reranked"]
    assert all(hit["explanation"]["region"]["margins"] for hit in search_result["hits"])
