"""Lasting refusals of a cluster and mistakes of a caller: neither stops the reranking of other searches."""

import asyncio
import contextlib
import logging
import uuid
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import small_index
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import OpenSearchException, RequestError, TransportError
from small_index import index_setting, large_index, match, model_documents

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.painless import build_put_script_body, script_id
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.refusals import (
    MAX_REFUSING_INDICES,
    REFUSAL_RETRY_SECONDS,
    RefusalMemory,
    Refusals,
    ScriptForbiddenError,
    find_refusals,
    is_callers_error,
    is_failure,
)
from anthem_sandbox.node.cluster_choice import find_test_release
from anthem_sandbox.node.lifecycle import temporary_node

index = small_index.index
NODE = pytest.mark.node
SEARCH = "anthem_plugin.search"


@pytest.fixture
def anthem(client, encoder):
    """A client whose circuit breaker opens at the first failure."""
    return AnthemClient(client, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=1)))


@contextmanager
def cluster_setting(client, name, value):
    """The cluster with a setting, which is reset afterwards."""
    client.cluster.put_settings(body={"transient": {name: value}})
    try:
        yield
    finally:
        client.cluster.put_settings(body={"transient": {name: None}})


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def own_messages(caplog):
    """What the client logged, without the log of opensearch-py."""
    return [record.getMessage() for record in caplog.records if record.name.startswith(SEARCH)]


def pass_time(anthem, seconds):
    """Let time pass for what the client remembers of refusals."""
    clock = anthem._flow.refusals._clock
    anthem._flow.refusals._clock = lambda: clock() + seconds


# What a caller may pass by mistake: the arguments of a search, and whether the plain search answers them.
MISTAKES = {
    "text is a number": ({"query_text": 12345}, True),
    "text is bytes": ({"query_text": b"fire tv"}, True),
    "text is a list": ({"query_text": ["fire", "tv"]}, True),
    "no body": ({"body": None}, True),
    "body is JSON": ({"body": '{"query": {"match": {"title": "fire tv"}}}'}, True),
    "body is a list": ({"body": [{"query": {}}]}, False),
    "body cannot be sent": ({"body": match("fire tv") | {"ext": {1, 2}}}, False),
    "size is a text": ({"body": match("fire tv") | {"size": "many"}}, False),
    "unknown key": ({"body": match("fire tv") | {"sizes": 5}}, False),
    "unknown query": ({"body": {"query": {"matsch": {"title": "fire tv"}}}, "query_text": "fire tv"}, False),
    "unknown field to sort by": ({"body": match("fire tv") | {"sort": "none"}, "mode": "filter"}, False),
    "unknown clause to retrieve by": ({"mode": Retrieve(filter={"matsch": {"title": "tv"}})}, True),
    "incomplete clause to retrieve by": ({"mode": Retrieve(filter={"range": {"price": {"above": 5}}})}, True),
    "time-out is a text": ({"request_timeout": "soon"}, False),
    "params is a number": ({"params": 5}, False),
    "a large window": ({"window": 20_000}, True),
    "a large window in the client": ({"window": 20_000, "mode": "client"}, True),
}


@NODE
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_callers_mistake_never_opens_the_breaker(client, anthem, index, mistake):
    """The search is answered as the plain one is, nothing is counted as a failure, and the next one is reranked."""
    arguments, answered = MISTAKES[mistake]
    arguments = {"index": index, "body": match("fire tv")} | arguments
    if answered:
        response = anthem.search(**arguments)
        plain = client.search(index=index, body=arguments["body"])
        assert response["anthem"]["reranked"] or response["hits"] == plain["hits"]
        assert response["anthem"]["reason"]
    else:
        with pytest.raises((OpenSearchException, TypeError, ValueError, AttributeError)):
            anthem.search(**arguments)
    assert (anthem.stats()["failed"], anthem.stats()["breaker"]) == (0, "closed")
    assert anthem.search(index, match("fire tv"))["anthem"]["reranked"]


# Aggregations beyond `search.max_buckets`, found while a shard counts, or when the coordinating node fills the gaps.
TOO_MANY_BUCKETS = {
    "composite": {"size": 1_000_000, "sources": [{"brand": {"terms": {"field": "brand"}}}]},
    "histogram": {"field": "price", "interval": 0.001, "min_doc_count": 0},
}
ROUTES = ["cluster", "client", "filter", "retrieve", "msearch", "template"]


def search_by(anthem, route, index, body, **options):
    """The error of a search in a mode, in a multi-search or by a template."""
    if route == "msearch":
        return anthem.msearch([{"index": index, **options}, body])["responses"][0]["error"]
    is_template = route == "template"
    send = (
        partial(anthem.search_template, {"source": body}, index) if is_template else partial(anthem.search, index, body)
    )
    with pytest.raises(TransportError) as failed:
        send(**options, **({} if is_template else {"mode": route}))
    return failed.value.info["error"]


@pytest.fixture(scope="module")
def shop(client, encoder):
    """A large index with an HNSW graph."""
    with large_index(client, encoder) as name:
        yield name


@NODE
@pytest.mark.parametrize("kind", TOO_MANY_BUCKETS)
@pytest.mark.parametrize("route", ROUTES)
def test_too_many_buckets_never_open_the_breaker(anthem, shop, kind, route):
    """A body to which OpenSearch answers 503 because of its own buckets counts as no failure."""
    body = match("fire tv") | {"aggs": {"buckets": {kind: TOO_MANY_BUCKETS[kind]}}}
    error = search_by(anthem, route, shop, body)
    assert "too_many_buckets_exception" in str(error)
    assert (anthem.stats()["failed"], anthem.stats()["breaker"]) == (0, "closed")
    assert anthem.search(shop, match("fire tv"))["anthem"]["reranked"]


@NODE
@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_needs_too_much_memory_never_opens_the_breaker(client, anthem, shop, route):
    """A body whose aggregations exceed the memory of a request, for which OpenSearch answers 429, is no failure."""
    body = match("fire tv") | {"aggs": {"brands": {"terms": {"field": "brand"}}}}
    with cluster_setting(client, "indices.breaker.request.limit", "10b"):
        assert "[request] Data too large" in str(search_by(anthem, route, shop, body))
    assert (anthem.stats()["failed"], anthem.stats()["breaker"]) == (0, "closed")


@NODE
@pytest.mark.parametrize("route", ROUTES)
def test_an_index_without_shards_never_opens_the_breaker(client, anthem, shop, route):
    """A search of an index with no shard, or too few for its options, does not stop the reranking of other searches."""
    red = f"{shop}-red"
    settings = {"number_of_shards": 1, "index.routing.allocation.require.place": "nowhere"}
    client.indices.create(index=red, body={"settings": settings}, params={"wait_for_active_shards": "0"})
    try:
        assert search_by(anthem, route, red, match("fire tv"))["failed_shards"] == []
        error = search_by(anthem, route, f"{red},{shop}", match("fire tv"), allow_partial_search_results=False)
        assert "missing shards" in str(error)
    finally:
        client.indices.delete(index=red)
    assert (anthem.stats()["failed"], anthem.stats()["breaker"]) == (0, "closed")
    assert anthem.search(shop, match("fire tv"))["anthem"]["reranked"]


@NODE
@pytest.mark.parametrize(
    "wrong",
    [{"window": 2.5}, {"window": "5"}, {"window": True}, {"region": "fire"}, {"region": 5},
     {"operators": "or"}, {"operators": None}, {"query_path": 5}, {"request_timeout": "soon"}],
    ids=str,
)  # fmt: skip
def test_arguments_of_another_type_are_refused(anthem, index, wrong):
    """A window, a region or an operator switch of another type raises a TypeError that names it; nothing is sent."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        anthem.search(index, match("fire tv"), **wrong)
    assert anthem.stats()["skipped"] == 0


@pytest.mark.parametrize(
    ("mode", "wrong"),
    [(Filter, {"slack": "0.1"}), (Filter, {"slack": True}), (Filter, {"unknown": "no"}), (Filter, {"limit": 2.5}),
     (Filter, {"limit": "5"}), (Retrieve, {"k": 2.5}), (Retrieve, {"k": "7"}), (Retrieve, {"k": True}),
     (Retrieve, {"filter": 5}), (Retrieve, {"filter": [{"term": {"brand": "acme"}}]})],
    ids=str,
)  # fmt: skip
def test_options_of_a_mode_of_another_type_are_refused(mode, wrong):
    """An option of `Filter` or `Retrieve` of another type raises a TypeError that names it."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        mode(**wrong)


@NODE
@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_region_of_another_bundle_is_left_alone(anthem, encoder, index, mode):
    """A region of another dimension, without hyperboloids or not finite gives the plain search, and is no failure."""
    query = encoder.encode_query("fire tv")
    for other in (
        replace(query, centres=query.centres[:, :-1], limits=query.limits[:, :-1]),
        replace(query, weights=0 * query.weights),
        replace(query, centres=query.centres[:0], limits=query.limits[:0], weights=query.weights[:0]),
        replace(query, centres=query.centres * float("nan")),
        replace(query, limits=query.limits[:0]),
    ):
        response = anthem.search(index, match("fire tv"), region=other | query, mode=mode)
        assert "the encoder of this client's bundle" in response["anthem"]["reason"]
    assert anthem.search(index, match("fire tv"), region=query, mode=mode)["anthem"]["reranked"]
    assert anthem.stats()["failed"] == 0


@NODE
def test_searches_that_are_cancelled_do_not_open_the_breaker(cluster, encoder, index):
    """A coroutine that is cancelled while it reranks is no failure of reranking."""

    async def cancel_searches():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            breaker = CircuitBreaker(failures=1)
            anthem = AsyncAnthemClient(opensearch, encoder, ClientOptions(circuit_breaker=breaker))
            for step in range(5):
                task = asyncio.create_task(anthem.search(index, match("fire tv")))
                await asyncio.sleep(0.002 * step)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return anthem.stats()["breaker"], await anthem.search(index, match("fire tv"))

    state, response = asyncio.run(cancel_searches())
    assert (state, response["anthem"]["reranked"]) == ("closed", True)


# By setting of an index: its value, the modes that it concerns, and the window that is left.
WINDOW_LIMITS = [
    ("index.max_result_window", 7, "client"),
    ("index.max_result_window", 7, "cluster"),
    ("index.max_rescore_window", 7, "cluster"),
    ("index.max_rescore_window", 2, "cluster"),
    ("index.max_result_window", 2, "client"),
]


@NODE
@pytest.mark.parametrize(("name", "limit", "mode"), WINDOW_LIMITS)
def test_a_window_is_cut_to_what_the_index_accepts(client, encoder, anthem, caplog, name, limit, mode):
    """The first search already ranks as one with that window, and says so; the limit is logged once."""
    with large_index(client, encoder, graph=False) as shop, index_setting(client, shop, name, limit):
        body = match("kindle") | {"size": 2}
        expected = anthem.search(shop, body, mode=mode, window=limit)
        with caplog.at_level(logging.WARNING, SEARCH):
            first, second = (anthem.search(shop, body, mode=mode) for _ in range(2))
        assert ids(first) == ids(second) == ids(expected)
        assert first["anthem"]["mode"] == second["anthem"]["mode"] == mode
        note = f"the window is {limit} instead of 100, because {shop} accepts no more"
        assert first["anthem"]["reason"] == second["anthem"]["reason"] == note
        assert sum(shop in message for message in own_messages(caplog)) == 1
        assert anthem.stats()["failed"] == 0
        assert [shop in sentence and f" {limit} hits" in sentence for sentence in anthem.stats()["refusals"]] == [True]


@NODE
def test_a_limit_is_forgotten_after_a_while(client, encoder, anthem, caplog):
    """When the setting was reset, searches use the whole window again; a limit that still holds is not logged again."""
    with large_index(client, encoder, graph=False) as shop:
        with index_setting(client, shop, "index.max_rescore_window", 7), caplog.at_level(logging.WARNING, SEARCH):
            anthem.search(shop, match("kindle"))
            pass_time(anthem, REFUSAL_RETRY_SECONDS)
            assert anthem.stats()["refusals"] == []
            assert "7 instead" in anthem.search(shop, match("kindle"))["anthem"]["reason"]
            assert len(own_messages(caplog)) == 1
        pass_time(anthem, REFUSAL_RETRY_SECONDS)
        assert anthem.search(shop, match("kindle"))["anthem"]["reason"] is None


@NODE
@pytest.mark.parametrize("mode", ["cluster", "client", Retrieve(k=3)], ids=str)
def test_one_index_of_several_may_accept_less(client, encoder, anthem, index, mode):
    """In a search of two indices the smaller limit counts, and all products are found."""
    with large_index(client, encoder) as shop, index_setting(client, shop, "index.max_result_window", 20):
        body = match("fire tv") | {"size": 15}
        response = anthem.search([shop, index] if mode != Retrieve(k=3) else shop, body, mode=mode)
        assert response["anthem"]["reranked"]
        assert response["_shards"]["failed"] == 0
        assert "the window is 20 instead of 100" in response["anthem"]["reason"]
        assert anthem.stats()["failed"] == 0


@NODE
def test_a_page_beyond_the_limit_stays_refused(client, anthem, index):
    """A page that itself exceeds the limit is refused as the plain search is, and teaches the client nothing."""
    with index_setting(client, index, "index.max_result_window", 5), pytest.raises(RequestError, match="too large"):
        anthem.search(index, match("fire tv") | {"size": 50}, mode="client", window=5)
    assert (anthem.stats()["failed"], anthem.stats()["refusals"]) == (0, [])


@NODE
@pytest.mark.parametrize("limit", [0, 2])
def test_an_index_without_doc_values_is_ranked_alike(client, encoder, anthem, index, limit):
    """If an index gives out no doc values, what tells hits apart is read from `_source`; the ranking is the same."""
    expected = anthem.search(index, match("fire tv"))
    with index_setting(client, index, "index.max_docvalue_fields_search", limit):
        limited = AnthemClient(client, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=1)))
        for _ in range(2):
            response = limited.search(index, match("fire tv"))
            assert response["hits"] == expected["hits"]
            assert {**response["anthem"], "took_ms": 0} == {**expected["anthem"], "took_ms": 0}
        filtered = limited.search(index, match("fire tv"), filter_path="hits.hits._id,_shards")
        assert filtered["anthem"]["signals"] == expected["anthem"]["signals"]
        assert limited.stats()["failed"] == 0
        assert any("doc values" in sentence for sentence in limited.stats()["refusals"])


@pytest.fixture(scope="module", params=[False, True], ids=["in _source", "outside _source"])
def doc_values_index(request, client, encoder):
    """An index whose values are in `_source`, or in doc values alone."""
    name = f"test-doc-values-{uuid.uuid4().hex}"
    mappings = ModelFields().mapping(encoder.bundle.dimension)
    mappings["properties"] |= {"title": {"type": "text"}}
    client.indices.create(
        index=name, body={"mappings": mappings | {"_source": {"excludes": ["anthem"][: request.param]}}}
    )
    for values, title in zip(model_documents(encoder, small_index.TITLES), small_index.TITLES, strict=True):
        client.index(index=name, body={"title": title, **values})
    client.indices.refresh(index=name)
    yield name
    client.indices.delete(index=name)


@NODE
@pytest.mark.parametrize("count", [97, 98, 99, 100, ["anthem.model"]], ids=str)
def test_a_body_whose_own_doc_values_leave_no_room_is_ranked_alike(anthem, doc_values_index, count):
    """A body may use all 100 doc values itself: its ranking is the same, and so are those of later searches."""
    own = [f"field{number}" for number in range(count if isinstance(count, int) else 98)]
    own += [] if isinstance(count, int) else count
    expected = anthem.search(doc_values_index, match("fire tv"))
    response = anthem.search(doc_values_index, match("fire tv") | {"docvalue_fields": own})
    assert response["anthem"]["signals"] == expected["anthem"]["signals"]
    assert (response["anthem"]["reranked"], ids(response)) == (True, ids(expected))
    assert {name for hit in response["hits"]["hits"] for name in hit.get("fields", {})} == set(own) & {"anthem.model"}
    assert (anthem.stats()["failed"], anthem.stats()["refusals"]) == (0, [])
    assert anthem.search(doc_values_index, match("fire tv"))["hits"] == expected["hits"]


@NODE
@pytest.mark.parametrize("mode", ["cluster", "client", "filter"])
@pytest.mark.parametrize("count", [101, 104])
def test_a_body_with_too_many_doc_values_teaches_the_client_nothing(anthem, doc_values_index, caplog, mode, count):
    """It is refused like the plain search; other searches are still reranked, and no refusal is recorded or logged."""
    expected = anthem.search(doc_values_index, match("fire tv"))
    own = [f"field{number}" for number in range(count)]
    for body in (
        match("fire tv") | {"docvalue_fields": own},
        match("fire tv") | {"aggs": {"top": {"top_hits": {"docvalue_fields": own}}}},
    ):
        with caplog.at_level(logging.WARNING, SEARCH), pytest.raises(RequestError, match=rf"but was \[{count}\]"):
            anthem.search(doc_values_index, body, mode=mode)
    assert (anthem.stats()["failed"], anthem.stats()["refusals"], own_messages(caplog)) == (0, [], [])
    assert anthem.search(doc_values_index, match("fire tv"))["hits"] == expected["hits"]


@NODE
def test_values_that_cannot_be_read_at_all_are_not_called_missing(client, anthem, doc_values_index):
    """If an index gives out no doc values, and `_source` lacks them, the reason says so and advises no ingest."""
    source = client.indices.get_mapping(index=doc_values_index)[doc_values_index]["mappings"].get("_source", {})
    with index_setting(client, doc_values_index, "index.max_docvalue_fields_search", 0):
        report = anthem.search(doc_values_index, match("fire tv"))["anthem"]
    assert report["reranked"] == ("excludes" not in source)
    reason = f"{doc_values_index} refuses to return doc values (index.max_docvalue_fields_search), and its _source"
    assert report["reranked"] or report["reason"].startswith(reason)
    assert "anthem ingest" not in str(report["reason"])


TITLE = {"title": {"type": "text"}}
# By kind of an index that cannot be ranked: its properties, and what every product has for values.
UNRANKED = {
    "never ingested": (TITLE, {}),
    "vector as float": (TITLE | {"anthem": {"properties": {"vector": {"type": "float"}}}}, {"vector": [1, 2]}),
    "vector as text": (TITLE | {"anthem": {"properties": {"vector": {"type": "text"}}}}, {"vector": "1 2"}),
    "vector as number": (TITLE, {"vector": [1, 2], "model": "other", "text_hash": "x"}),
    "another dimension": (TITLE | ModelFields().mapping(5, ["containment"])["properties"], {"vector": [1, 2, 3, 4, 5]}),
    "not indexed": (TITLE | {"anthem": {"type": "object", "enabled": False}}, {"vector": [1, 2], "model": 5}),
}


@NODE
@pytest.mark.parametrize("kind", UNRANKED)
def test_an_index_of_an_alias_that_cannot_be_ranked(client, anthem, index, kind):
    """The products of the other indices are ranked as alone, none is lost, and the reason names the index."""
    properties, values = UNRANKED[kind]
    name = f"{index}-unranked"
    client.indices.create(index=name, body={"mappings": {"properties": properties}})
    try:
        for number in range(3):
            document = {"title": "fire tv"} | ({"anthem": values} if values else {})
            client.index(index=name, id=str(number), body=document, refresh=True)
        client.indices.put_alias(index=[index, name], name=f"{index}-alias")
        body = match("tv") | {"size": 20}
        for mode in ("cluster", "client", Filter(slack=99)):
            alone = anthem.search(index, body, mode=mode)
            response = anthem.search(f"{index}-alias", body, mode=mode)
            ranked = [hit["_id"] for hit in response["hits"]["hits"] if hit["_index"] == index]
            assert response["anthem"]["reranked"]
            assert sorted(ranked) == sorted(ids(alone))
            assert mode == Filter(slack=99) or ranked == ids(alone)
            assert len(response["hits"]["hits"]) == len(ranked) + 3
            assert name in response["anthem"]["reason"]
    finally:
        client.indices.delete(index=name)
    assert anthem.stats()["failed"] == 0


SCRIPT_SETTINGS = [
    ("search.allow_expensive_queries", False, True),
    ("script.context.score.max_compilations_rate", "0/1m", False),
    ("script.max_compilations_rate", "0/1m", False),
]


@NODE
@pytest.mark.parametrize(("name", "value", "stored"), SCRIPT_SETTINGS)
def test_a_cluster_that_refuses_the_script_is_ranked_in_the_client(client, anthem, index, caplog, name, value, stored):
    """From the first search on the client ranks, with a note and one log line; later the script is tried again."""
    expected = anthem.search(index, match("fire tv"), mode="client")
    if not stored:
        client.delete_script(id=script_id(), ignore=[404])
    with cluster_setting(client, name, value), caplog.at_level(logging.WARNING, SEARCH):
        responses = [anthem.search(index, match("fire tv")) for _ in range(3)]
        left_alone = [anthem.search(index, match("fire tv"), mode=mode)["anthem"] for mode in ("filter", "retrieve")]
    for response in responses:
        assert (response["anthem"]["mode"], response["hits"]) == ("client", expected["hits"])
        assert "the cluster does not accept the script (" in response["anthem"]["reason"]
        assert name in response["anthem"]["reason"]
    assert len(own_messages(caplog)) == 1
    assert all("does not accept the script that" in report["reason"] for report in left_alone)
    assert (anthem.stats()["failed"], anthem.stats()["scripts"]) == (0, "forbidden")
    assert name in anthem.stats()["refusals"][0]
    pass_time(anthem, REFUSAL_RETRY_SECONDS)
    assert anthem.search(index, match("fire tv"))["anthem"]["mode"] == "cluster"
    assert (anthem.stats()["scripts"], anthem.stats()["refusals"]) == ("allowed", [])


@NODE
def test_scripts_of_a_caller_that_exceed_the_limit_concern_only_that_search(client, anthem, index):
    """If a body's own new script may not be compiled, its search fails as without ANTHEM; others use the script on."""
    assert anthem.search(index, match("fire tv"))["anthem"]["mode"] == "cluster"
    with cluster_setting(client, "script.context.score.max_compilations_rate", "1/5h"):
        for number in range(3):
            clause = {"query": match("fire tv")["query"], "script": {"source": f"_score + {number}.5"}}
            with contextlib.suppress(TransportError):
                anthem.search(index, {"query": {"script_score": clause}}, query_text="fire tv")
        assert anthem.stats()["scripts"] == "allowed"
        assert anthem.stats()["failed"] == 0


@NODE
def test_a_node_that_forbids_scripts_is_ranked_in_the_client(encoder):
    """On a node that lets no script score, the client ranks, whether or not the script is stored."""
    with (
        temporary_node(settings={"script.allowed_contexts": "update"}, release=find_test_release()) as url,
        connect(url) as client,
        small_index.small_index(client, encoder) as shop,
    ):
        for _ in range(2):
            anthem = AnthemClient(client, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=1)))
            for _ in range(2):
                assert anthem.search(shop, match("fire tv"))["anthem"]["mode"] == "client"
            assert (anthem.stats()["failed"], anthem.stats()["scripts"]) == (0, "forbidden")
            # Without the context, which the node refuses, it stores the script nevertheless.
            client.put_script(id=script_id(), body=build_put_script_body(), ignore=[400])


def test_what_a_refusal_is():
    """Refusals are read from every shard's reason, the smallest limit counts; other errors refuse nothing for good."""
    reasons = [
        "Rescore window [100] is too large. It must be less than [30]. This prevents",
        "Rescore window [100] is too large. It must be less than [20]. This prevents",
        "Result window is too large, from + size must be less than or equal to: [50] but was [100]. See the scroll",
    ]
    shards = [{"shard": 0, "reason": {"type": "x", "reason": "no", "caused_by": {"reason": text}}} for text in reasons]
    info = {"error": {"reason": "all shards failed", "failed_shards": shards}}
    assert find_refusals(TransportError(400, "x", info)) == Refusals(result_window=50, rescore_window=20)
    assert find_refusals(ScriptForbiddenError("why")) == Refusals(script="why")
    for other in (TransportError(400, "x", {"error": {"reason": "Unknown key"}}), TransportError(503, "x", "y"),
                  ValueError("Rescore window"), TransportError("N/A", "timed out", OSError())):  # fmt: skip
        assert find_refusals(other) == Refusals()


@pytest.mark.parametrize(
    ("status", "info", "expected"),
    [(400, {"error": {"type": "parsing_exception"}}, False), (403, {}, False), (404, {}, False), (429, {}, True),
     (408, {}, True), (503, {}, True), (500, {}, True), (500, {"error": {"reason": "maxClauseCount is 2"}}, False),
     (503, {"error": {"caused_by": {"type": "too_many_buckets_exception"}}}, False),
     ("N/A", "refused", True), (400, {"error": {"type": "script_exception"}}, True),
     (429, {"error": {"reason": "[script] Too many dynamic script compilations within, max: [1/5h]"}}, False)],
)  # fmt: skip
def test_what_counts_as_a_failure(status, info, expected):
    """A refusal of one body does not count; a busy cluster, one without an answer, and a script that fails do."""
    assert is_failure(TransportError(status, "x", info)) == expected
    assert is_failure(ZeroDivisionError())


NO_SHARDS = {"type": "search_phase_execution_exception", "failed_shards": []}
LOST_SHARD = {"shard": 0, "reason": {"type": "node_disconnected_exception"}}


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [(503, NO_SHARDS, True), (503, NO_SHARDS | {"caused_by": NO_SHARDS}, True),
     (503, NO_SHARDS | {"failed_shards": [LOST_SHARD]}, False),
     (503, NO_SHARDS | {"caused_by": {"type": "node_disconnected_exception"}}, False),
     (503, {"type": "cluster_block_exception"}, False), (503, "no JSON", False), (500, {}, True), (404, {}, True),
     (429, {"type": "circuit_breaking_exception", "reason": "[parent] Data too large, data for [x]"}, False),
     (429, {"type": "circuit_breaking_exception", "reason": "[fielddata] Data too large, data for [title]"}, True)],
)  # fmt: skip
def test_what_is_an_error_of_the_caller(status, error, expected):
    """Exceeded limits of a body and indices without shards are errors of the caller; lost nodes and load are not."""
    assert is_callers_error(TransportError(status, "x", {"error": error})) == expected


def test_the_memory_of_refusals():
    """Limits are kept per index and expire, the smallest one counts, and the number of indices is bounded."""
    now = [0.0]
    memory = RefusalMemory(clock=lambda: now[0])
    memory.learn("shop", Refusals(rescore_window=30))
    memory.learn("shop", Refusals(rescore_window=20, result_window=50))
    memory.learn("shop", Refusals(rescore_window=40))
    assert memory.known("shop") == Refusals(rescore_window=20, result_window=50)
    assert memory.known("other") == Refusals()
    memory.learn("other", Refusals(script="why"))
    assert memory.known("shop").script == memory.script == "why"
    now[0] = REFUSAL_RETRY_SECONDS
    assert memory.known("shop") == Refusals()
    assert memory.to_list() == []
    for number in range(MAX_REFUSING_INDICES + 10):
        memory.learn(f"shop-{number}", Refusals(rescore_window=20))
    assert len(memory.to_list()) == MAX_REFUSING_INDICES
