"""Fuzz tests of search bodies on a real node: for any body, reranking changes the order of the hits or nothing."""

import itertools
import json
import uuid
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import TransportError
from small_index import model_documents

from anthem_core.opensearch.connection import connect, error_reason
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.circuit_breaker import CircuitBreaker

pytestmark = pytest.mark.node

FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 2)  # each example sends four searches or more
WORDS = ["fire", "tv", "red", "acme", "pit", "kindle"]
TITLES = [" ".join(words) for words in itertools.product(["acme", "stark"], ["red", "mini"], ["fire tv", "tv", "pit"])]
SECONDS_WITHOUT_HURRY = 600.0
RERANKED_KEYS = {"_score", "sort", "_explanation"}  # keys of a hit that reranking may change

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
fields = st.sampled_from(["title", "text", "brand", "price", "title^3", "*", "none", "anthem.vector", "anthem.model"])
leaves = st.one_of(
    st.builds(lambda text: {"match": {"title": text}}, texts),
    st.builds(lambda text: {"match": {"title": {"query": text, "operator": "and"}}}, texts),
    st.builds(
        lambda text, names: {"multi_match": {"query": text, "fields": names}}, texts, st.lists(fields, max_size=3)
    ),
    st.builds(lambda text: {"match_phrase": {"title": text}}, texts),
    st.builds(lambda text: {"query_string": {"query": text, "default_field": "title"}}, texts),
    st.builds(lambda text: {"simple_query_string": {"query": text, "fields": ["title"]}}, texts),
    st.builds(lambda brand: {"term": {"brand": brand}}, st.sampled_from(["acme", "stark", "none"])),
    st.builds(lambda minimum: {"range": {"price": {"gte": minimum}}}, st.integers(0, 12)),
    st.builds(lambda prices: {"terms": {"price": prices}}, st.lists(st.integers(0, 12), max_size=4)),
    st.builds(lambda field: {"exists": {"field": field}}, fields),
    st.just({"match_all": {}}),
)
queries = st.recursive(
    leaves,
    lambda query: st.one_of(
        st.builds(
            lambda clause, inner: {"bool": {clause: inner}},
            st.sampled_from(["must", "should", "filter", "must_not"]),
            st.lists(query, max_size=3),
        ),
        st.builds(lambda must, filters: {"bool": {"must": must, "filter": filters}}, query, query),
        st.builds(lambda inner: {"dis_max": {"queries": inner}}, st.lists(query, min_size=1, max_size=2)),
        st.builds(lambda inner: {"constant_score": {"filter": inner, "boost": 3}}, query),
        st.builds(lambda inner: {"boosting": {"positive": inner, "negative": inner, "negative_boost": 0.5}}, query),
        st.builds(lambda inner: {"function_score": {"query": inner, "weight": 0.5}}, query),
        st.builds(lambda inner: {"script_score": {"query": inner, "script": {"source": "_score + 1"}}}, query),
    ),
    max_leaves=4,
)
patterns = st.sampled_from(["title", "t*", "*", "brand", "anthem", "anthem.*", "*.vector", "anthem.model", "none", ""])
sources = st.one_of(
    st.booleans(),
    patterns,
    st.lists(patterns, max_size=3),
    st.dictionaries(st.sampled_from(["includes", "excludes", "include"]), st.lists(patterns, max_size=2), max_size=2),
)
aggregations = {"brands": {"terms": {"field": "brand"}}, "mean": {"avg": {"field": "price"}}}
rescore = {"window_size": 5, "query": {"rescore_query": {"match": {"title": "red"}}}}
KEY_STRATEGIES = {
    "query": queries,
    "from": st.integers(0, 14),
    "size": st.integers(0, 20),
    "_source": sources,
    "aggs": st.just(aggregations),
    "highlight": st.just({"fields": {"title": {}, "text": {"number_of_fragments": 0}}}),
    "post_filter": leaves,
    "min_score": st.floats(0, 3),
    "sort": st.sampled_from(["_score", ["_score"], [{"_score": "desc"}], [], "price", [{"_score": "asc"}, "price"]]),
    "track_total_hits": st.booleans() | st.integers(0, 5),
    "track_scores": st.booleans(),
    "explain": st.booleans(),
    "profile": st.booleans(),
    "version": st.booleans(),
    "seq_no_primary_term": st.booleans(),
    "terminate_after": st.integers(50, 100),
    "timeout": st.just("5s"),
    "rescore": st.just(rescore) | st.just([rescore]) | st.just([]),
    "collapse": st.just({"field": "brand"}),
    "search_after": st.just([3]),
    "stored_fields": st.sampled_from(["_none_", ["title"], "*"]),
    "docvalue_fields": st.just(["brand", "price"]),
    "fields": st.just(["title", "anthem.*"]),
    "script_fields": st.just({"one": {"script": "1"}, "price": {"script": "doc['price'].value"}}),
    "suggest": st.just({"one": {"text": "fier", "term": {"field": "title"}}}),
    "indices_boost": st.just([{"*": 2.0}]) | st.just({}),
    "search_pipeline": st.just({}) | st.just({"response_processors": []}),
    "ext": st.just({}),
    "stats": st.just(["one"]),
}
OPTIONAL_KEY_STRATEGIES = {name: strategy for name, strategy in KEY_STRATEGIES.items() if name != "query"}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | patterns,
    lambda node: st.lists(node, max_size=3) | st.dictionaries(patterns | st.sampled_from(["match", "query"]), node),
    max_leaves=6,
)
arbitrary_keys = st.dictionaries(
    st.sampled_from([*KEY_STRATEGIES, "querry", "knn", "pit", "slice"]), anything, max_size=4
)


@st.composite
def valid(draw):
    """A body with known keys, although OpenSearch does not allow every combination."""
    names = draw(st.lists(st.sampled_from(sorted(OPTIONAL_KEY_STRATEGIES)), max_size=4, unique=True))
    return {"query": draw(queries)} | {name: draw(OPTIONAL_KEY_STRATEGIES[name]) for name in names}


@st.composite
def mutated(draw):
    """A body in which some values are arbitrary JSON."""
    return draw(valid()) | draw(arbitrary_keys) if draw(st.booleans()) else draw(arbitrary_keys | anything)


@pytest.fixture(scope="module")
def client(cluster):
    """Client of the real OpenSearch whose searches meet no deadline, however slow the machine: a late one is a failure.

    What is tested here is what an answer says, not when it comes.
    """
    with connect(cluster, timeout=SECONDS_WITHOUT_HURRY) as opensearch:
        yield opensearch


@pytest.fixture(scope="module")
def index_name(client, encoder):
    """An index on one shard; one product was not ingested, one with another model."""
    name = f"test-fuzz-{uuid.uuid4().hex}"
    properties = {"title": {"type": "text"}, "text": {"type": "text"}, "brand": {"type": "keyword"}}
    properties |= {"price": {"type": "integer"}} | ModelFields().mapping(encoder.bundle.dimension)["properties"]
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(index=name, body={"settings": settings, "mappings": {"properties": properties}})
    lines = []
    for number, (title, values) in enumerate(zip(TITLES, model_documents(encoder, TITLES), strict=True)):
        product = {"title": title, "text": f"a {title}", "brand": title.split()[0], "price": number}
        values["anthem"] |= {"model": "other"} if number == 5 else {}
        product |= values if number != 3 else {}
        lines += [{"index": {"_id": str(number)}}, product]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client that never stops reranking after failures; at the end, some of its searches must have been reranked."""
    tested = AnthemClient(client, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=10**9)))
    yield tested
    assert tested.stats()["reranked"]


def outcome(search):
    """Response of a search without the keys that differ between runs, or its error, with the message of a refusal."""
    try:
        response = dict(search())
    except TransportError as error:
        # What a failure of OpenSearch itself says depends on which shard failed first.
        reason = None if error.status_code in range(500, 600) else error_reason(error)
        return type(error), error.status_code, reason
    except (TypeError, ValueError) as error:
        return (type(error),)
    return {key: value for key, value in response.items() if key not in ("took", "profile", "pit_id")}


def products(response):
    """Hits of a response, unordered, without the keys that reranking may change."""
    hits = [{key: hit[key] for key in hit.keys() - RERANKED_KEYS} for hit in response["hits"]["hits"]]
    for hit in hits:
        source = {key: value for key, value in hit.pop("_source", {}).items() if key != "anthem"}
        hit.update({"_source": source} if source else {})
    return Counter(json.dumps(hit, sort_keys=True) for hit in hits)


def without_hits(response):
    """A response without its hits and its best score."""
    others = {key: value for key, value in response.items() if key not in ("hits", "anthem")}
    return others, response["hits"].get("total")


def unchanged(response, plain):
    """Whether a response that is not reranked equals the plain one, apart from `anthem`."""
    without = {key: value for key, value in response.items() if key != "anthem"}
    return without == plain


@pytest.mark.parametrize("mode", ["cluster", "client"])
@FEWER_EXAMPLES
@given(body=valid(), query=texts, window=st.integers(1, 20))
@example({"query": {"match_all": {}}, "_source": {"includes": ["t*"], "include": []}}, "fire", 1)
def test_valid_bodies_keep_their_hits_and_totals(client, anthem, index_name, mode, body, query, window):
    """A reranked page has hits of the window and the same totals and aggregations; any other page is the plain one."""
    plain = outcome(lambda: client.search(index=index_name, body=body))
    response = outcome(lambda: anthem.search(index_name, body, query_text=query, mode=mode, window=window))
    if isinstance(plain, tuple) or not response["anthem"]["reranked"]:
        assert response == plain or unchanged(response, plain)
        return
    assert without_hits(response) == without_hits(plain)
    start, size = body.get("from", 0), body.get("size", 10)
    window_response = client.search(index=index_name, body=body | {"from": 0, "size": max(window, start + size)})
    page, candidates = products(response), products(window_response)
    assert page.total() == len(plain["hits"]["hits"])
    assert page <= candidates
    if start == 0 and size >= min(window, candidates.total()):
        assert page == products(plain)


@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve"])
@FEWER_EXAMPLES
@given(body=mutated(), query=st.none() | texts | st.text(), operators=st.booleans())
def test_any_body_is_answered_or_fails_as_the_plain_search(client, anthem, index_name, mode, body, query, operators):
    """Any body fails as the plain search does, or is answered; if it is not reranked, with the plain response.

    If `cluster` or `client` mode reranks it, the number of hits and the totals are those of the plain search.
    """
    plain = outcome(lambda: client.search(index=index_name, body=body))
    arguments = {"query_text": query, "mode": mode, "window": 10, "operators": operators}
    response = outcome(lambda: anthem.search(index_name, body, **arguments))
    if isinstance(plain, tuple) or not response["anthem"]["reranked"]:
        assert response == plain or unchanged(response, plain)
    elif mode in ("cluster", "client"):
        assert without_hits(response) == without_hits(plain)
        assert len(response["hits"]["hits"]) == len(plain["hits"]["hits"])


# Values of the keys that a rewrite replaces or extends; OpenSearch refuses most of them.
REPLACED_VALUES = {
    "from": [False, True, -1, "-1", None, "x", "1_0", " 1", [3], {}, 1.5, "2", 2.0, 10**20, "٣"],
    "size": [False, True, -1, "-1", None, "x", "1_0", "3.0", [3], {}, 2.7, "3", 0, -0.5, 10**20, 20_000],
    "_source": [None, 5, [5], [None], [["title"]], {"includes": None}, {"include": 5}, {"includes": [None]},
                {"fields": ["title"]}, {"includes": ["title"], "other": []}, {}, [], "", {"excludes": "title"}],
    "docvalue_fields": [None, "price", 5, {"field": "price"}, [5], [None], [["price"]], [{}], []],
    "fields": [None, "title", 5, {"field": "title"}, [5], [None], [{}], []],
    "rescore": [None, {}, [], [None], [{}], 5],
    "sort": [None, {}, [], 5, [None], {"_score": None}, "_score:asc"],
    "collapse": [None, {}, 5, {"field": None}, {"field": "title"}],
    "query": [None, {}, [], 5, {"match": None}, {"match": {}}, {"match": {"title": None}}, {"match": {"title": []}},
              {"match": {"title": "tv"}, "term": {"brand": "acme"}}, [{"match": {"title": "tv"}}]],
}  # fmt: skip


@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve", "none"])
@pytest.mark.parametrize("key", REPLACED_VALUES)
def test_an_invalid_request_stays_invalid_in_every_mode(client, anthem, index_name, mode, key):
    """Where OpenSearch refuses a value, every mode fails with its status and its message; where it does not, none.

    None of it counts as a failure of reranking.
    """
    failed_before = anthem.stats()["failed"]
    for value in REPLACED_VALUES[key]:
        body = {"query": {"match": {"title": "fire tv"}}} | {key: value}
        plain = outcome(lambda sent=body: client.search(index=index_name, body=sent))
        response = outcome(lambda sent=body: anthem.search(index_name, sent, query_text="fire tv", mode=mode))
        assert isinstance(response, tuple) == isinstance(plain, tuple), (value, plain, response)
        if isinstance(plain, tuple):
            assert response == plain, value
        elif not response["anthem"]["reranked"]:
            assert unchanged(response, plain), value
    assert anthem.stats()["failed"] == failed_before


@pytest.mark.parametrize("mode", ["cluster", "client"])
@FEWER_EXAMPLES
@given(key=st.sampled_from(sorted(REPLACED_VALUES)), value=anything)
def test_any_value_of_a_replaced_key_is_judged_by_opensearch(client, anthem, index_name, mode, key, value):
    """Whatever a key that a rewrite replaces has for a value, a search is refused exactly if the plain one is."""
    body = {"query": {"match": {"title": "fire tv"}}} | {key: value}
    plain = outcome(lambda: client.search(index=index_name, body=body))
    response = outcome(lambda: anthem.search(index_name, body, query_text="fire tv", mode=mode))
    assert response == plain if isinstance(plain, tuple) else not isinstance(response, tuple)
