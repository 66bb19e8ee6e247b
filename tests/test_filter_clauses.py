"""Filter clauses of a query: everything except the clauses that search for the query text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_plugin.rewriter.filter_clauses import extract_filter_clauses

TEXT = "fire tv"
TEXT_CLAUSE = {"match": {"title": TEXT}}
OTHER_TEXT = {"match": {"title": "kindle"}}
BRAND, PRICE = {"term": {"brand": "acme"}}, {"range": {"price": {"lte": 9}}}

text_clauses = st.sampled_from(
    [TEXT_CLAUSE, {"match_all": {}}, {"multi_match": {"query": TEXT, "fields": ["title", "text"]}}]
)
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
        (TEXT_CLAUSE, []),
        ({"match": {"title": {"query": " fire  tv", "operator": "and"}}}, []),
        ({"multi_match": {"query": TEXT, "fields": ["title^3", "brand"]}}, []),
        ({"query_string": {"query": TEXT}}, []),
        ({"match_all": {}}, []),
        (OTHER_TEXT, None),
        (BRAND, None),
        ({"query_string": {"query": "title:fire AND brand:acme"}}, None),
        ({"function_score": {"query": TEXT_CLAUSE, "min_score": 0.5}}, None),
        ({"bool": {"must": {"script_score": {"query": TEXT_CLAUSE, "min_score": 0.5}}}}, None),
        ({"bool": {"must": TEXT_CLAUSE, "mustNot": PRICE}}, None),
        ({"bool": {"must": TEXT_CLAUSE, "filter": {"function_score": {"query": BRAND, "min_score": 2}}}},
         [{"function_score": {"query": BRAND, "min_score": 2}}]),
        ({"nested": {"path": "tags", "query": TEXT_CLAUSE}}, []),
        ({"nested": {"path": "tags", "query": {"bool": {"must": TEXT_CLAUSE, "filter": BRAND}}}}, None),
        ({"match": {"title": {"query": "FIRE tv"}}}, []),
        ({"bool": {"must": TEXT_CLAUSE}}, []),
        ({"bool": {"must": [TEXT_CLAUSE, BRAND]}}, [BRAND]),
        ({"bool": {"must": [TEXT_CLAUSE, OTHER_TEXT]}}, [OTHER_TEXT]),
        ({"bool": {"must": [OTHER_TEXT], "filter": [BRAND]}}, None),
        ({"bool": {"must": TEXT_CLAUSE, "filter": BRAND}}, [BRAND]),
        ({"bool": {"must": TEXT_CLAUSE, "must_not": [PRICE]}}, [{"bool": {"must_not": [PRICE]}}]),
        ({"bool": {"filter": [BRAND, PRICE]}}, [BRAND, PRICE]),
        ({"bool": {"should": [TEXT_CLAUSE, BRAND]}}, []),
        ({"bool": {"must": TEXT_CLAUSE, "should": [BRAND, PRICE]}}, []),
        ({"bool": {"must": TEXT_CLAUSE, "should": [BRAND, PRICE], "minimum_should_match": 0}}, []),
        (
            {"bool": {"must": TEXT_CLAUSE, "should": [BRAND, PRICE], "minimum_should_match": 1}},
            [{"bool": {"should": [{"bool": {"filter": [BRAND]}}, {"bool": {"filter": [PRICE]}}],
                       "minimum_should_match": 1}}],
        ),
        (
            {"bool": {"should": [TEXT_CLAUSE, BRAND], "minimum_should_match": 2}},
            [{"bool": {"should": [{"match_all": {}}, {"bool": {"filter": [BRAND]}}], "minimum_should_match": 2}}],
        ),
        ({"bool": {"must": {"bool": {"must": TEXT_CLAUSE, "filter": BRAND}}, "filter": PRICE}}, [BRAND, PRICE]),
        ({"dis_max": {"queries": [TEXT_CLAUSE, {"match": {"text": TEXT}}]}}, []),
        ({"function_score": {"query": {"bool": {"must": TEXT_CLAUSE, "filter": BRAND}}, "boost": 2}}, [BRAND]),
        ({"function_score": {"functions": []}}, []),
        ({"constant_score": {"filter": TEXT_CLAUSE}}, []),
        ({"boosting": {"positive": TEXT_CLAUSE, "negative": BRAND, "negative_boost": 0.5}}, []),
        ({"script_score": {"query": {"bool": {"filter": BRAND}}, "script": {"source": "1"}}}, [BRAND]),
    ],
)  # fmt: skip
def test_everything_except_the_text_is_extracted(query, expected):
    """Filters and clauses that search for other text are extracted; None if no clause searches for the query text."""
    assert extract_filter_clauses(query, TEXT) == expected


@given(text_clause=text_clauses, must=st.lists(filters, max_size=3), filter_list=st.lists(filters, max_size=3))
def test_every_filter_is_extracted(text_clause, must, filter_list):
    """All clauses of `must` and `filter` except the text are extracted, also inside a `function_score`."""
    query = {"bool": {"must": [text_clause, *must], "filter": filter_list}}
    assert extract_filter_clauses(query, TEXT) == [*must, *filter_list]
    assert extract_filter_clauses({"function_score": {"query": query}}, TEXT) == [*must, *filter_list]


def test_without_a_text_only_match_all_can_be_separated():
    """Without a query text, filters can only be separated in a `match_all`."""
    assert extract_filter_clauses(TEXT_CLAUSE, None) is None
    assert extract_filter_clauses({"match_all": {}}, None) == []


def test_inner_hits_and_names_are_removed():
    """Inner hits and names, which a search may contain only once, are removed at any depth."""
    nested = {
        "nested": {"path": "tags", "query": {"term": {"tags.of": {"value": "x", "_name": "n"}}}, "inner_hits": {}}
    }
    bare = {"nested": {"path": "tags", "query": {"term": {"tags.of": {"value": "x"}}}}}
    assert extract_filter_clauses({"bool": {"must": TEXT_CLAUSE, "filter": [nested]}}, TEXT) == [bare]


@given(nodes)
def test_malformed_queries_raise_no_error(node):
    """Any JSON in place of a query returns a list or None; OpenSearch reports what is wrong with it."""
    clauses = extract_filter_clauses(node, TEXT)
    assert clauses is None or isinstance(clauses, list)


@pytest.mark.parametrize("text", ["fire -tv", "fire AND brand:acme", "fire +tv", "fire | tv", "price:<9 fire"])
@pytest.mark.parametrize("kind", ["query_string", "simple_query_string"])
def test_operators_of_a_query_language_count_as_filters(kind, text):
    """A text with operators restricts the matches in a query language, but not in a `match`."""
    assert extract_filter_clauses({kind: {"query": text}}, text) is None
    assert extract_filter_clauses({"match": {"title": text}}, text) == []
