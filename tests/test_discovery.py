"""Discovery: which vector fields, text fields and release a client finds for an index, and when it reads them."""

import asyncio
import json
from contextlib import closing

import pytest
import small_index
from click.testing import CliRunner
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.exceptions import AuthorizationException, NotFoundError, TransportError
from small_index import match

from anthem_core.opensearch.schema import VectorFields, fields_of_model
from anthem_core.opensearch.versions import LEGACY_BM25_FACTOR, Release
from anthem_ingest.cli import ingest
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.discovery import PROFILE_LIFETIME_SECONDS, IndexProfiles
from anthem_plugin.search.request import SearchRequest

index = small_index.index
REFUSED = AuthorizationException(403, "security_exception", {})
ABSENT = NotFoundError(404, "index_not_found_exception", {})
BROKEN = TransportError(503, "unavailable", {})
INFO = {"version": {"number": "3.6.0", "distribution": "opensearch"}}


def discover(profiles, name, info=INFO, mappings=None):
    """The profile of an index, and the requests that were sent; `info` and `mappings` are responses or exceptions."""
    responses, sent = {"info": info, "indices.get_mapping": mappings or {}}, []
    steps = profiles.read(SearchRequest(name, {}, {}, 10))
    try:
        step = next(steps)
        while True:
            sent.append(step.method)
            response = responses[step.method]
            step = steps.throw(response) if isinstance(response, Exception) else steps.send(response)
    except StopIteration as end:
        return end.value, sent


def mapping(*names, fields=None):
    """A mapping with vector objects of these names, for each of which the ingested fields are recorded."""
    meta = {"_meta": {"anthem": {name: {"model": "m", "fields": fields} for name in names}}} if fields else {}
    return {
        "mappings": {"properties": {name: VectorFields(name).mapping(3)["properties"][name] for name in names}} | meta
    }


def test_the_recorded_fields_are_found(bundle):
    """A client uses the object with its model's vectors, and the text fields recorded for that object."""
    own = fields_of_model(bundle.model_id).name
    mappings = {"a": mapping("anthem", fields=["name"]), "b": mapping("anthem", own, fields=["brand", "title"])}
    profile, sent = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings=mappings)
    assert profile.scoring.fields == VectorFields(own)
    assert profile.text_fields == ("brand", "title")
    assert profile.release == Release(3, 6)
    assert sent == ["info", "indices.get_mapping"]


def test_an_index_that_was_never_ingested_has_the_defaults(bundle):
    """Without vectors and records, the vector object is `anthem` and the text field `title`."""
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings={"shop": {"mappings": {}}})
    assert profile.scoring.fields == VectorFields()
    assert profile.text_fields == ("title",)


def test_configured_fields_are_not_discovered(bundle):
    """Fields that the caller names need no request for the mapping; nor does a search without an index name."""
    options = ClientOptions(fields=VectorFields("mine"), text_fields=("name",))
    profile, sent = discover(IndexProfiles(bundle, options), "shop")
    assert (profile.scoring.fields, profile.text_fields, sent) == (VectorFields("mine"), ("name",), ["info"])
    assert discover(IndexProfiles(bundle, ClientOptions()), None)[1] == ["info"]


@pytest.mark.parametrize("refusal", [REFUSED, ABSENT])
def test_a_refusal_means_the_defaults(bundle, refusal):
    """If the cluster forbids both requests or does not have the index, the defaults are used."""
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", refusal, refusal)
    assert (profile.scoring.fields, profile.text_fields, profile.release) == (VectorFields(), ("title",), None)


def test_a_failure_is_not_cached(bundle):
    """After a failure the next search sends the requests again."""
    profiles = IndexProfiles(bundle, ClientOptions())
    with pytest.raises(TransportError):
        discover(profiles, "shop", BROKEN)
    assert discover(profiles, "shop")[1] == ["info", "indices.get_mapping"]


def test_a_profile_is_read_once_in_five_minutes(bundle):
    """Each index is read once; a change of its mapping is noticed after the profile has expired."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    first, _ = discover(profiles, "shop")
    assert discover(profiles, "shop", mappings={"shop": mapping("anthem", fields=["name"])}) == (first, [])
    assert discover(profiles, "other")[1] != []
    now[0] = PROFILE_LIFETIME_SECONDS
    later, sent = discover(profiles, "shop", mappings={"shop": mapping("anthem", fields=["name"])})
    assert (later.text_fields, sent) == (("name",), ["info", "indices.get_mapping"])
    assert profiles.to_dict()["shop"] == {"vector": "anthem.vector", "text_fields": ["name"], "release": "3.6"}


def test_weights_are_adapted_to_the_release(bundle):
    """Before 3.0 lexical scores are 2.2 times as large, and so is the half-saturation."""
    old = {"version": {"number": "2.19.1", "distribution": "opensearch"}}
    new, before = (discover(IndexProfiles(bundle, ClientOptions()), "shop", info)[0].scoring for info in (INFO, old))
    assert before.fusion.half_saturation == pytest.approx(LEGACY_BM25_FACTOR * new.fusion.half_saturation)


@pytest.mark.node
def test_stats_show_the_profiles(client, cluster, encoder, index):
    """After a search, `stats` of both clients has the vector field, the text fields and the release of each index."""
    anthem = AnthemClient(client, encoder)
    assert anthem.stats()["indices"] == {}
    anthem.search(index, match("fire tv"))

    async def search_async():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            async_client = AsyncAnthemClient(opensearch, encoder)
            await async_client.search(index, match("fire tv"))
            return async_client.stats()["indices"], await async_client.profile(index)

    indices, profile = asyncio.run(search_async())
    assert anthem.stats()["indices"] == indices == {index: profile.to_dict()}
    assert indices[index]["vector"] == "anthem.vector"


@pytest.mark.node
def test_clients_rank_by_the_ingested_field(client, cluster, bundle, index, tmp_path, monkeypatch):
    """After `anthem ingest --field name` a client ranks by that field in both modes, without any option."""
    monkeypatch.chdir(tmp_path)
    name = f"{index}-named"
    client.indices.create(index=name, body={"mappings": {"properties": {"name": {"type": "text"}}}})
    for number, text in enumerate(("red fire tv", "fire pit", "tv table", "fire tv stick")):
        client.index(index=name, id=str(number), body={"name": text}, refresh=True)
    arguments = [name, "--field", "name", "--bundle", str(bundle.path), "--url", cluster, "--json"]
    done = CliRunner().invoke(ingest, arguments)
    assert done.exit_code == 0, done.output
    anthem = AnthemClient.from_bundle(client, bundle.path)
    assert anthem.profile(name).text_fields == ("name",)
    body = {"query": {"match": {"name": "fire tv"}}}
    assert anthem.search(name, body)["anthem"]["reranked"]
    report = anthem.search(name, body, mode="client")["anthem"]
    client.indices.delete(index=name)
    assert report["reranked"]
    assert json.loads(done.stdout)["failed"] == 0


@pytest.mark.node
def test_a_plain_search_reads_no_profile(client, encoder, index):
    """A search that is not reranked sends no requests except the search itself."""
    with closing(OpenSearch(hosts=["http://127.0.0.1:9"], max_retries=0)) as unreachable:
        unused = AnthemClient(unreachable, encoder)
        assert unused.stats()["indices"] == {}
    anthem = AnthemClient(client, encoder)
    anthem.search(index, match("fire tv"), mode="none")
    anthem.search(index, match("!?"))
    assert anthem.stats()["indices"] == {}
