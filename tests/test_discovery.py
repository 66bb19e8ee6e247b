"""Discovery: which fields, signals and text fields a client finds for an index, and when it reads them."""

import asyncio
import json
from contextlib import closing

import pytest
import small_index
from click.testing import CliRunner
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.exceptions import AuthorizationException, NotFoundError, TransportError
from shipped_words import DIMENSION
from small_index import match

from anthem_core.opensearch.schema import CURRENT_FIELDS, ModelFields, fields_of_model
from anthem_ingest.cli import ingest
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.discovery import (
    DISCOVERY_TIME_SHARE,
    MAX_PROFILES,
    PROFILE_LIFETIME_SECONDS,
    RETRY_SECONDS,
    IndexProfiles,
)
from anthem_plugin.search.request import RerankSkipped, SearchRequest, SendStep

index = small_index.index
REFUSED = AuthorizationException(403, "security_exception", {})
ABSENT = NotFoundError(404, "index_not_found_exception", {})
BROKEN = TransportError(503, "unavailable", {})
BOTH = frozenset({"containment", "attention"})


def discover(profiles, name, *mappings, body=None, **options):
    """The profile of an index, and the steps that were sent; each of `mappings` is a response or an exception."""
    responses, sent = [*mappings, {}], []
    steps = profiles.read(SearchRequest(name, body or {}, options, 10))
    try:
        step = next(steps)
        while True:
            response = responses[len(sent)]
            sent.append(step)
            step = steps.throw(response) if isinstance(response, Exception) else steps.send(response)
    except StopIteration as end:
        return end.value, sent


def methods(sent):
    """Methods of the steps that were sent."""
    return [step.method for step in sent]


def mapping(*names, fields=None):
    """A mapping with model objects of these names, for each of which the ingested fields are recorded."""
    meta = {"_meta": {"anthem": {name: {"model": "m", "fields": fields} for name in names}}} if fields else {}
    return {
        "mappings": {"properties": {name: ModelFields(name).mapping(DIMENSION)["properties"][name] for name in names}}
        | meta
    }


def test_the_recorded_fields_are_found(bundle):
    """A client uses the object with its model's vectors, and the text fields recorded for that object."""
    own = fields_of_model(bundle.model_id).name
    mappings = {"a": mapping("anthem", fields=["name"]), "b": mapping("anthem", own, fields=["brand", "title"])}
    profile, sent = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings)
    assert profile.scoring.fields == ModelFields(own)
    assert profile.text_fields == ("brand", "title")
    assert profile.signals == BOTH
    assert methods(sent) == ["indices.get_mapping"]


def test_an_index_that_was_never_ingested_has_the_defaults(bundle):
    """Without values and records, the model's object is `anthem`, it has no signals, and the text field is `title`."""
    for mappings in ({"shop": {"mappings": {}}}, {}):
        profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings)
        assert profile.scoring.fields == ModelFields()
        assert (profile.text_fields, profile.signals, profile.faults) == (("title",), frozenset(), ())


def test_configured_fields_are_used(bundle):
    """Fields that the caller names are not looked for; their signals are read."""
    options = ClientOptions(fields=ModelFields("mine"), text_fields=("name",))
    profile, sent = discover(IndexProfiles(bundle, options), "shop", {"shop": mapping("anthem", "mine")})
    assert (profile.scoring.fields, profile.text_fields) == (ModelFields("mine"), ("name",))
    assert profile.signals == BOTH
    assert methods(sent) == ["indices.get_mapping"]
    assert discover(IndexProfiles(bundle, options), "shop", {"shop": mapping("anthem")})[0].signals == frozenset()


def covered(*indices, failed=0):
    """Response to the search for the indices of a point in time."""
    buckets = [{"key": name, "doc_count": 1} for name in indices]
    return {"aggregations": {"indices": {"buckets": buckets}}, "_shards": {"failed": failed}}


def test_a_point_in_time_has_the_profile_of_its_indices(bundle):
    """Its indices are asked for once, and their profile is that of the same indices by name; what fails is no error."""
    profiles, pit = IndexProfiles(bundle, ClientOptions()), {"pit": {"id": "a"}}
    mappings = {"shop": mapping("mine", fields=["name"]), "own": {"mappings": {}}}
    profile, sent = discover(profiles, None, covered("shop", "own"), mappings, body=pit)
    assert methods(sent) == ["search", "indices.get_mapping"]
    assert sent[1].arguments["index"] == "shop,own"
    assert sent[0].arguments["request_timeout"] <= 10 * DISCOVERY_TIME_SHARE
    assert profile.scoring.fields.hidden == ("mine",)
    assert discover(profiles, None, body=pit) == (profile, [])
    assert discover(profiles, "shop,own") == (profile, [])
    assert methods(discover(profiles, None, covered("shop", "own"), body={"pit": {"id": "b"}})[1]) == ["search"]
    for response in (covered(), BROKEN):  # no products, or no answer: the same is asked again
        profile, sent = discover(profiles, None, response, body={"pit": {"id": "c"}})
        assert (profile.scoring.fields, methods(sent)) == (ModelFields(), ["search"])
    partial = covered("shop", "own", failed=1)
    assert methods(discover(profiles, None, partial, body={"pit": {"id": "c"}})[1]) == ["search"]
    assert methods(discover(profiles, None, covered("shop"), {}, body={"pit": {"id": "c"}})[1])[0] == "search"


@pytest.mark.parametrize("body", [{}, {"pit": None}, {"pit": {"id": 5}}, {"pit": {"id": ""}}, {"pit": "a"}])
def test_a_search_of_no_index_has_the_profile_of_all(bundle, body):
    """Without an index and a point in time, what is hidden comes from the mappings of all indices."""
    profile, sent = discover(IndexProfiles(bundle, ClientOptions()), None, {"shop": mapping("anthem")}, body=body)
    assert methods(sent) == ["indices.get_mapping"]
    assert sent[0].arguments["index"] is None
    assert (profile.signals, profile.scoring.fields.hidden) == (BOTH, ("anthem",))


def test_a_cluster_that_forbids_the_request_has_the_defaults(bundle):
    """Without permission to read mappings the defaults and all signals are used, as long as any other profile."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    profile, _ = discover(profiles, "shop", REFUSED)
    assert (profile.scoring.fields, profile.text_fields, profile.signals) == (ModelFields(), ("title",), BOTH)
    now[0] = PROFILE_LIFETIME_SECONDS - 1
    assert discover(profiles, "shop")[1] == []


ALIASES = {name: {"type": "alias", "path": f"anthem_x.{name}"} for name in ("vector", "trigrams", "model")}
VECTOR = {"type": "knn_vector", "dimension": DIMENSION, "data_type": "BYTE"}  # as OpenSearch returns it
TRIGRAMS = {"type": "binary", "doc_values": True}
AS_STORED = f"knn_vector with dimension {DIMENSION} of type byte"
FLOAT_VECTOR = {"type": "knn_vector", "dimension": DIMENSION + 1}  # of an earlier version


@pytest.mark.parametrize(
    ("properties", "signals", "fault"),
    [
        ({"vector": VECTOR, "trigrams": TRIGRAMS}, BOTH, None),
        ({"vector": VECTOR}, {"containment"}, None),
        ({"vector": VECTOR | {"method": {"name": "hnsw"}}}, {"containment"}, None),
        ({"trigrams": TRIGRAMS}, {"attention"}, None),
        ({"vector": {"type": "float"}, "trigrams": TRIGRAMS}, {"attention"}, "as float, not as knn_vector with dim"),
        ({"vector": VECTOR | {"dimension": 33}}, set(), "dimension 33 of type byte, not as knn_vector"),
        ({"vector": FLOAT_VECTOR}, set(), f"dimension {DIMENSION + 1}, not as {AS_STORED}"),
        ({"vector": VECTOR | {"data_type": "binary"}}, set(), f"dimension {DIMENSION} of type binary, not as"),
        (
            {"vector": VECTOR | {"doc_values": False}},
            set(),
            f"dimension {DIMENSION} of type byte without doc values, not",
        ),
        ({"vector": {"properties": {"x": {"type": "float"}}}}, set(), "as object, not as"),
        ({"vector": VECTOR, "trigrams": {"type": "binary"}}, {"containment"}, "as binary without doc values, not as"),
        ({"vector": VECTOR, "trigrams": {"type": "text"}}, {"containment"}, "as text, not as binary with doc values"),
        ({}, set(), None),
    ],
)
def test_the_mapping_tells_which_signals_an_index_has(bundle, properties, signals, fault):
    """A signal needs a field of the right type; a field of another type is a fault that says what to do."""
    mappings = {"shop": {"mappings": {"properties": {"anthem": {"properties": properties}}}}}
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings)
    assert profile.signals == signals
    if fault is None:
        assert profile.note is None
        return
    assert fault in profile.note
    assert ("run: anthem ingest shop --beside" in profile.note) == fault.startswith("dimension")


def test_aliases_have_the_signals_of_their_targets(bundle):
    """The fields `anthem_current` have the signals of the fields that they point at."""
    properties = {"anthem_x": {"properties": {"vector": VECTOR, "trigrams": {"type": "binary"}}}}
    properties |= {"anthem_current": {"properties": ALIASES}}
    options = ClientOptions(fields=CURRENT_FIELDS)
    profile, _ = discover(IndexProfiles(bundle, options), "shop", {"shop": {"mappings": {"properties": properties}}})
    assert profile.signals == {"containment"}
    assert profile.faults[0].startswith("`anthem_current.trigrams` is mapped as binary without doc values")


def test_a_pattern_has_the_signals_of_all_its_indices(bundle):
    """One index with the right type is enough: the script checks each product."""
    wrong = {"mappings": {"properties": {"anthem": {"properties": {"vector": {"type": "float"}}}}}}
    mappings = {"bare": {"mappings": {}}, "copy": wrong, "shop": mapping("anthem")}
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "*", mappings)
    assert profile.signals == BOTH
    misfit = f"`anthem.vector` is mapped as float, not as {AS_STORED}; `anthem doctor` says how to fix it"
    assert profile.note == (
        f"bare is not ranked: no values of this model; run: anthem ingest INDEX; copy is not ranked: {misfit}"
    )
    assert profile.client_note(from_texts=True) == profile.note.replace("not ranked", "ranked without containment")
    assert profile.scoring.misfits == {"containment": {"copy"}}
    assert profile.scoring.readable_signals("copy") == {"attention"}
    for name in ("bare", "shop", "created-later"):
        assert profile.scoring.readable_signals(name) == BOTH


def recorded(name, model, **fields):
    """A mapping that holds a model's values in an object of this name, as `ingest --as` records it."""
    meta = {"anthem": {name: {"model": model, "fields": ["name"]}}}
    return {"mappings": {"_meta": meta, "properties": ModelFields(name).mapping(DIMENSION)["properties"] | fields}}


def test_an_object_that_was_named_is_found(bundle):
    """The record leads to the model's object, whatever its name, also in an index whose `anthem` is the user's."""
    own = recorded("values", bundle.model_id, anthem={"type": "text"})
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", {"shop": own})
    assert profile.scoring.fields == ModelFields("values")
    assert (profile.text_fields, profile.signals, profile.faults) == (("name",), BOTH, ())
    other_model = recorded("values", "another", anthem={"properties": {"year": {"type": "long"}}})
    assert discover(IndexProfiles(bundle, ClientOptions()), "shop", {"shop": other_model})[0].signals == BOTH


def test_only_objects_of_models_are_hidden(bundle):
    """The recorded and the usual objects are hidden by name; of one that is the user's elsewhere, only the values."""
    shop, users = mapping("anthem", "anthem_0123abcd", "mine", fields=["title"]), {"type": "keyword"}
    notes = {"properties": {"vector": {"type": "float"}, "year": {"type": "long"}}}
    values = ("model", "text_hash", "trigrams", "vector")

    def hidden(**properties):
        mappings = {"shop": shop, "own": {"mappings": {"properties": properties}}}
        return discover(IndexProfiles(bundle, ClientOptions()), "shop,own", mappings)[0].scoring.fields.hidden

    assert hidden(anthem_notes=notes, other=notes) == ("anthem", "anthem_0123abcd", "mine")
    assert hidden(mine=users) == ("anthem", "anthem_0123abcd", *(f"mine.{key}" for key in values))
    assert hidden(anthem=notes) == (*(f"anthem.{key}" for key in values[:3]), "anthem_0123abcd", "mine")
    unknown = discover(IndexProfiles(bundle, ClientOptions()), "shop", REFUSED)[0].scoring.fields
    assert {f"anthem.{key}" for key in values} <= set(unknown.hidden)
    assert not {"anthem", "anthem_*.vector"} & set(unknown.hidden)


def test_one_model_in_different_objects_is_said(bundle):
    """A search of both ranks one index, and its reason names the other one, its object and what to do."""
    mappings = {"a": recorded("mine", bundle.model_id), "b": recorded("yours", bundle.model_id), "c": mapping("anthem")}
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "a,b,c", mappings)
    assert profile.scoring.fields == ModelFields("mine")
    note = profile.note
    assert "b is not ranked: the values of this model are in `yours`, and in `mine` of the others" in note
    assert "c is not ranked: the values of this model are in `anthem`" in note


def test_many_indices_are_counted(bundle):
    """Of many indices without values, the first three are named."""
    mappings = {"shop": mapping("anthem")} | {f"old-{number}": {"mappings": {}} for number in range(7)}
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "*", mappings)
    assert profile.note.startswith("old-0, old-1, old-2 and 4 more are not ranked: no values")


def test_an_index_without_source_is_not_ranked(bundle):
    """Without `_source` a search would fail, so nothing is ranked, no text is read, and the reason says what to do."""
    mappings = {"shop": {"mappings": mapping("anthem")["mappings"] | {"_source": {"enabled": False}}}}
    profile, _ = discover(IndexProfiles(bundle, ClientOptions()), "shop", mappings | {"other": mapping("anthem")})
    assert (profile.signals, profile.text_fields) == (frozenset(), ())
    assert profile.note.startswith("shop keeps no _source")
    pruned = {"shop": {"mappings": mapping("anthem")["mappings"] | {"_source": {"excludes": ["anthem.vector"]}}}}
    assert discover(IndexProfiles(bundle, ClientOptions()), "shop", pruned)[0].signals == BOTH


KEEPS_NO_SOURCE = {"_source": {"enabled": False}}
UNRANKABLE = {
    "bare": ({}, "bare is not ranked: no values of this model"),
    "floats": (
        {"properties": {"anthem": {"properties": {"vector": {"type": "float"}, "model": {"type": "text"}}}}},
        "floats is not ranked: `anthem.vector` is mapped as float",
    ),
    "texts": (
        {"properties": {"anthem": {"properties": {"vector": {"type": "text"}, "trigrams": {"type": "text"}}}}},
        "texts is not ranked: `anthem.vector` is mapped as text",
    ),
    "leaf": ({"properties": {"anthem": {"type": "keyword"}}}, "leaf is not ranked: `anthem` is mapped as keyword"),
}


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("kind", UNRANKABLE)
def test_the_others_of_an_alias_are_ranked(client, encoder, index, kind, mode):
    """With an index that cannot be ranked in the same alias, the others are ranked, and the reason names it."""
    unrankable, alias = f"{index}-{kind}", f"{index}-alias"
    mappings, reason = UNRANKABLE[kind]
    title = {"title": {"type": "text"}, **mappings.get("properties", {})}
    client.indices.create(index=unrankable, body={"mappings": {"properties": title}})
    try:
        client.index(index=unrankable, id="x", body={"title": "fire tv"}, params={"refresh": "true"})
        for name in (index, unrankable):
            client.indices.put_alias(index=name, name=alias)
        response = AnthemClient(client, encoder).search(alias, match("fire tv"), mode=mode)
        assert response["anthem"]["reranked"], response["anthem"]
        assert response["anthem"]["mode"] == mode
        assert reason.replace(kind, unrankable, 1) in response["anthem"]["reason"]
        assert {hit["_index"] for hit in response["hits"]["hits"]} == {index, unrankable}
    finally:
        client.indices.delete(index=unrankable)


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_searches_without_source_do_not_fail(client, cluster, encoder, index, mode):
    """An index without `_source`, alone or in an alias, is searched plainly, and the circuit breaker stays closed."""
    name = f"{index}-sourceless"
    values = {"title": {"type": "text"}, **ModelFields().mapping(DIMENSION)["properties"]}
    client.indices.create(index=name, body={"mappings": {"properties": values, **KEEPS_NO_SOURCE}})
    try:
        client.index(index=name, id="x", body={"title": "fire tv"}, params={"refresh": "true"})
        anthem = AnthemClient(client, encoder)
        for searched in (name, f"{name},{index}"):
            response = anthem.search(searched, match("fire tv"), mode=mode)
            assert not response["anthem"]["reranked"]
            assert "keeps no _source" in response["anthem"]["reason"]
            plain = client.search(index=searched, body=match("fire tv"))
            assert response["hits"] == plain["hits"]
        assert anthem.stats()["failed"] == 0
        result = CliRunner().invoke(search, [name, "fire tv", "--rerank", mode, "--url", cluster])
        assert result.exit_code == 0, result.output
        assert "keeps no _source" in result.output
    finally:
        client.indices.delete(index=name)


def test_an_unread_mapping_has_no_misfits(bundle):
    """Without permission to read mappings every index counts as mapped correctly; that it is unknown is remembered."""
    scoring = discover(IndexProfiles(bundle, ClientOptions()), "shop", REFUSED)[0].scoring
    assert (scoring.misfits, scoring.readable_signals("shop")) == (None, BOTH)


FAILURES = [BROKEN, ABSENT, TransportError(429, "busy", {}), RerankSkipped("late"), "text", [], {"a": "text"}]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failed_discovery_costs_no_reranking(bundle, failure):
    """Whatever the request for the mapping gives, the last profile or the defaults are used; it is sent again soon."""
    now = [0.0]
    profiles = IndexProfiles(bundle, ClientOptions(), clock=lambda: now[0])
    failed, _ = discover(profiles, "shop", failure)
    assert (failed.scoring.fields, failed.text_fields, failed.signals) == (ModelFields(), ("title",), BOTH)
    assert discover(profiles, "shop")[1] == []
    now[0] += RETRY_SECONDS
    known, sent = discover(profiles, "shop", {"shop": mapping("anthem", fields=["name"])})
    assert methods(sent) == ["indices.get_mapping"]
    now[0] += PROFILE_LIFETIME_SECONDS
    assert discover(profiles, "shop", failure)[0] == known
    assert known.text_fields == ("name",)


def test_discovery_takes_a_tenth_of_the_time(bundle):
    """Discovery ends within a tenth of the time-out, so that the search keeps its time."""
    _, (step,) = discover(IndexProfiles(bundle, ClientOptions()), "shop", request_timeout=2)
    assert 0 < step.arguments["request_timeout"] <= DISCOVERY_TIME_SHARE * 2


def test_discovery_uses_the_options_of_the_search(bundle):
    """Headers and the options that resolve index names go with the discovery, from `params` too; others do not."""
    options = {"headers": {"Authorization": "x"}, "params": {"ignore_unavailable": True}, "preference": "a"}
    _, (step,) = discover(IndexProfiles(bundle, ClientOptions()), "a,b", **options)
    assert step.arguments.keys() == {"index", "filter_path", "headers", "ignore_unavailable", "request_timeout"}


def test_a_search_without_values_shortens_the_life_of_a_profile(bundle):
    """If no hit has values of the model, they may have moved: the profile is read again after half a minute."""
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
    assert discover(profiles, "shop", {"shop": mapping("anthem", fields=["name"])}) == (first, [])
    assert discover(profiles, "other")[1] != []
    now[0] = PROFILE_LIFETIME_SECONDS
    later, sent = discover(profiles, "shop", {"shop": mapping("anthem", fields=["name"])})
    assert (later.text_fields, methods(sent)) == (("name",), ["indices.get_mapping"])
    signals = ["lexical", "containment", "attention"]
    expected = {"object": "anthem", "signals": signals, "text_fields": ["name"], "faults": []}
    assert profiles.to_dict()["shop"] == expected


@pytest.mark.node
def test_stats_show_the_profiles(client, cluster, encoder, index):
    """After a search, `stats` of both clients has what was found about each index."""
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
    assert indices[index]["object"] == "anthem"


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
def test_a_plain_search_reads_no_profile(client, encoder, index, monkeypatch):
    """A search that is not reranked sends no requests except the search itself."""
    anthem, steps = AnthemClient(client, encoder), []
    execute = anthem._execute
    monkeypatch.setattr(anthem, "_execute", lambda step: (steps.append(step), execute(step))[1])
    for settings in ({"query_text": "fire tv", "mode": "none"}, {"query_text": "!?"}):
        steps.clear()
        anthem.search(index, match("fire tv"), **settings)
        assert [step.method for step in steps if isinstance(step, SendStep)] == ["search"]
    assert anthem.stats()["indices"] == {}


@pytest.mark.node
def test_attention_needs_no_field_named_title(client, cluster, encoder, index, tmp_path):
    """Where texts are read, the recorded field and a string are used; if no hit has text there, the reason says so."""
    name = f"{index}-named"
    mappings = {"properties": {"name": {"type": "text"}, "title": {"type": "text"}}}
    client.indices.create(index=name, body={"mappings": mappings})
    try:
        for number, text in enumerate(small_index.TITLES):
            client.index(index=name, id=str(number), body={"name": text}, params={"refresh": "true"})
        arguments = [name, "--field", "name", "--signals", "containment", "--url", cluster]
        arguments += ["--dead-letter", str(tmp_path / "dead")]
        assert CliRunner().invoke(ingest, arguments).exit_code == 0
        body = {"query": {"match": {"name": {"query": "fire tv"}}}}
        for text_fields, reason in (
            (None, None),
            ("name", None),
            (("name",), None),
            ("title", "no hit has text in title"),
        ):
            options = ClientOptions(text_fields=text_fields)
            report = AnthemClient(client, encoder, options).search(name, body, mode="client")["anthem"]
            assert report["reranked"]
            assert report["signals"] == ["lexical", "containment", *([] if reason else ["attention"])]
            assert reason is None or reason in report["reason"]
    finally:
        client.indices.delete(index=name)


@pytest.mark.parametrize(
    "wrong",
    [{"text_fields": 7}, {"fields": "anthem"}, {"circuit_breaker": 5}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_options_of_the_wrong_type_are_refused(wrong):
    """A number in place of fields, or a string in place of an object, is refused when the options are made."""
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
