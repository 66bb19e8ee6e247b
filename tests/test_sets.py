"""Laws of `|` and `&` between queries, and of OR between the phrases of a query text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.query_operators import encode_phrases, split_phrases
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import Both, Either, EncodedQuery, contained, excess, query_distance

D = 3
GAMMA = 0.2

tangent = st.lists(st.floats(-1.5, 1.5, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
limit = st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
point_sets = st.lists(tangent, min_size=1, max_size=5).map(lambda many: lorentz.expmap0(np.stack(many)))
slacks = st.floats(-0.5, 0.5)


@st.composite
def queries(draw):
    """Queries of one to three hyperboloids."""
    many = draw(st.lists(st.tuples(tangent, limit, st.floats(0.05, 1)), min_size=1, max_size=3))
    centres, limits, weights = (np.array(column) for column in zip(*many, strict=True))
    return EncodedQuery(lorentz.expmap0(centres), limits, weights / weights.sum(), np.empty(0), np.empty(0))


def joined(inner):
    """Regions of two parts, each drawn from `inner`."""
    return st.tuples(inner, inner, st.booleans()).map(
        lambda drawn: drawn[0] | drawn[1] if drawn[2] else drawn[0] & drawn[1]
    )


regions = st.recursive(queries(), joined, max_leaves=4)


def same(one, other, products):
    """Whether two regions are the same in distance, excess and size, to the last bit."""
    np.testing.assert_array_equal(query_distance(one, products, GAMMA), query_distance(other, products, GAMMA))
    np.testing.assert_array_equal(excess(one, products), excess(other, products))
    assert one.size == other.size


@given(regions, regions, point_sets)
def test_order_does_not_matter(a, b, products):
    """`a | b` is `b | a`, and `a & b` is `b & a`."""
    same(a | b, b | a, products)
    same(a & b, b & a, products)


@given(regions, regions, regions, point_sets)
def test_brackets_do_not_matter(a, b, c, products):
    """`(a | b) | c` is `a | (b | c)` and the either of all three; the same for `&`."""
    same((a | b) | c, a | (b | c), products)
    same((a | b) | c, Either((a, b, c)), products)
    same((a & b) & c, a & (b & c), products)
    same((a & b) & c, Both((a, b, c)), products)


@given(regions, regions, point_sets)
def test_saying_it_twice_changes_nothing(a, b, products):
    """`a | a` and `a & a` are `a`, and so are `a | a & b` and `a & (a | b)`."""
    for region in (a | a, a & a, a | (a & b), a & (a | b)):
        same(region, a, products)


@given(regions, regions, regions, point_sets)
def test_each_distributes_over_the_other(a, b, c, products):
    """`a & (b | c)` is `a & b | a & c`, and `a | b & c` is `(a | b) & (a | c)`."""
    same(a & (b | c), (a & b) | (a & c), products)
    same(a | (b & c), (a | b) & (a | c), products)


@given(regions, regions, point_sets, slacks)
def test_contained_means_what_it_says(a, b, products, slack):
    """Contained in `a & b` is contained in both, in `a | b` in one or both, at any slack."""
    in_a, in_b = contained(a, products, slack), contained(b, products, slack)
    np.testing.assert_array_equal(contained(a & b, products, slack), in_a & in_b)
    np.testing.assert_array_equal(contained(a | b, products, slack), in_a | in_b)


@given(regions, regions, point_sets)
def test_distance_is_that_of_the_nearer_or_the_further(a, b, products):
    """The distance to `a | b` is the smaller of the two, to `a & b` the larger."""
    far = [query_distance(region, products, GAMMA) for region in (a, b)]
    np.testing.assert_array_equal(query_distance(a | b, products, GAMMA), np.minimum(*far))
    np.testing.assert_array_equal(query_distance(a & b, products, GAMMA), np.maximum(*far))


@given(regions, regions)
def test_size_grows_with_either_and_shrinks_with_both(a, b):
    """`a & b` is no larger than `a`, and `a | b` no smaller."""
    assert (a & b).size <= a.size <= (a | b).size


@given(regions, point_sets)
def test_alternatives_are_the_region(region, products):
    """The least over alternatives of the most over their leaves is the distance and the excess of the region."""
    leaves, alternatives = region.leaves(), region.alternatives()
    assert {number for one in alternatives for number in one} == set(range(len(leaves)))
    far = np.array([leaf.distance(products, GAMMA) for leaf in leaves])
    beyond = np.array([leaf.excess(products) for leaf in leaves])
    for wanted, each in ((query_distance(region, products, GAMMA), far), (excess(region, products), beyond)):
        found = np.min([each[list(one)].max(axis=0) for one in alternatives], axis=0)
        np.testing.assert_array_equal(found, wanted)


@given(regions, point_sets, st.floats(0, 1))
def test_a_change_reaches_every_query(region, products, by):
    """Every leaf is changed and the joins stay: larger limits lower the excess by as much."""
    grown = region.each(lambda leaf: replace(leaf, limits=leaf.limits + by))
    assert grown.alternatives() == region.alternatives()
    np.testing.assert_allclose(excess(grown, products), excess(region, products) - by, atol=1e-12)


@given(queries())
def test_a_query_without_letters_is_no_region(a):
    """Joining None is refused on either side, with what to do in the message."""
    for join in (lambda: a | None, lambda: None | a, lambda: a & None, lambda: None & a):
        with pytest.raises(TypeError, match="without letters or digits"):
            join()
    with pytest.raises(TypeError, match="found str"):
        a | "kindle"


def test_real_queries_join(encoder):
    """Queries of a bundle join: no product is further from either than from one, nor nearer to both; some move."""
    fire, kindle = encoder.query("fire"), encoder.query("kindle")
    points = encoder.products(["Kindle Paperwhite 6 inch reader", "Garden hose 50 ft", "Fire HD tablet"])
    either, both = (query_distance(region, points, encoder.bundle.gamma) for region in (fire | kindle, fire & kindle))
    alone = query_distance(fire, points, encoder.bundle.gamma)
    assert (either <= alone).all()
    assert (alone <= both).all()
    assert (either < both).any()


@pytest.mark.parametrize(
    ("text", "wanted"),
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
def test_phrases(text, wanted):
    """The word OR in capitals parts phrases; inside a word, in small letters, or with nothing to join it does not."""
    assert split_phrases(text) == wanted


phrase = st.text(st.characters(codec="utf-8"), min_size=1).map(str.strip).filter(lambda text: text and "OR" not in text)


@given(st.lists(phrase, min_size=1, max_size=4))
def test_phrases_joined_come_apart_again(many):
    """Phrases without an OR in them, joined by OR, are what `phrases` finds."""
    assert split_phrases(" OR ".join(many)) == many


@given(st.text())
def test_phrases_lose_no_letters(text):
    """Taken together, phrases hold all of the text but spaces and the ORs between them."""
    kept = "".join("".join(split_phrases(text)).split())
    assert kept in ("".join(word for word in text.split() if word != "OR"), "".join(text.split()))


@pytest.mark.parametrize("text", ["fire", "fire or kindle", "fire OR", "fire OR !!", "?? OR fire"])
def test_one_phrase_is_the_query(encoder, text):
    """Where one phrase has letters the region is that phrase's own query."""
    wanted = encoder.query(text.replace("OR", "").strip(" !?"))
    np.testing.assert_array_equal(encode_phrases(encoder, text).centres, wanted.centres)


def test_or_is_either(encoder):
    """`fire OR kindle` is `fire | kindle`."""
    points = encoder.products(["Kindle Paperwhite", "Fire HD tablet", "garden hose"])
    same(encode_phrases(encoder, "fire OR kindle"), encoder.query("fire") | encoder.query("kindle"), points)


@pytest.mark.parametrize("text", ["", "!!", "!! OR ??"])
def test_no_letters_no_region(encoder, text):
    """A text without letters or digits gives None, as `Encoder.query` does."""
    assert encode_phrases(encoder, text) is None
    assert all(encoder.query(one) is None for one in split_phrases(text))
