"""The rewriter: bodies of cluster, client, filter and retrieve mode, sources and query text."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.fusion import QUERY_WEIGHT
from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.modes import Retrieve
from anthem_plugin.rewriter.query_text import find_query_text, value_at_path
from anthem_plugin.rewriter.rescore import build_filter_body, build_rescore_body, build_window_body
from anthem_plugin.rewriter.retrieve import build_retrieve_body
from anthem_plugin.rewriter.source_filtering import excluded_value, restore_source
from anthem_plugin.scoring.params import ScoringParams

SCRIPT = {"id": "anthem-score-0", "params": {"gamma": 0.2}}
QUERY = EncodedQuery(*(np.ones(shape) for shape in ((1, 3), (1, 2), (1,), (1,), (1, 1))))
SCORING = ScoringParams("m", 2, 0.2, 0.125, 0.0, {}, frozenset())
MATCH = {"match": {"title": "fire tv"}}
ANTHEM_FIELDS = ModelFields()
EXCLUDES = ["anthem", "anthem_*.vector", "anthem_*.trigrams"]
FETCHED = ["anthem.vector", "anthem.trigrams", "anthem.model"]

names = st.sampled_from(["title", "brand", "meta.colour", "t*", "anthem", "anthem.model", "price", "*"])
sources = st.one_of(
    st.booleans(),
    names,
    st.lists(names, max_size=3),
    st.fixed_dictionaries({}, optional={"includes": st.lists(names, max_size=3), "excludes": names}),
)
bodies = st.fixed_dictionaries(
    {"query": st.sampled_from([MATCH, {"match_all": {}}, {"bool": {"must": MATCH, "filter": {"term": {"a": 1}}}}])},
    optional={
        "size": st.integers(0, 50),
        "from": st.integers(0, 50),
        "_source": sources,
        "aggs": st.just({"brands": {"terms": {"field": "brand"}}}),
        "highlight": st.just({"fields": {"title": {}}}),
        "post_filter": st.just({"term": {"brand": "x"}}),
        "track_total_hits": st.booleans(),
        "rescore": st.just({"window_size": 5, "query": {"rescore_query": {"match_all": {}}}}),
        "sort": st.sampled_from(
            ["_score", ["_score"], [{"_score": "desc"}], "price", [{"price": "asc"}, "_score"], []]
        ),
        "search_after": st.just([1]),
        "collapse": st.just({"field": "brand"}),
        "script_fields": st.just({"one": {"script": "1"}}),
        "stored_fields": st.sampled_from(["_none_", ["brand"]]),
        "ext": st.just({"anything": {"at": "all"}}),
    },
)


@given(body=bodies, window=st.integers(1, 500))
def test_rescore_body_changes_no_other_key_and_not_its_input(body, window):
    """Only `rescore` and `_source` differ from the caller's body, which is not modified."""
    before = copy.deepcopy(body)
    rewritten = build_rescore_body(body, SCRIPT, window=window)
    assert body == before
    untouched = body.keys() - {"rescore", "_source"}
    assert {key: rewritten.body[key] for key in untouched} == {key: body[key] for key in untouched}
    assert rewritten.body.keys() <= body.keys() | {"rescore", "_source"}
    assert rewritten.reranked == (rewritten.reason is None)
    if not rewritten.reranked:
        assert rewritten.body == before


@given(body=bodies, window=st.integers(1, 500))
def test_window_body_changes_only_page_and_source(body, window):
    """Only `from`, `size` and `_source` differ; the requested hits cover the window and the caller's page."""
    before = copy.deepcopy(body)
    wide = build_window_body(body, window=window)
    assert body == before
    if not wide.reranked:
        assert wide.body == before
        return
    assert wide.body["from"] == 0
    assert wide.body["size"] == max(window, body.get("from", 0) + body.get("size", 10))
    untouched = body.keys() - {"from", "size", "_source"}
    assert {key: wide.body[key] for key in untouched} == {key: body[key] for key in untouched}


def test_the_window_is_rescored_around_the_callers_query():
    """The `script_score` contains the caller's query; the weights keep the window above all other hits."""
    (rescore,) = build_rescore_body({"query": MATCH}, SCRIPT, window=7).body["rescore"]
    assert rescore == {
        "window_size": 7,
        "query": {
            "rescore_query": {"script_score": {"query": MATCH, "script": SCRIPT}},
            "query_weight": QUERY_WEIGHT,
            "rescore_query_weight": 1.0,
            "score_mode": "total",
        },
    }


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ({"query": None}, "no query"),
        ({"query": {}}, "no query"),
        ({"query": {"hybrid": {"queries": [MATCH]}}}, "hybrid"),
        ({"query": {"knn": {"v": {"vector": [1], "k": 3}}}}, "knn"),
        ({"sort": "price"}, "sort by"),
        ({"sort": [{"_score": "asc"}]}, "sort by"),
        ({"sort": ["_score", "price"]}, "sort by"),
        ({"sort": {"price": "asc", "_score": "desc"}}, "sort by"),
        ({"search_after": [1.0]}, "search_after"),
        ({"collapse": {"field": "brand"}}, "collapse"),
        ({"scroll": "1m"}, "scroll"),
    ],
)
def test_a_body_that_cannot_be_rescored_is_returned_unchanged(extra, word):
    """A body that OpenSearch cannot rescore is returned unchanged, and the reason names the key."""
    body = {"query": MATCH, "size": 5} | extra
    for rewritten in (
        build_rescore_body(body, SCRIPT),
        build_retrieve_body(body, SCRIPT, QUERY, SCORING, "fire tv"),
        build_window_body(body),
    )[: 2 if "collapse" in extra else 3]:
        assert (rewritten.body, rewritten.reranked) == (body, False)
        assert word in rewritten.reason


def test_client_mode_supports_collapse():
    """Client mode supports `collapse`, which OpenSearch does not allow together with a rescore."""
    body = {"query": MATCH, "size": 5, "collapse": {"field": "brand", "inner_hits": {"name": "all"}}}
    wide = build_window_body(body, window=30)
    assert wide.reranked
    inner_hits = {"name": "all", "_source": {"excludes": EXCLUDES}}
    assert (wide.body["size"], wide.body["collapse"]) == (30, {"field": "brand", "inner_hits": inner_hits})
    assert not build_window_body(body | {"sort": ["price"]}).reranked


@given(body=bodies)
def test_filter_body_changes_only_query_and_source(body):
    """Filter mode changes `query` and `_source` only, keeps the caller's query, and does not modify its input."""
    before = copy.deepcopy(body)
    rewritten = build_filter_body(body, SCRIPT)
    assert body == before
    assert rewritten.reranked
    untouched = body.keys() - {"query", "_source"}
    assert {key: rewritten.body[key] for key in untouched} == {key: body[key] for key in untouched}
    assert rewritten.body.keys() <= body.keys() | {"_source"}
    assert rewritten.body["query"]["bool"]["must"] == [body["query"]]


@given(body=bodies, k=st.integers(1, 1000), window=st.integers(1, 10_000))
def test_retrieve_body_changes_only_query_rescore_and_source(body, k, window):
    """Retrieve mode changes `query`, `rescore` and `_source` only; an unsupported body is returned unchanged."""
    before = copy.deepcopy(body)
    rewritten = build_retrieve_body(body, SCRIPT, QUERY, SCORING, "fire tv", Retrieve(k), window=window)
    assert body == before
    untouched = body.keys() - {"query", "rescore", "_source"}
    assert {key: rewritten.body[key] for key in untouched} == {key: body[key] for key in untouched}
    assert rewritten.reranked == (rewritten.reason is None)
    if rewritten.reranked:
        assert rewritten.body["query"]["bool"]["should"][0] == body["query"]
        assert rewritten.body["rescore"][0]["window_size"] <= 10_000
    else:
        assert rewritten.body == before


@pytest.mark.parametrize(
    "sort", ["_score", ["_score"], [{"_score": "desc"}], {"_score": {"order": "desc"}}, [{"_score": {}}], []]
)
def test_a_sort_by_score_alone_is_reranked(sort):
    """Every form of a sort by descending score is reranked."""
    assert build_rescore_body({"query": MATCH, "sort": sort}, SCRIPT).reranked


@pytest.mark.parametrize(
    ("requested", "cluster", "client"),
    [
        ({}, {"excludes": EXCLUDES}, {"excludes": EXCLUDES[1:]}),
        ({"_source": True}, {"excludes": EXCLUDES}, {"excludes": EXCLUDES[1:]}),
        ({"_source": False}, False, FETCHED),
        ({"_source": "title"}, "title", {"includes": ["title", *FETCHED], "excludes": EXCLUDES[1:]}),
        ({"_source": ["t*"]}, {"includes": ["t*"], "excludes": EXCLUDES},
         {"includes": ["t*", *FETCHED], "excludes": EXCLUDES[1:]}),
        ({"_source": "anthem.model"}, "anthem.model",
         {"includes": ["anthem.model", *FETCHED], "excludes": EXCLUDES[1:]}),
        ({"_source": "anthem*"}, "anthem*", {"includes": ["anthem*", *FETCHED], "excludes": EXCLUDES[1:]}),
        ({"_source": {"excludes": "brand"}},
         {"excludes": ["brand", *EXCLUDES]}, {"excludes": ["brand", *EXCLUDES[1:]]}),
        ({"_source": {"exclude": ["anthem"]}}, {"excludes": EXCLUDES}, {"excludes": EXCLUDES[1:]}),
        ({"script_fields": {"one": {"script": "1"}}}, None, FETCHED),
        ({"stored_fields": ["brand"]}, None, FETCHED),
    ],
)  # fmt: skip
def test_values_are_hidden_unless_requested(requested, cluster, client):
    """Cluster mode hides ANTHEM's objects and client mode fetches the model's values, for every form of `_source`."""
    body = {"query": MATCH, **requested}
    assert build_rescore_body(body, SCRIPT).body.get("_source") == cluster
    assert build_window_body(body).body.get("_source") == client


def test_values_of_other_models_are_hidden():
    """The values of every other model are hidden too."""
    second = ModelFields("anthem_ab12cd34")
    hidden = {"excludes": ["anthem", "anthem_ab12cd34", *EXCLUDES[1:]]}
    assert build_rescore_body({"query": MATCH}, SCRIPT, fields=second).body["_source"] == hidden
    assert build_window_body({"query": MATCH}, fields=second).body["_source"] == {"excludes": ["anthem"]}


def test_an_application_field_with_our_prefix_requests_no_values():
    """Requesting a field of the application's own such as `anthem_singer` does not return the model's values."""
    assert build_rescore_body({"query": MATCH, "_source": ["anthem_singer*"]}, SCRIPT).body["_source"] == {
        "includes": ["anthem_singer*"],
        "excludes": EXCLUDES,
    }


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ({}, {"title": "fire tv"}),
        ({"_source": ["title"]}, {"title": "fire tv"}),
        ({"_source": "anthem.model"}, {"title": "fire tv", "anthem": {"model": "m"}}),
        ({"_source": ["title", "anthem"]}, {"title": "fire tv", "anthem": {"vector": [1.0], "model": "m"}}),
        (
            {"_source": {"includes": "anthem", "excludes": "anthem.vector"}},
            {"title": "fire tv", "anthem": {"model": "m"}},
        ),
        ({"_source": False}, None),
        ({"script_fields": {"one": {"script": "1"}}}, None),
        ({"script_fields": {}}, {"title": "fire tv"}),
    ],
)
def test_hits_contain_the_requested_source(requested, expected):
    """A hit contains the fields that the caller requested, and none that client mode fetched for itself."""
    hit = {"_id": "1", "_source": {"title": "fire tv", "anthem": {"vector": [1.0], "model": "m"}}}
    assert restore_source(hit, requested, ANTHEM_FIELDS).get("_source") == expected


def test_a_wildcard_that_hides_the_values_is_refused():
    """Client mode refuses a body whose wildcard hides one of the model's values, and names it."""
    for name in ("vector", "trigrams", "model"):
        assert excluded_value({"_source": {"excludes": [f"*.{name}"]}}, ANTHEM_FIELDS) == f"anthem.{name}"
    assert excluded_value({"_source": {"excludes": ["anthem", "anthem.*", "brand*"]}}, ANTHEM_FIELDS) is None
    assert "anthem.vector" in build_window_body({"query": MATCH, "_source": {"excludes": "*"}}).reason
    assert "_none_" in build_window_body({"query": MATCH, "stored_fields": "_none_"}).reason


@pytest.mark.parametrize(
    ("query", "path", "expected"),
    [
        (MATCH, None, "fire tv"),
        ({"match": {"title": {"query": "fire tv", "operator": "and"}}}, None, "fire tv"),
        ({"multi_match": {"query": "fire tv", "fields": ["title^3", "brand"]}}, None, "fire tv"),
        ({"bool": {"must": [MATCH]}}, None, "fire tv"),
        ({"match_all": {}}, None, None),
        (None, None, None),
        ({"bool": {"must": [MATCH]}}, "query.bool.must.0.match.title", "fire tv"),
        ({"bool": {"must": [MATCH]}}, "query.bool.must.1.match.title", None),
        ({"bool": {"must": [MATCH]}}, "query.bool.must.x", None),
        ({"match": {"title.en": {"query": "fire tv"}}}, "query.match.title.en.query", "fire tv"),
        (MATCH, "query.match.title.query", None),
        (MATCH, "query.match", None),
    ],
)
def test_the_query_text_is_found(query, path, expected):
    """The text is read at the path, or else from the clauses that search for words (see test_query_text)."""
    assert find_query_text({"query": query}, path) == expected


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(min_size=1), inner) | st.lists(inner)), st.text())
def test_no_path_raises_an_error(node, path):
    """Any path through any JSON value gives a value or None, never an error."""
    value_at_path(node, path)
