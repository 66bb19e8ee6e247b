"""What products found by other means have to pass: everything in a query but the words searched for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_plugin.rewriter.filter_clauses import extract_filter_clauses

TEXT = "fire tv"
WORDS = {"match": {"title": TEXT}}
OTHER = {"match": {"title": "kindle"}}
BRAND, PRICE = {"term": {"brand": "acme"}}, {"range": {"price": {"lte": 9}}}

free = st.sampled_from([WORDS, {"match_all": {}}, {"multi_match": {"query": TEXT, "fields": ["title", "text"]}}])
filters = st.sampled_from([BRAND, PRICE, {"exists": {"field": "stock"}}, {"terms": {"size": ["s", "m"]}}])
nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["bool", "must", "should", "filter", "must_not", "match", "dis_max", "queries", "query",
                         "function_score", "constant_score", "minimum_should_match", "title"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (WORDS, []),
        ({"match": {"title": {"query": " fire  tv", "operator": "and"}}}, []),
        ({"multi_match": {"query": TEXT, "fields": ["title^3", "brand"]}}, []),
        ({"query_string": {"query": TEXT}}, []),
        ({"match_all": {}}, []),
        (OTHER, None),
        (BRAND, None),
        ({"query_string": {"query": "title:fire AND brand:acme"}}, None),
        ({"function_score": {"query": WORDS, "min_score": 0.5}}, None),
        ({"bool": {"must": {"script_score": {"query": WORDS, "min_score": 0.5}}}}, None),
        ({"bool": {"must": WORDS, "mustNot": PRICE}}, None),
        ({"bool": {"must": WORDS, "filter": {"function_score": {"query": BRAND, "min_score": 2}}}},
         [{"function_score": {"query": BRAND, "min_score": 2}}]),
        ({"nested": {"path": "tags", "query": WORDS}}, None),
        ({"bool": {"must": WORDS}}, []),
        ({"bool": {"must": [WORDS, BRAND]}}, [BRAND]),
        ({"bool": {"must": [WORDS, OTHER]}}, [OTHER]),
        ({"bool": {"must": [OTHER], "filter": [BRAND]}}, None),
        ({"bool": {"must": WORDS, "filter": BRAND}}, [BRAND]),
        ({"bool": {"must": WORDS, "must_not": [PRICE]}}, [{"bool": {"must_not": [PRICE]}}]),
        ({"bool": {"filter": [BRAND, PRICE]}}, [BRAND, PRICE]),
        ({"bool": {"should": [WORDS, BRAND]}}, []),
        ({"bool": {"must": WORDS, "should": [BRAND, PRICE]}}, []),
        ({"bool": {"must": WORDS, "should": [BRAND, PRICE], "minimum_should_match": 0}}, []),
        (
            {"bool": {"must": WORDS, "should": [BRAND, PRICE], "minimum_should_match": 1}},
            [{"bool": {"should": [{"bool": {"filter": [BRAND]}}, {"bool": {"filter": [PRICE]}}],
                       "minimum_should_match": 1}}],
        ),
        (
            {"bool": {"should": [WORDS, BRAND], "minimum_should_match": 2}},
            [{"bool": {"should": [{"match_all": {}}, {"bool": {"filter": [BRAND]}}], "minimum_should_match": 2}}],
        ),
        ({"bool": {"must": {"bool": {"must": WORDS, "filter": BRAND}}, "filter": PRICE}}, [BRAND, PRICE]),
        ({"dis_max": {"queries": [WORDS, {"match": {"text": TEXT}}]}}, []),
        ({"function_score": {"query": {"bool": {"must": WORDS, "filter": BRAND}}, "boost": 2}}, [BRAND]),
        ({"function_score": {"functions": []}}, []),
        ({"constant_score": {"filter": WORDS}}, []),
        ({"boosting": {"positive": WORDS, "negative": BRAND, "negative_boost": 0.5}}, []),
        ({"script_score": {"query": {"bool": {"filter": BRAND}}, "script": {"source": "1"}}}, [BRAND]),
    ],
)  # fmt: skip
def test_all_but_the_words_is_kept(query, expected):
    """Filters, and clauses that search for something else, are kept; None where the words are nowhere in it."""
    assert extract_filter_clauses(query, TEXT) == expected


@given(words=free, must=st.lists(filters, max_size=3), held=st.lists(filters, max_size=3))
def test_every_filter_is_kept_wherever_it_stands(words, must, held):
    """Of a `bool` each clause of `must` and `filter` is kept but the words, in a `function_score` as well."""
    query = {"bool": {"must": [words, *must], "filter": held}}
    assert extract_filter_clauses(query, TEXT) == [*must, *held]
    assert extract_filter_clauses({"function_score": {"query": query}}, TEXT) == [*must, *held]


def test_without_a_text_nothing_is_free():
    """A region that has no text cannot be told apart from filters, but for a query that finds all."""
    assert extract_filter_clauses(WORDS, None) is None
    assert extract_filter_clauses({"match_all": {}}, None) == []


def test_what_may_stand_once_is_not_said_twice():
    """Inner hits and names are left out of the clauses that are kept, at any depth."""
    nested = {
        "nested": {"path": "tags", "query": {"term": {"tags.of": {"value": "x", "_name": "n"}}}, "inner_hits": {}}
    }
    bare = {"nested": {"path": "tags", "query": {"term": {"tags.of": {"value": "x"}}}}}
    assert extract_filter_clauses({"bool": {"must": WORDS, "filter": [nested]}}, TEXT) == [bare]


@given(nodes)
def test_nothing_breaks_it(node):
    """Whatever stands where a query should, there is an answer: OpenSearch is to say what is wrong with it."""
    found = extract_filter_clauses(node, TEXT)
    assert found is None or isinstance(found, list)


@pytest.mark.parametrize("text", ["fire -tv", "fire AND brand:acme", "fire +tv", "fire | tv", "price:<9 fire"])
@pytest.mark.parametrize("kind", ["query_string", "simple_query_string"])
def test_operators_of_a_query_language_are_no_mere_words(kind, text):
    """A text that its language reads as restricting restricts; as plain words in a `match` it does not."""
    assert extract_filter_clauses({kind: {"query": text}}, text) is None
    assert extract_filter_clauses({"match": {"title": text}}, text) == []
