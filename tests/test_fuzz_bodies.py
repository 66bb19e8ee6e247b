"""Searches under a fuzz of bodies, on a real node: whatever a caller sends, reranking changes the order or nothing."""

import itertools
import json
import uuid
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import TransportError

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.search.circuit_breaker import CircuitBreaker

pytestmark = pytest.mark.node

HALF = settings(max_examples=settings().max_examples // 2)  # each example sends four searches and more
WORDS = ["fire", "tv", "red", "acme", "pit", "kindle"]
TITLES = [" ".join(words) for words in itertools.product(["acme", "stark"], ["red", "mini"], ["fire tv", "tv", "pit"])]
ASIDE = {"_score", "sort", "_explanation"}  # of a hit, what reranking is there to change

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
fields = st.sampled_from(["title", "text", "brand", "price", "title^3", "*", "none", "anthem.vector", "anthem.model"])
leaves = st.one_of(
    st.builds(lambda text: {"match": {"title": text}}, texts),
    st.builds(lambda text: {"match": {"title": {"query": text, "operator": "and"}}}, texts),
    st.builds(lambda text, some: {"multi_match": {"query": text, "fields": some}}, texts, st.lists(fields, max_size=3)),
    st.builds(lambda text: {"match_phrase": {"title": text}}, texts),
    st.builds(lambda text: {"query_string": {"query": text, "default_field": "title"}}, texts),
    st.builds(lambda text: {"simple_query_string": {"query": text, "fields": ["title"]}}, texts),
    st.builds(lambda brand: {"term": {"brand": brand}}, st.sampled_from(["acme", "stark", "none"])),
    st.builds(lambda least: {"range": {"price": {"gte": least}}}, st.integers(0, 12)),
    st.builds(lambda some: {"terms": {"price": some}}, st.lists(st.integers(0, 12), max_size=4)),
    st.builds(lambda field: {"exists": {"field": field}}, fields),
    st.just({"match_all": {}}),
)
queries = st.recursive(
    leaves,
    lambda query: st.one_of(
        st.builds(
            lambda clause, some: {"bool": {clause: some}},
            st.sampled_from(["must", "should", "filter", "must_not"]),
            st.lists(query, max_size=3),
        ),
        st.builds(lambda one, other: {"bool": {"must": one, "filter": other}}, query, query),
        st.builds(lambda some: {"dis_max": {"queries": some}}, st.lists(query, min_size=1, max_size=2)),
        st.builds(lambda one: {"constant_score": {"filter": one, "boost": 3}}, query),
        st.builds(lambda one: {"boosting": {"positive": one, "negative": one, "negative_boost": 0.5}}, query),
        st.builds(lambda one: {"function_score": {"query": one, "weight": 0.5}}, query),
        st.builds(lambda one: {"script_score": {"query": one, "script": {"source": "_score + 1"}}}, query),
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
sums = {"brands": {"terms": {"field": "brand"}}, "mean": {"avg": {"field": "price"}}}
rescore = {"window_size": 5, "query": {"rescore_query": {"match": {"title": "red"}}}}
VALID = {
    "query": queries,
    "from": st.integers(0, 14),
    "size": st.integers(0, 20),
    "_source": sources,
    "aggs": st.just(sums),
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
    "rescore": st.just(rescore) | st.just([rescore]),
    "collapse": st.just({"field": "brand"}),
    "search_after": st.just([3]),
    "stored_fields": st.sampled_from(["_none_", ["title"], "*"]),
    "docvalue_fields": st.just(["brand", "price"]),
    "fields": st.just(["title", "anthem.*"]),
    "script_fields": st.just({"one": {"script": "1"}, "price": {"script": "doc['price'].value"}}),
    "suggest": st.just({"one": {"text": "fier", "term": {"field": "title"}}}),
    "indices_boost": st.just([{"*": 2.0}]),
    "ext": st.just({}),
    "stats": st.just(["one"]),
}
REST = {name: strategy for name, strategy in VALID.items() if name != "query"}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | patterns,
    lambda node: st.lists(node, max_size=3) | st.dictionaries(patterns | st.sampled_from(["match", "query"]), node),
    max_leaves=6,
)
broken = st.dictionaries(st.sampled_from([*VALID, "querry", "knn", "pit", "slice"]), anything, max_size=4)


@st.composite
def valid(draw):
    """A body of parts that OpenSearch knows, though not all of them go together."""
    names = draw(st.lists(st.sampled_from(sorted(REST)), max_size=4, unique=True))
    return {"query": draw(queries)} | {name: draw(REST[name]) for name in names}


@st.composite
def odd(draw):
    """A body of which one part is anything at all."""
    return draw(valid()) | draw(broken) if draw(st.booleans()) else draw(broken | anything)


@pytest.fixture(scope="module")
def shop(client, encoder):
    """A shop on one shard; one product has no vector, one the vector of another model."""
    name = f"test-fuzz-{uuid.uuid4().hex}"
    properties = {"title": {"type": "text"}, "text": {"type": "text"}, "brand": {"type": "keyword"}}
    properties |= {"price": {"type": "integer"}} | VectorFields().mapping(encoder.bundle.dimension)["properties"]
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(index=name, body={"settings": settings, "mappings": {"properties": properties}})
    lines = []
    for number, (title, point) in enumerate(zip(TITLES, encoder.products(TITLES), strict=True)):
        product = {"title": title, "text": f"a {title}", "brand": title.split()[0], "price": number}
        model = "other" if number == 5 else encoder.bundle.model
        product |= VectorFields().document(point, model, title) if number != 3 else {}
        lines += [{"index": {"_id": str(number)}}, product]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client that nothing keeps from trying; some of its searches were reranked in the end."""
    tried = AnthemClient(client, encoder, breaker=CircuitBreaker(failures=10**9))
    yield tried
    assert tried.stats()["reranked"]


def outcome(search):
    """What a search answers, without what differs from one time to the next; or its failure."""
    try:
        response = dict(search())
    except (TransportError, TypeError, ValueError) as error:
        return type(error), getattr(error, "status_code", None)
    return {key: value for key, value in response.items() if key not in ("took", "profile", "pit_id")}


def products(response):
    """Products of a response with all they bring, in no order, without what reranking changes."""
    kept = [{key: hit[key] for key in hit.keys() - ASIDE} for hit in response["hits"]["hits"]]
    for hit in kept:
        source = {key: value for key, value in hit.pop("_source", {}).items() if key != "anthem"}
        hit.update({"_source": source} if source else {})
    return Counter(json.dumps(hit, sort_keys=True) for hit in kept)


def unranked(response):
    """All of a response but its hits and their best score."""
    beside = {key: value for key, value in response.items() if key not in ("hits", "anthem")}
    return beside, response["hits"].get("total")


def unchanged(found, plain):
    """Whether a response that is not reranked is the plain one, ANTHEM's objects aside."""
    without = {key: value for key, value in found.items() if key != "anthem"}
    return without == plain


@pytest.mark.parametrize("mode", ["cluster", "client"])
@HALF
@given(body=valid(), query=texts, window=st.integers(1, 20))
@example({"query": {"match_all": {}}, "_source": {"includes": ["t*"], "include": []}}, "fire", 1)
def test_a_valid_body_gets_its_products_and_all_beside(client, anthem, shop, mode, body, query, window):
    """A reranked page has products of the window with all they bring, totals and sums; any other is the plain one."""
    plain = outcome(lambda: client.search(index=shop, body=body))
    found = outcome(lambda: anthem.search(shop, body, query_text=query, mode=mode, window=window))
    if isinstance(plain, tuple) or not found["anthem"]["reranked"]:
        assert found == plain or unchanged(found, plain)
        return
    assert unranked(found) == unranked(plain)
    start, size = body.get("from", 0), body.get("size", 10)
    whole = client.search(index=shop, body=body | {"from": 0, "size": max(window, start + size)})
    page, candidates = products(found), products(whole)
    assert page.total() == len(plain["hits"]["hits"])
    assert page <= candidates
    if start == 0 and size >= min(window, candidates.total()):
        assert page == products(plain)


@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve"])
@HALF
@given(body=odd(), query=st.none() | texts | st.text(), operators=st.booleans())
def test_no_body_is_too_odd(client, anthem, shop, mode, body, query, operators):
    """A body of any kind fails as the plain search fails, or is answered; by its own response where it is left alone.

    Where it is reranked, as many products come back, with the same totals: two modes filter, or add, and change those.
    """
    plain = outcome(lambda: client.search(index=shop, body=body))
    asked = {"query_text": query, "mode": mode, "window": 10, "operators": operators}
    found = outcome(lambda: anthem.search(shop, body, **asked))
    if isinstance(plain, tuple) or not found["anthem"]["reranked"]:
        assert found == plain or unchanged(found, plain)
    elif mode in ("cluster", "client"):
        assert unranked(found) == unranked(plain)
        assert len(found["hits"]["hits"]) == len(plain["hits"]["hits"])
