"""What the page is sent: the order of the reranked hits as places in the lexical list, and suggestions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_plugin.service.ui.page_result import MAX_TITLE_CHARACTERS, page_order, page_products, suggest_query


def hits(ids):
    """Hits with these ids."""
    return [{"_index": "products", "_id": each} for each in ids]


@given(st.permutations("abcdef"), st.integers(0, 6))
def test_the_order_has_every_place_once(shuffled, size):
    """The order leads from the reranked hits to their places; products that they lack follow in lexical order."""
    order = page_order(hits("abcdef"), hits(shuffled[:size]))
    assert ["abcdef"[place] for place in order[:size]] == shuffled[:size]
    assert sorted(order) == list(range(6))
    assert order[size:] == sorted(order[size:])


@pytest.mark.parametrize(
    ("query", "suggested"),
    [
        ("cordles dril", "cordless drill"),
        ("Cordless DRILL", None),
        ("zzz", None),
        ("18v dril!", "18v drill!"),
        ("", None),
    ],
)
def test_a_suggestion_has_words_of_titles(query, suggested):
    """Words that no title has are replaced by similar ones of titles; without any, there is no suggestion."""
    assert suggest_query(query, ["Cordless Drill 18V", "Drill bits"]) == suggested


@pytest.mark.parametrize("title", ["x" * 1000, "half \ud800 a pair", ["two", "values"], None, 7])
def test_every_title_can_be_sent(title):
    """Titles are strings that UTF-8 can encode, of limited length, whatever the index has in the field."""
    hit = {"_id": "1", "_score": 1.0, "_source": {} if title is None else {"title": title}}
    (product,) = page_products([hit], "title", ("title",), None, None)
    assert len(product.title.encode("utf-8")) <= MAX_TITLE_CHARACTERS + len("…".encode())
    assert (product.title == "") == (title is None)
