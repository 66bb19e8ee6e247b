"""ANTHEM's values stay in the cluster: also in inner hits, `top_hits` aggregations and suggestions."""

import copy
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_index import GRAPH, model_documents

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter
from anthem_plugin.rewriter.inner_hits import hide_inner_values, restore_suggestions
from anthem_plugin.rewriter.rescore import NO_HITS_REQUESTED_REASON, TOP_HITS_REASON

FIELDS = ModelFields()
BRANDS = ["acme", "globex", "stark"]
TITLES = [f"{brand} {noun}" for brand in BRANDS for noun in ("fire tv", "tv stick", "fire pit")]
VALUES = ("vector", "trigrams", "text_hash")
KEYS = (*VALUES, "model")
HIDDEN = {"excludes": ["anthem", "anthem_*.vector", "anthem_*.trigrams"]}
QUERY = {"query": {"match": {"title": "fire tv"}}, "size": 20}
TOP = {"top_hits": {"size": 2}}

BODIES = {
    "top_hits": {"aggs": {"best": TOP}},
    "top_hits below other aggregations": {
        "aggregations": {"brands": {"terms": {"field": "brand"}, "aggs": {
            "all": {"filter": {"match_all": {}}, "aggregations": {"best": TOP}}, "price": {"avg": {"field": "price"}}}}}
    },
    "top_hits with a source filter": {
        "aggs": {"best": {"top_hits": {"size": 3, "_source": {"includes": ["*"], "excludes": ["brand"]}}}}
    },
    "collapse": {"collapse": {"field": "brand", "inner_hits": {"name": "more", "size": 3}}},
    "collapse with several inner hits": {
        "collapse": {"field": "brand", "inner_hits": [
            {"name": "cheap", "size": 2, "sort": ["price"]}, {"name": "best", "_source": ["*"]}]}
    },
    "collapse with empty stored fields": {  # which OpenSearch ignores in inner hits alone
        "collapse": {"field": "brand", "inner_hits": {"name": "more", "stored_fields": []}}
    },
    "fields": {"fields": ["*"], "_source": False},
    "stored fields and the source": {"stored_fields": ["*", "_source"], "fields": [{"field": "t*"}, "*_hash"]},
    "top_hits with fields": {"aggs": {"best": {"top_hits": {"size": 2, "fields": ["*"]}}}},
    "suggestions": {"suggest": {"names": {"prefix": "fire", "completion": {"field": "suggest"}}}},
    "nested inner hits": {
        "query": {"bool": {"must": [QUERY["query"], {"nested": {
            "path": "variants", "query": {"match_all": {}}, "inner_hits": {"size": 1}}}]}}
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def index(client, encoder):
    """Ingested products with variants and completions."""
    name = f"test-inner-{uuid.uuid4().hex}"
    mapping = FIELDS.mapping(encoder.bundle.dimension)
    mapping["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    mapping["properties"] |= {
        "title": {"type": "text"}, "brand": {"type": "keyword"}, "price": {"type": "integer"},
        "suggest": {"type": "completion"},
        "variants": {"type": "nested", "properties": {"name": {"type": "text"}}},
    }  # fmt: skip
    client.indices.create(
        index=name, body={"settings": {"number_of_shards": 1, "index.knn": True}, "mappings": mapping}
    )
    lines = []
    for number, (title, values) in enumerate(zip(TITLES, model_documents(encoder, TITLES), strict=True)):
        product = {"title": title, "brand": title.split()[0], "price": number, "suggest": [title.split(maxsplit=1)[1]],
                   "variants": [{"name": title}]} | values  # fmt: skip
        lines += [{"index": {"_id": str(number)}}, product]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


def sources(node):
    """Every `_source` in a response, at any depth."""
    if isinstance(node, dict):
        return [*([node["_source"]] if "_source" in node else []), *(found for value in node.values()
                                                                    for found in sources(value))]  # fmt: skip
    return [found for item in node for found in sources(item)] if isinstance(node, list) else []


def without_values(node):
    """A response without the model's objects, the scores, and what differs between searches."""
    if isinstance(node, dict):
        ignored = ("anthem", "_score", "max_score", "took")
        kept = {key: value for key, value in node.items() if key not in ignored and not key.startswith("anthem.")}
        return {key: without_values(value) for key, value in kept.items()}
    return [without_values(item) for item in node] if isinstance(node, list) else node


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve"])
@pytest.mark.parametrize("name", BODIES)
def test_no_values_leave_beside_the_hits(client, encoder, index, name, mode):
    """Whatever a reranked search returns beside its hits is complete, and has none of the model's values."""
    body = QUERY | BODIES[name]
    before = copy.deepcopy(body)
    response = AnthemClient(client, encoder).search(
        index, body, query_text="fire tv", mode=mode, preference="x", request_timeout=60
    )
    plain = client.search(index=index, body=body, preference="x")
    assert body == before
    assert any(value in json.dumps(plain) for value in VALUES)
    if "collapse" in body and mode in ("cluster", "retrieve"):
        assert not response["anthem"]["reranked"]
        assert response["hits"] == plain["hits"]
        return
    assert response["anthem"]["reranked"] != ("top_hits" in name and mode == "cluster"), response["anthem"]
    assert sources(response) or "fields" in body
    assert not any(value in json.dumps(response) for value in VALUES)
    if mode != "client" or "collapse" in body:
        return
    for key in ("aggregations", "suggest"):
        assert without_values(response.get(key)) == without_values(plain.get(key))
    # The order differs, and nothing else.
    hits = [sorted(json.dumps(without_values(hit), sort_keys=True) for hit in each["hits"]["hits"])
            for each in (response, plain)]  # fmt: skip
    assert hits[0] == hits[1]


def group(*levels):
    """A `top_hits` aggregation below others, each given by its kind and setting."""
    aggregation = {"top_hits": {"size": 2, "_source": ["title"]}}
    for kind, setting in levels:
        aggregation = {kind: setting, "aggs": {"below": aggregation}}
    return {"top": aggregation}


@pytest.mark.node
@pytest.mark.parametrize("sort", [None, "_score", [{"_score": "desc"}], ["_score", "_doc"], ["price"]])
@pytest.mark.parametrize("levels", [
    (), [("terms", {"field": "brand"})], [("filter", {"match_all": {}}), ("terms", {"field": "brand"})],
    [("global", {})], [("diversified_sampler", {"field": "brand"})],
])  # fmt: skip
@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_aggregations_are_those_of_the_plain_search(client, encoder, index, mode, levels, sort):
    """`top_hits` have the products and scores of the plain search; where a rescore would change them, none is sent."""
    aggs = group(*levels)
    top = aggs["top"]
    for _ in levels:
        top = top["aggs"]["below"]
    top["top_hits"] |= {} if sort is None else {"sort": sort, "track_scores": True}
    body = QUERY | {"aggs": aggs}
    response = AnthemClient(client, encoder).search(index, body, query_text="fire tv", mode=mode)
    plain = client.search(index=index, body=body)
    assert response["aggregations"] == plain["aggregations"]
    is_ranked = mode == "client" or sort in (["_score", "_doc"], ["price"])
    assert (response["anthem"]["reranked"], response["anthem"]["reason"]) == (
        (True, None) if is_ranked else (False, TOP_HITS_REASON)
    )
    assert not any(value in json.dumps(response) for value in VALUES)


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve"])
def test_no_values_leave_without_hits(client, encoder, index, mode):
    """A body with `size: 0`, with or without a text, returns no values either, and nothing else is missing."""
    for query in (QUERY["query"], {"match_all": {}}):
        body = {"size": 0, "query": query} | BODIES["top_hits"] | BODIES["suggestions"]
        text = "fire tv" if mode == "filter" else None
        response = AnthemClient(client, encoder).search(index, body, query_text=text, mode=mode)
        plain = client.search(index=index, body=body)
        assert any(value in json.dumps(plain["aggregations"]) for value in VALUES)
        assert any(value in json.dumps(plain["suggest"]) for value in VALUES)
        assert not any(value in json.dumps(sources(response)) for value in VALUES)
        if mode != "filter":
            assert (response["anthem"]["reranked"], response["anthem"]["reason"]) == (False, NO_HITS_REQUESTED_REASON)
            assert without_values(response) == without_values(plain)


@pytest.mark.node
@pytest.mark.parametrize("mode", [Filter(slack=-99.0), Filter(limit=1), Filter()])
def test_no_values_leave_if_nothing_is_filtered(client, encoder, index, mode):
    """A body with `size: 0` that `filter` mode does not filter, for whatever reason, returns no values either."""
    query = {"match_all": {}} if mode == Filter() else QUERY["query"]  # which has no text
    body = {"size": 0, "query": query} | BODIES["top_hits"] | BODIES["suggestions"]
    response = AnthemClient(client, encoder).search(index, body, mode=mode)
    plain = client.search(index=index, body=body)
    assert not response["anthem"]["reranked"]
    assert any(value in json.dumps(sources(plain)) for value in VALUES)
    assert not any(value in json.dumps(sources(response)) for value in VALUES)
    assert without_values(response) == without_values(plain)


def test_values_that_the_caller_names_are_returned():
    """A `_source` filter that names the model's object is kept as it is; any other one hides it."""
    for setting, expected in (
        ({"_source": ["anthem.model"]}, ["anthem.model"]),
        ({"_source": False}, False),
        ({"_source": ["title"]}, ["title"]),
        ({}, HIDDEN),
    ):
        body = {
            "collapse": {"field": "brand", "inner_hits": {"name": "a", **setting}},
            "aggs": {"a": {"top_hits": setting}},
        }
        hidden = hide_inner_values(body, FIELDS)
        assert hidden["collapse"]["inner_hits"]["_source"] == hidden["aggs"]["a"]["top_hits"]["_source"] == expected


@pytest.mark.node
def test_fields_that_the_caller_names_are_returned(client, encoder, index):
    """A pattern in `fields` that names the model's object returns what it covers, beside one that does not."""
    anthem = AnthemClient(client, encoder)
    for fields in (["anthem.model"], ["anthem*"], ["t*", {"field": "anthem.*"}], ["*", "anthem.model"]):
        hits = anthem.search(index, QUERY | {"fields": fields})["hits"]["hits"]
        plain = client.search(index=index, body=QUERY | {"fields": fields})["hits"]["hits"]
        values = {key for hit in hits for key in hit["fields"] if key.startswith("anthem.")}
        assert values == ({"anthem.model"} if "anthem.model" in fields else {f"anthem.{value}" for value in KEYS})
        others = [sorted(key for hit in each for key in hit["fields"] if "anthem" not in key) for each in (hits, plain)]
        assert others[0] == others[1]


def test_joined_products_are_hidden_wherever_they_are_asked_for():
    """The inner hits of children and parents get a source filter at any depth, those of nested objects do not.

    The test node does not have the module for joins.
    """
    child = {"has_child": {"type": "offer", "query": {"match_all": {}}, "inner_hits": {"size": 1}}}
    parent = {"has_parent": {"parent_type": "product", "query": child, "inner_hits": {}}}
    nested = {"nested": {"path": "v", "query": {"match_all": {}}, "inner_hits": {}}}
    for key in ("query", "post_filter"):
        hidden = hide_inner_values({key: {"bool": {"must": [nested, parent]}}}, FIELDS)[key]["bool"]["must"]
        assert hidden[0] == nested
        assert hidden[1]["has_parent"]["inner_hits"] == {"_source": HIDDEN}
        assert hidden[1]["has_parent"]["query"]["has_child"]["inner_hits"] == {"size": 1, "_source": HIDDEN}


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["aggs", "top_hits", "inner_hits", "has_child", "query", "options", "a", "bool"]),
        inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(nodes, nodes, nodes)
def test_malformed_bodies_raise_no_error(collapse, aggregations, query):
    """Any JSON in place of these keys is left for OpenSearch; nothing is modified; a second time changes nothing."""
    body = {"collapse": collapse, "aggs": aggregations, "query": query}
    before = copy.deepcopy(body)
    hidden = hide_inner_values(body, FIELDS)
    assert body == before
    assert hide_inner_values(hidden, FIELDS) == hidden


def test_suggestions_have_the_requested_source():
    """A suggestion keeps what the caller requests of its product."""
    values = {"vector": [1], "model": "0123456789abcdef"}
    option = {"text": "fire tv", "_source": {"title": "fire tv", "brand": "acme", "anthem": values}}
    response = {"suggest": {"names": [{"text": "fi", "options": [option, {"text": "fire"}]}], "none": []}}
    (entry,) = restore_suggestions(response, {}, FIELDS, ("title",))["suggest"]["names"]
    assert entry["options"] == [{"text": "fire tv", "_source": {"title": "fire tv", "brand": "acme"}}, {"text": "fire"}]
    (entry,) = restore_suggestions(response, {"_source": False}, FIELDS, ())["suggest"]["names"]
    assert entry["options"][0] == {"text": "fire tv"}
    assert restore_suggestions({}, {}, FIELDS, ()) == {}
