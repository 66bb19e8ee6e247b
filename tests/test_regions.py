"""Regions: `|` and `&` between queries, and OR between the phrases of a query text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.query_operators import encode_phrases, split_phrases
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import Both, Either, EncodedQuery

D = 3
GAMMA = 0.2

tangent = st.lists(st.floats(-1.5, 1.5, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
limit = st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
point_sets = st.lists(tangent, min_size=1, max_size=5).map(lambda tangents: lorentz.expmap0(np.stack(tangents)))
slacks = st.floats(-0.5, 0.5)


@st.composite
def queries(draw):
    """Queries of one to three hyperboloids."""
    hyperboloids = draw(st.lists(st.tuples(tangent, limit, st.floats(0.05, 1)), min_size=1, max_size=3))
    centres, limits, weights = (np.array(column) for column in zip(*hyperboloids, strict=True))
    return EncodedQuery(lorentz.expmap0(centres), limits, weights / weights.sum(), np.empty(0), np.empty(0))


def joined(inner):
    """Regions of two parts, each drawn from `inner`."""
    return st.tuples(inner, inner, st.booleans()).map(
        lambda drawn: drawn[0] | drawn[1] if drawn[2] else drawn[0] & drawn[1]
    )


regions = st.recursive(queries(), joined, max_leaves=4)


def assert_same(one, other, products):
    """Check that two regions have the same distance, excess and size, to the last bit."""
    np.testing.assert_array_equal(one.distance(products, GAMMA), other.distance(products, GAMMA))
    np.testing.assert_array_equal(one.excess(products), other.excess(products))
    assert one.size == other.size


@given(regions, regions, point_sets)
def test_order_does_not_matter(a, b, products):
    """`a | b` is `b | a`, and `a & b` is `b & a`."""
    assert_same(a | b, b | a, products)
    assert_same(a & b, b & a, products)


@given(regions, regions, regions, point_sets)
def test_brackets_do_not_matter(a, b, c, products):
    """`(a | b) | c` is `a | (b | c)` and the union of all three; the same for `&`."""
    assert_same((a | b) | c, a | (b | c), products)
    assert_same((a | b) | c, Either((a, b, c)), products)
    assert_same((a & b) & c, a & (b & c), products)
    assert_same((a & b) & c, Both((a, b, c)), products)


@given(regions, regions, point_sets)
def test_repetition_and_absorption(a, b, products):
    """`a | a` and `a & a` are `a`, and so are `a | a & b` and `a & (a | b)`."""
    for region in (a | a, a & a, a | (a & b), a & (a | b)):
        assert_same(region, a, products)


@given(regions, regions, regions, point_sets)
def test_distributivity(a, b, c, products):
    """`a & (b | c)` is `a & b | a & c`, and `a | b & c` is `(a | b) & (a | c)`."""
    assert_same(a & (b | c), (a & b) | (a & c), products)
    assert_same(a | (b & c), (a | b) & (a | c), products)


@given(regions, regions, point_sets, slacks)
def test_containment_in_a_compound_region(a, b, products, slack):
    """`a & b` contains what both contain, `a | b` what at least one contains, at any slack."""
    in_a, in_b = a.contains(products, slack), b.contains(products, slack)
    np.testing.assert_array_equal((a & b).contains(products, slack), in_a & in_b)
    np.testing.assert_array_equal((a | b).contains(products, slack), in_a | in_b)


@given(regions, regions, point_sets)
def test_distance_to_a_compound_region(a, b, products):
    """The distance to `a | b` is the smaller of the two, to `a & b` the larger."""
    distances = [region.distance(products, GAMMA) for region in (a, b)]
    np.testing.assert_array_equal((a | b).distance(products, GAMMA), np.minimum(*distances))
    np.testing.assert_array_equal((a & b).distance(products, GAMMA), np.maximum(*distances))


@given(regions, regions)
def test_size_of_a_compound_region(a, b):
    """`a & b` is no larger than `a`, and `a | b` no smaller."""
    assert (a & b).size <= a.size <= (a | b).size


@given(regions, point_sets)
def test_alternatives_are_the_region(region, products):
    """The minimum over alternatives of the maximum within each is the distance and the excess of the region."""
    leaves, alternatives = region.queries(), region.alternatives()
    assert {number for alternative in alternatives for number in alternative} == set(range(len(leaves)))
    distances = np.array([leaf.distance(products, GAMMA) for leaf in leaves])
    excesses = np.array([leaf.excess(products) for leaf in leaves])
    for expected, values in ((region.distance(products, GAMMA), distances), (region.excess(products), excesses)):
        combined = np.min([values[list(alternative)].max(axis=0) for alternative in alternatives], axis=0)
        np.testing.assert_array_equal(combined, expected)


@given(regions, point_sets, st.floats(0, 1))
def test_map_queries_reaches_every_query(region, products, growth):
    """Every query is changed and the structure stays: larger limits reduce the excess by as much."""
    grown = region.map_queries(lambda leaf: replace(leaf, limits=leaf.limits + growth))
    assert grown.alternatives() == region.alternatives()
    np.testing.assert_allclose(grown.excess(products), region.excess(products) - growth, atol=1e-12)


@given(queries())
def test_none_cannot_be_joined(a):
    """Joining None raises TypeError on either side, with what to do in the message."""
    for join in (lambda: a | None, lambda: None | a, lambda: a & None, lambda: None & a):
        with pytest.raises(TypeError, match="without letters or digits"):
            join()
    with pytest.raises(TypeError, match="with str; expected another region"):
        a | "kindle"


def test_real_queries_join(encoder):
    """With a bundle's queries: no product is further from `a | b` than from `a`, nor nearer to `a & b`; some differ."""
    fire, kindle = encoder.encode_query("fire"), encoder.encode_query("kindle")
    points = encoder.encode_products(["Kindle Paperwhite 6 inch reader", "Garden hose 50 ft", "Fire HD tablet"])
    either, both = (region.distance(points, encoder.bundle.gamma) for region in (fire | kindle, fire & kindle))
    single = fire.distance(points, encoder.bundle.gamma)
    assert (either <= single).all()
    assert (single <= both).all()
    assert (either < both).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fire OR kindle", ["fire", "kindle"]),
        ("fire tv OR kindle OR echo dot", ["fire tv", "kindle", "echo dot"]),
        ("fire OR OR kindle", ["fire", "kindle"]),
        ("  fire\tOR\n kindle ", ["fire", "kindle"]),
        ("a OR", ["a"]),
        ("OR a", ["a"]),
        ("OR", ["OR"]),
        ("OR OR", ["OR OR"]),
        ("", []),
        ("  ", []),
        ("more or less", ["more or less"]),
        ("fire Or kindle", ["fire Or kindle"]),
        ("FOR ORDER", ["FOR ORDER"]),
        ("OR-12 AND/OR", ["OR-12 AND/OR"]),
    ],
)
def test_split_phrases(text, expected):
    """The word OR in capitals separates phrases; inside a word, in lower case, or without phrases it does not."""
    assert split_phrases(text) == expected


phrase = st.text(st.characters(codec="utf-8"), min_size=1).map(str.strip).filter(lambda text: text and "OR" not in text)


@given(st.lists(phrase, min_size=1, max_size=4))
def test_joined_phrases_are_split_again(phrases):
    """Splitting phrases that were joined by OR gives the same phrases."""
    assert split_phrases(" OR ".join(phrases)) == phrases


@given(st.text())
def test_phrases_lose_no_letters(text):
    """Together, the phrases contain the whole text except white space and the ORs between them."""
    kept = "".join("".join(split_phrases(text)).split())
    assert kept in ("".join(word for word in text.split() if word != "OR"), "".join(text.split()))


@pytest.mark.parametrize("text", ["fire", "fire or kindle", "fire OR", "fire OR !!", "?? OR fire"])
def test_one_phrase_is_the_query(encoder, text):
    """If only one phrase has letters, the region is the encoded query of that phrase."""
    expected = encoder.encode_query(text.replace("OR", "").strip(" !?"))
    np.testing.assert_array_equal(encode_phrases(encoder.encode_query, split_phrases(text)).centres, expected.centres)


def test_or_is_a_union(encoder):
    """`fire OR kindle` is `fire | kindle`."""
    points = encoder.encode_products(["Kindle Paperwhite", "Fire HD tablet", "garden hose"])
    assert_same(
        encode_phrases(encoder.encode_query, split_phrases("fire OR kindle")),
        encoder.encode_query("fire") | encoder.encode_query("kindle"),
        points,
    )


@pytest.mark.parametrize("text", ["", "!!", "!! OR ??"])
def test_a_text_without_letters_has_no_region(encoder, text):
    """A text without letters or digits gives None, as `Encoder.encode_query` does."""
    assert encode_phrases(encoder.encode_query, split_phrases(text)) is None
    assert all(encoder.encode_query(phrase) is None for phrase in split_phrases(text))
