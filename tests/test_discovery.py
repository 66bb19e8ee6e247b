"""Discovery: which vector fields, text fields and release a client finds for an index, and when it reads them."""

import asyncio
import json
from contextlib import closing, suppress

import pytest
import small_index
from click.testing import CliRunner
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.exceptions import AuthorizationException, NotFoundError, TransportError
from small_index import match

from anthem_core.opensearch.schema import VectorFields, fields_of_model
from anthem_core.opensearch.versions import LEGACY_BM25_FACTOR, Release
from anthem_ingest.cli import ingest
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.discovery import (
    DISCOVERY_TIME_SHARE,
    MAX_PROFILES,
    PROFILE_LIFETIME_SECONDS,
    RETRY_SECONDS,
    IndexProfiles,
)
from anthem_plugin.search.request import ComputeStep, RerankSkipped, SearchRequest

index = small_index.index
REFUSED = AuthorizationException(403, "security_exception", {})
ABSENT = NotFoundError(404, "index_not_found_exception", {})
BROKEN = TransportError(503, "unavailable", {})
INFO = {"version": {"number": "3.6.0", "distribution": "opensearch"}}


def discover(profiles, name, info=INFO, mappings=None, **options):
    """The profile of an index, and the steps that were sent; `info` and `mappings` are responses or exceptions."""
    responses, sent = {"info": info, "indices.get_mapping": {} if mappings is None else mappings}, []
    steps = profiles.read(SearchRequest(name, {}, options, 10))
    try:
        step = next(steps)
        while True:
            sent.append(step)
            response = responses[step.method]
            step = steps.throw(response) if isinstance(response, Exception) else steps.send(response)
    except StopIteration as end:
        return end.value, sent


def methods(sent):
    """Methods of the steps that were sent."""
    return [step.method for step in sent]


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
    assert methods(sent) == ["info", "indices.get_mapping"]


def test_an_index_that_was_never_ingested_has_the_defaults(bundle):
    """Without vectors and records, the vector object is `anthem` and the text field `title`."""
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings={"shop": {"mappings": {}}})
    assert profile.scoring.fields == VectorFields()
    assert profile.text_fields == ("title",)


def test_configured_fields_are_not_discovered(bundle):
    """Fields that the caller names need no request for the mapping; nor does a search without an index name."""
    options = ClientOptions(fields=VectorFields("mine"), text_fields=("name",))
    profile, sent = discover(IndexProfiles(bundle, options), "shop")
    assert (profile.scoring.fields, profile.text_fields) == (VectorFields("mine"), ("name",))
    assert methods(sent) == ["info"]
    assert methods(discover(IndexProfiles(bundle, ClientOptions()), None)[1]) == ["info"]


def test_a_cluster_that_forbids_both_requests_has_the_defaults(bundle):
    """Without permission for either request the defaults are used, for as long as any other profile."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    profile, _ = discover(profiles, "shop", REFUSED, REFUSED)
    assert (profile.scoring.fields, profile.text_fields, profile.release) == (VectorFields(), ("title",), None)
    now[0] = PROFILE_LIFETIME_SECONDS - 1
    assert discover(profiles, "shop")[1] == []


FAILURES = [BROKEN, ABSENT, TransportError(429, "busy", {}), RerankSkipped("late"), "text", [], {"a": "text"}]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failed_discovery_costs_no_reranking(bundle, failure):
    """Whatever the request for the mapping gives, the last profile or the defaults are used; it is sent again soon."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    failed, _ = discover(profiles, "shop", mappings=failure)
    assert (failed.scoring.fields, failed.text_fields) == (VectorFields(), ("title",))
    assert discover(profiles, "shop")[1] == []
    now[0] += RETRY_SECONDS
    known, sent = discover(profiles, "shop", mappings={"shop": mapping("anthem", fields=["name"])})
    assert methods(sent) == ["info", "indices.get_mapping"]
    now[0] += PROFILE_LIFETIME_SECONDS
    assert discover(profiles, "shop", mappings=failure)[0] == known
    assert known.text_fields == ("name",)


@pytest.mark.parametrize("info", [BROKEN, "text", [], None, {"version": 3}], ids=repr)
def test_an_odd_answer_about_the_release_costs_no_reranking(bundle, info):
    """A cluster that fails to say which release it is gets the bundle's own weights."""
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", info)
    assert (profile.release, profile.scoring) == (None, ScoringParams.from_bundle(bundle))


def test_discovery_takes_a_tenth_of_the_time(bundle):
    """Each request of a discovery ends within a tenth of the time-out, so that the search keeps its time."""
    _, sent = discover(IndexProfiles(bundle, ClientOptions()), "shop", request_timeout=2)
    assert len(sent) == 2
    assert all(0 < step.arguments["request_timeout"] <= DISCOVERY_TIME_SHARE * 2 for step in sent)


def test_discovery_uses_the_options_of_the_search(bundle):
    """Headers and the options that resolve index names go with the discovery, from `params` too; others do not."""
    options = {"headers": {"Authorization": "x"}, "params": {"ignore_unavailable": True}, "preference": "a"}
    _, (info, get_mapping) = discover(IndexProfiles(bundle, ClientOptions()), "a,b", **options)
    assert info.arguments.keys() == {"headers", "request_timeout"}
    assert get_mapping.arguments.keys() == {"index", "filter_path", "headers", "ignore_unavailable", "request_timeout"}


def test_a_search_without_vectors_shortens_the_life_of_a_profile(bundle):
    """If no hit has a vector, the vectors may have moved: the profile is read again after half a minute."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    discover(profiles, "shop")
    profiles.expire_soon(SearchRequest("shop", {}, {}, 10))
    assert discover(profiles, "shop")[1] == []
    now[0] = RETRY_SECONDS
    assert discover(profiles, "shop")[1] != []


def test_profiles_are_bounded(bundle):
    """An application that searches ever new names keeps no more than the last profiles."""
    profiles = IndexProfiles(bundle, ClientOptions())
    for number in range(MAX_PROFILES + 10):
        discover(profiles, f"shop-{number}")
    assert list(profiles.to_dict()) == [f"shop-{number}" for number in range(10, MAX_PROFILES + 10)]


def test_a_profile_is_read_once_in_five_minutes(bundle):
    """Each index is read once; a change of its mapping is noticed after the profile has expired."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    first, _ = discover(profiles, "shop")
    assert discover(profiles, "shop", mappings={"shop": mapping("anthem", fields=["name"])}) == (first, [])
    assert discover(profiles, "other")[1] != []
    now[0] = PROFILE_LIFETIME_SECONDS
    later, sent = discover(profiles, "shop", mappings={"shop": mapping("anthem", fields=["name"])})
    assert (later.text_fields, methods(sent)) == (("name",), ["info", "indices.get_mapping"])
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
    assert "attention" in anthem.search(name, body, mode="client")["anthem"]["signals"]
    common = [name, "--bundle", str(bundle.path), "--url", cluster, "--json"]
    again = CliRunner().invoke(ingest, common)
    shown = CliRunner().invoke(search, [common[0], "fire tv", *common[1:]])
    client.indices.delete(index=name)
    assert json.loads(done.stdout)["written"] == 4
    assert json.loads(again.stdout)["written"] == 0, "the recorded field is the default of the next ingest"
    assert {hit["title"] for hit in json.loads(shown.stdout)["hits"]} >= {"red fire tv", "fire tv stick"}


@pytest.mark.node
def test_a_plain_search_reads_no_profile(client, encoder, index):
    """A search that is not reranked sends no requests except the search itself."""
    anthem = AnthemClient(client, encoder)
    for settings in ({"query_text": "fire tv", "mode": "none"}, {"query_text": "!?"}):
        steps = anthem._flow.search(anthem._build_request(index, match("fire tv"), **settings))
        sent = []
        with suppress(StopIteration):
            step = next(steps)
            while True:
                sent += [] if isinstance(step, ComputeStep) else [step.method]
                step = steps.send(anthem._execute(step))
        assert sent == ["search"]
    assert anthem.stats()["indices"] == {}


@pytest.mark.parametrize(
    "wrong",
    [{"text_fields": "title"}, {"fields": "anthem"}, {"circuit_breaker": 5}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_options_of_the_wrong_type_are_refused(wrong):
    """A string in place of several fields, or of an object, is refused when the options are made."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        ClientOptions(**wrong)


def test_a_client_of_the_wrong_kind_is_refused(encoder):
    """A URL, or an asynchronous client where a synchronous one is expected, is refused when the client is made."""
    asynchronous = AsyncOpenSearch(hosts=["http://127.0.0.1:9"])
    for wrong in ("http://127.0.0.1:9", asynchronous):
        with pytest.raises(TypeError, match="expected an OpenSearch"):
            AnthemClient(wrong, encoder)
    with closing(OpenSearch(hosts=["http://127.0.0.1:9"])) as synchronous, pytest.raises(TypeError, match="AsyncOpen"):
        AsyncAnthemClient(synchronous, encoder)
