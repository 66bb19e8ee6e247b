"""OR between phrases of a query text, and regions: both modes rank alike, in both clients."""

import asyncio
import json
import uuid

import numpy as np
import pytest
from click.testing import CliRunner
from opensearchpy import AsyncOpenSearch

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient, AsyncAnthemClient

pytestmark = pytest.mark.node

WORDS = ["fire", "kindle", "garden", "red", "tv", "stick", "reader", "hose"]
TITLES = [f"{one} {other} of {number}" for number, one in enumerate(WORDS) for other in WORDS]
TEXT = "fire tv OR kindle reader"
MANY = " OR ".join([*WORDS, "desk"])


def match(text):
    """Body of a plain search for all words of a text."""
    return {"query": {"match": {"title": text}}, "size": 64}


def ranked(response):
    """Scores by id."""
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def alike(one, other):
    """Whether two responses rank alike: the same scores in the same places, for the same products."""
    np.testing.assert_allclose([*ranked(one).values()], [*ranked(other).values()], rtol=3e-7)
    scores = ranked(other)
    np.testing.assert_allclose([scores[product] for product in ranked(one)], [*ranked(one).values()], rtol=3e-7)


@pytest.fixture(scope="module")
def index(client, encoder):
    """A shop on one shard, with vectors."""
    name = f"test-operators-{uuid.uuid4().hex}"
    mappings = VectorFields().mapping(encoder.bundle.dimension)
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mappings})
    lines = []
    for title, point in zip(TITLES, encoder.products(TITLES), strict=True):
        document = {"title": title} | VectorFields().document(point, encoder.bundle.model, title)
        lines += [{"index": {"_id": title}}, document]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture
def anthem(client, encoder):
    """A client that reranks by the two signals both modes have."""
    return AnthemClient(client, encoder, text_fields=())


def test_both_modes_rank_an_or_alike(anthem, index):
    """Cluster and client give an OR the same order and scores, which are not those of the text as one phrase."""
    inside, outside = (anthem.search(index, match(TEXT), mode=mode, operators=True) for mode in ("cluster", "client"))
    assert (inside["anthem"]["mode"], outside["anthem"]["mode"]) == ("cluster", "client")
    assert inside["anthem"]["reason"] is None
    alike(inside, outside)
    assert ranked(inside) != ranked(anthem.search(index, match(TEXT)))


def test_operators_change_no_text_without_them(anthem, index):
    """A text without OR is searched as it is without `operators`."""
    one, other = (anthem.search(index, match("fire tv"), operators=flag) for flag in (False, True))
    assert one["hits"] == other["hits"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_region_is_searched_for(anthem, encoder, index, mode):
    """The region of the OR's phrases ranks as the OR does, and `&` ranks otherwise."""
    fire, kindle = encoder.query("fire tv"), encoder.query("kindle reader")
    wanted = anthem.search(index, match(TEXT), mode=mode, operators=True)
    either, both = (anthem.search(index, match(TEXT), mode=mode, region=region)
                    for region in (fire | kindle, fire & kindle))  # fmt: skip
    assert either["hits"] == wanted["hits"]
    assert ranked(both) != ranked(either)


def test_a_region_needs_no_text(anthem, encoder, index):
    """With a region, a body in which no text is found is reranked."""
    body = {"query": {"match_all": {}}, "size": 64}
    found = anthem.search(index, body, region=encoder.query("fire") & encoder.query("tv"))
    assert found["anthem"]["reranked"]


def test_too_many_hyperboloids_are_ranked_in_the_client(anthem, index):
    """More than the script takes: the client ranks, and the reason says why."""
    found = anthem.search(index, match(MANY), operators=True)
    assert (found["anthem"]["reranked"], found["anthem"]["mode"]) == (True, "client")
    assert "the script takes 8" in found["anthem"]["reason"]
    assert found["hits"] == anthem.search(index, match(MANY), mode="client", operators=True)["hits"]


def test_attention_takes_the_phrase_that_looks_most(client, attentive, index):
    """With attention an OR with a phrase twice, or with one without letters, is the phrase alone."""
    anthem = AnthemClient(client, attentive)
    found = [anthem.search(index, match("fire tv"), query_text=text, mode="client", operators=True)
             for text in ("fire tv", "fire tv OR fire tv", "fire tv OR ?!", TEXT)]  # fmt: skip
    assert found[0]["anthem"]["signals"] == ["lexical", "attention"]
    for same in found[1:3]:
        assert same["hits"] == found[0]["hits"]
    assert any(score > ranked(found[0])[product] for product, score in ranked(found[3]).items())


def test_the_asynchronous_client_does_the_same(cluster, anthem, encoder, index):
    """Awaited, an OR has the hits of the synchronous client."""

    async def found():
        async with AsyncOpenSearch(hosts=[cluster]) as client:
            return await AsyncAnthemClient(client, encoder, text_fields=()).search(index, match(TEXT), operators=True)

    assert asyncio.run(found())["hits"] == anthem.search(index, match(TEXT), operators=True)["hits"]


def test_the_command_takes_operators(cluster, encoder, index):
    """`--operators` reranks by either phrase and explains the one that decides."""
    options = ["--bundle", str(encoder.bundle.path), "--url", cluster, "--operators", "--explain", "--json"]
    result = CliRunner().invoke(search, [index, TEXT, *options])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["reranked"]
    assert all(hit["explanation"]["margins"] for hit in found["hits"])
