"""The query text is found in the body that a shop sends, however its clauses wrap the words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.filter_clauses import extract_filter_clauses
from anthem_plugin.rewriter.query_language import plain_words
from anthem_plugin.rewriter.query_text import (
    NO_QUERY_TEXT_REASON,
    NO_TEXT_AT_PATH_REASON,
    find_query_text,
    missing_text_reason,
)

TEXT = "fire tv"
MATCH = {"match": {"title": TEXT}}
BRAND = {"term": {"brand": "acme"}}
# Clauses that search for the text, each in a form of its own.
SEARCHES = [
    MATCH,
    {"match": {"title": {"query": " Fire   TV ", "operator": "and", "boost": 3}}},
    {"match_phrase": {"title": {"query": TEXT, "slop": 2}}},
    {"match_phrase_prefix": {"title": TEXT}},
    {"match_bool_prefix": {"title.suggest": {"query": TEXT}}},
    {"multi_match": {"query": TEXT, "fields": ["title^3", "brand", "title.keyword"], "type": "cross_fields"}},
    {"combined_fields": {"query": "FIRE TV", "fields": ["title", "text"]}},
    {"query_string": {"query": "fire AND tv", "fields": ["title"]}},
    {"query_string": {"query": '+"fire tv"~2 -brand:acme NOT case*', "default_field": "title"}},
    {"simple_query_string": {"query": '"fire" + tv -(case cover)', "fields": ["title^2"]}},
]
# Clauses that do not search for words, or not for words that score.
OTHERS = [
    BRAND,
    {"terms": {"size": ["s", "m"]}},
    {"range": {"price": {"lte": 9}}},
    {"match_all": {}},
    {"prefix": {"title": "ki"}},
    {"match": {"brand.keyword": "acme"}},
    {"multi_match": {"query": "acme", "fields": ["brand.keyword^3", "maker.keyword"]}},
    {"match": {"price": 9}},
    {"match": {"in_stock": {"query": True}}},
    {"query_string": {"query": "brand:acme AND price:[1 TO 9]"}},
    {"constant_score": {"filter": {"bool": {"filter": [{"match": {"title": "kindle"}}]}}}},
    {"bool": {"must_not": {"match": {"title": "kindle"}}}},
    {"match": {"title": "  "}},
    {"knn": {"v": {"vector": [1], "k": 2}}},
]
WRAPPERS = [
    lambda inner, _: {"bool": {"must": inner}},
    lambda inner, other: {"bool": {"must": [inner, *other], "filter": [BRAND, {"match": {"title": "kindle"}}]}},
    lambda inner, other: {"bool": {"should": [*other, inner], "minimum_should_match": 1}},
    lambda inner, _: {"bool": {"must": [inner], "must_not": [{"match_phrase": {"title": "refill"}}]}},
    lambda inner, other: {"bool": {"must": other, "should": [inner, {"match": {"text": {"query": "FIRE tv"}}}]}},
    lambda inner, _: {"function_score": {"query": inner, "functions": [{"filter": MATCH, "weight": 2}]}},
    lambda inner, _: {"function_score": {"query": inner, "field_value_factor": {"field": "stars"}}},
    lambda inner, _: {"script_score": {"query": inner, "script": {"source": "_score"}}},
    lambda inner, other: {"dis_max": {"queries": [inner, *other, MATCH], "tie_breaker": 0.3}},
    lambda inner, _: {"constant_score": {"filter": inner, "boost": 2}},
    lambda inner, _: {"boosting": {"positive": inner, "negative": {"match": {"title": "case"}}}},
    lambda inner, _: {"nested": {"path": "variants", "query": inner, "score_mode": "max"}},
]  # fmt: skip
bodies = st.recursive(
    st.sampled_from(SEARCHES),
    lambda inner: st.builds(
        lambda wrap, clause, other: wrap(clause, other),
        st.sampled_from(WRAPPERS),
        inner,
        st.lists(st.sampled_from(OTHERS), max_size=2),
    ),
    max_leaves=5,
)


@given(bodies)
def test_any_wrapping_of_a_searched_text_gives_the_text(query):
    """Whatever wraps a clause that searches for a text, the text is found, apart from its case and spaces."""
    found = find_query_text({"query": query})
    assert found is not None, missing_text_reason({"query": query})
    assert found.lower().split() == TEXT.split()


@given(bodies, st.sampled_from(OTHERS))
def test_a_second_text_is_never_guessed(query, other):
    """If one scoring clause searches for another text, none is found, and the reason shows both."""
    body = {"query": {"bool": {"must": [query, other], "should": [{"match": {"title": "kindle"}}]}}}
    assert find_query_text(body) is None
    reason = missing_text_reason(body)
    assert "'kindle'" in reason
    assert "fire" in reason.lower()
    assert "`query_text`" in reason
    assert "`query_path`" in reason


@given(st.lists(st.sampled_from(OTHERS[:6] + OTHERS[8:]), max_size=4).filter(
    lambda clauses: not any("keyword" in str(clause) or "  " in str(clause) for clause in clauses)))  # fmt: skip
def test_without_words_the_reason_names_both_arguments(clauses):
    """A body that searches for no words has no text."""
    body = {"query": {"bool": {"must": clauses}}}
    assert find_query_text(body) is None
    assert missing_text_reason(body) == NO_QUERY_TEXT_REASON
    assert {"`query_text`", "`query_path`"} <= set(NO_QUERY_TEXT_REASON.replace(",", "").split())


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["bool", "must", "should", "match", "dis_max", "queries", "query", "nested", "multi_match",
                         "query_string", "function_score", "constant_score", "fields", "flags", "title"]),
        inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(nodes, nodes)
def test_malformed_bodies_raise_no_error(node, body):
    """Any JSON in place of a query or a body gives a text or none; OpenSearch reports what is wrong with it."""
    for sent in ({"query": node}, body):
        assert find_query_text(sent) is None or isinstance(find_query_text(sent), str)
        assert missing_text_reason(sent)


def test_a_deep_body_is_searched():
    """A body nested deeper than Python's stack is searched like any other."""
    query = MATCH
    for _ in range(5000):
        query = {"bool": {"must": [query]}}
    assert find_query_text({"query": query}) == TEXT


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"match": {"title.keyword": "Fire TV"}}, "Fire TV"),
        ({"match": {"title": " "}}, " "),
        ({"bool": {"should": [{"match": {"brand.keyword": "acme"}}, {"match": {"maker.keyword": "stark"}}]}}, None),
        ({"bool": {"filter": [MATCH]}}, None),
        ({"bool": {"must_not": [MATCH]}}, None),
        ({"bool": {"must": [MATCH, {"match": {"brand": "acme"}}]}}, None),
        ({"query_string": {"query": "title:fire OR title:tv"}}, None),
        ({"query_string": {"query": "fire:tv", "escape": True}}, "fire:tv"),
        ({"simple_query_string": {"query": "-fire +tv", "flags": "NONE"}}, "-fire +tv"),
        ({"match": {"a": "x", "b": "x"}}, None),
        ({"intervals": {"title": {"match": {"query": TEXT}}}}, None),
    ],
)
def test_what_counts_as_a_text(query, expected):
    """Whole values and blanks count only alone; filters, fields of a query language and invalid clauses never do."""
    assert find_query_text({"query": query}) == expected


def test_the_first_path_with_a_text_counts():
    """Of several paths the first that leads to a text with a letter counts; without one, the reason names them."""
    paths = ("query.multi_match.query", "query.bool.must.0.match.title")
    body = {"query": {"bool": {"must": [MATCH, {"match": {"title": "kindle"}}]}}}
    assert find_query_text(body, paths) == TEXT
    assert find_query_text(body, [*paths[:1]]) is None
    assert missing_text_reason(body, paths[:1]) == NO_TEXT_AT_PATH_REASON.format(paths[0])
    assert find_query_text({"query": {"match": {"a": " ", "b": TEXT}}}, ["query.match.a", "query.match.b"]) == TEXT
    assert find_query_text({"query": {"match": {"a": " "}}}, ["query.match.a"]) == " "


def test_paths_and_text_fields_may_be_strings():
    """One text field is one field, not its letters; anything but strings is refused."""
    assert ClientOptions(text_fields="title").text_fields == ("title",)
    for options in ({"query_path": 5}, {"query_path": ("a", 5)}, {"text_fields": b"title"}, {"text_fields": {"a": 1}}):
        with pytest.raises(TypeError, match=next(iter(options))):
            ClientOptions(**options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fire AND (tv OR kindle)", "fire tv kindle"),
        ("+fire +tv -kindle", "fire tv"),
        ("title:fire OR title:tv", ""),
        ('"fire tv"^2 AND brand:acme', "fire tv"),
        ("brand:(acme OR stark) fire NOT (kindle OR case) tv", "fire tv"),
        ("brand: acme tv", "tv"),
        ("fier~1 tv^2.5", "fier tv"),
        ("kind* fi?e tv /jo.n/ price:>10 [1 TO 5]^2", "tv"),
        (r"AC\/DC 1\:2", "AC/DC 1:2"),
        ("wi-fi - router", "wi-fi router"),
        ("a && b || !c d", "a b d"),
        ("ANDROID NOTE 9 ORBIT", "ANDROID NOTE 9 ORBIT"),
        ('(("fire) tv', "fire tv"),
        ("C++ fire! 50%", "C++ fire! 50%"),
    ],
)
def test_the_words_of_a_query_string(text, expected):
    """Operators, fields, exclusions, ranges, wildcards and regular expressions are no words; hyphens inside are."""
    assert plain_words(text, "query_string") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fire + tv | stick", "fire tv stick"),
        ("fire -kindle tv -(case cover)", "fire tv"),
        ("brand:acme AND tv", "brand:acme AND tv"),
        ("fire - tv box", "fire box"),
        ('"fire tv"~3 fir* wi-fi fier~2', "fire tv wi-fi fier"),
    ],
)
def test_the_words_of_a_simple_query_string(text, expected):
    """It knows neither fields nor AND; its `-` excludes what follows, also after a space."""
    assert plain_words(text, "simple_query_string") == expected


@given(st.text(st.sampled_from('fire tv-+|"()~*:\\/!&AND')))
def test_words_are_part_of_the_text(text):
    """Any text of a query language gives words whose letters are in it, in order, and no error."""
    for language in ("query_string", "simple_query_string"):
        letters = iter(text)
        assert all(letter in letters for letter in plain_words(text, language).replace(" ", ""))


def test_filters_are_separated_from_a_nested_text_and_from_another_case():
    """For retrieve mode, a nested clause of the text alone is no filter, and neither is the text in capitals."""
    query = {"bool": {"must": [{"nested": {"path": "v", "query": MATCH}}, {"match": {"text": "FIRE  TV"}}],
                      "filter": BRAND}}  # fmt: skip
    assert extract_filter_clauses(query, TEXT) == [BRAND]


def test_the_service_finds_the_text_like_the_client(encoder, run_service):
    """`/rewrite` finds the text, takes one path or several, and gives the same reasons; other paths are refused."""
    shop = {"query": {"bool": {"must": [{"multi_match": {"query": TEXT, "fields": ["title"]}}], "filter": [BRAND]}}}
    different = {"query": {"bool": {"must": [MATCH, {"match": {"brand": "acme"}}]}}}
    paths = ["query.match.title", "query.bool.must.0.match.title"]
    with run_service(encoder) as http:

        def rewrite(body, **options):
            return http.post("/rewrite", json={"body": body} | options)

        assert rewrite(shop).json() == rewrite(shop, query_text=TEXT).json()
        assert rewrite(different).json() == {
            "body": different,
            "reranked": False,
            "reason": missing_text_reason(different),
        }
        by_text, one, several = (
            rewrite(different, query_text=TEXT),
            rewrite(different, query_path=paths[1]),
            rewrite(different, query_path=paths),
        )
        assert by_text.json() == one.json() == several.json()
        assert one.json()["reranked"]
        assert rewrite(different, query_path=paths[0]).json()["reason"] == NO_TEXT_AT_PATH_REASON.format(paths[0])
        for wrong in (5, [5], "a" * 201, ["a"] * 21, {"a": 1}, [["a"]]):
            response = rewrite(different, query_path=wrong)
            assert response.status_code == 422
            assert "query_path" in response.text
