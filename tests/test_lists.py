"""Laws of the lists that a ranker learns from."""

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_core.encoding.tokenizer import split_words
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.data.training_shop import JudgedQuery, TrainingShop

COLOURS, THINGS = ("red", "blue", "green", "black", "white"), ("teapot", "kettle", "desk lamp", "coffee mug")
TITLES = [f"{colour} {thing} {size}" for size, colour, thing in product(("small", "large"), COLOURS, THINGS)]
MIXTURE = BatchMixture(judged=4, pseudo=3, candidates=8, confused=3, random=1)
few = settings(max_examples=25)
steps = st.integers(0, 50)


def shop(count=40, judged=11):
    """Titles, and queries of which each has its own products judged with three grades."""
    names = TITLES[:count]
    grades = (1.0, 1 / 3, 0.0)
    asked = [
        JudgedQuery(
            " ".join(split_words(names[row])[:2]), tuple((row + 5 * place) % count for place in range(3)), grades
        )
        for row in range(judged)
    ]
    return TrainingShop("tiny", names, asked)


WHOLE = shop()
SAMPLER = ListSampler(WHOLE, MIXTURE, 7)


def same(left, right):
    """Whether two batches are equal."""
    tensors = ("candidates", "gains", "judged")
    return (left.queries, left.titles) == (right.queries, right.titles) and all(
        torch.equal(getattr(left, name), getattr(right, name)) for name in tensors
    )


@few
@given(steps)
def test_a_batch_is_a_function_of_seed_and_step(step):
    """A sampler made anew, asked in any order, gives the same batch; another step or seed gives another."""
    wanted = SAMPLER.lists(step)
    again = ListSampler(shop(), MIXTURE, 7)
    again.lists(step + 9)
    assert same(again.lists(step), wanted)
    assert not same(SAMPLER.lists(step + 1), wanted)
    assert not same(ListSampler(WHOLE, MIXTURE, 8).lists(step), wanted)


@pytest.mark.parametrize("judged", [1, 3, 4, 11, 12])
def test_every_judged_query_comes_before_any_comes_twice(judged):
    """After as many judged places as `n` rounds take, every judged query came `n` times."""
    sampler = ListSampler(WHOLE, BatchMixture(judged=judged, pseudo=0))
    seen = [query for step in range(11) for query in sampler.lists(step).queries]
    each = min(judged, 11)
    for turn in range(each):
        assert sorted(seen[11 * turn : 11 * (turn + 1)]) == sorted(query.text for query in WHOLE.judged)


@few
@given(steps)
def test_a_batch_has_its_shapes(step):
    """Queries of every kind, candidates each once and in range, titles each once."""
    batch = SAMPLER.lists(step)
    assert len(batch.queries) == 4 + 3
    for name in ("candidates", "gains", "judged"):
        assert getattr(batch, name).shape == (7, 8)
    assert len(set(batch.titles)) == len(batch.titles)
    assert set(batch.candidates.flatten().tolist()) == set(range(len(batch.titles)))
    assert all(len(set(row)) == 8 for row in batch.candidates.tolist())


@few
@given(steps)
def test_gains_are_shares(step):
    """Gains lie in [0, 1]."""
    gains = SAMPLER.lists(step).gains
    assert ((gains >= 0) & (gains <= 1)).all()


@few
@given(steps)
def test_judged_pairs_have_their_own_gains(step):
    """Each judged pair has the gain that somebody gave it, each unjudged one of a judged query 0."""
    batch = SAMPLER.lists(step)
    for number, text in enumerate(batch.queries[:4]):
        query = next(one for one in WHOLE.judged if one.text == text)
        gains = dict(zip((WHOLE.titles[row] for row in query.rows), query.gains, strict=True))
        shown = [batch.titles[row] for row in batch.candidates[number]]
        assert [title in gains for title in shown] == batch.judged[number].tolist()
        assert batch.judged[number].sum() == 3
        torch.testing.assert_close(batch.gains[number], torch.tensor([gains.get(title, 0.0) for title in shown]))


@few
@given(steps)
def test_pseudo_queries_know_what_holds_their_words(step):
    """A pseudo-query has a product of its own, relevant; what is relevant and what is not both count as judged."""
    batch = SAMPLER.lists(step)
    assert (batch.gains[4:].amax(1) == 1).all()
    assert (batch.judged[4:] | (batch.gains[4:] == 0)).all()


def test_confused_products_are_lexical_and_unjudged():
    """What a query is confused with shares a word with it, and nobody judged it."""
    for query, rows in zip(WHOLE.judged, WHOLE.confused, strict=True):
        assert rows
        assert not set(rows) & set(query.rows)
        assert all(set(split_words(query.text)) & WHOLE.words[row] for row in rows)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_shop_smaller_than_a_list(count):
    """Where there are fewer titles than places every list has all of them, once."""
    small = shop(count, judged=min(count, 2))
    batch = ListSampler(small, MIXTURE, 0).lists(0)
    assert batch.titles == sorted(batch.titles, key=TITLES.index) == small.titles
    assert all(sorted(row) == list(range(count)) for row in batch.candidates.tolist())


def test_a_shop_without_judgments():
    """A catalogue alone gives pseudo-queries, and no row is judged by a person."""
    batch = ListSampler(shop(judged=0), MIXTURE).lists(3)
    assert len(batch.queries) == 3
    assert (batch.gains.amax(1) == 1).all()


def test_titles_without_words():
    """Titles of signs alone are drawn as well, not an error."""
    batch = ListSampler(TrainingShop("signs", ["!!", "?", ""], []), MIXTURE).lists(0)
    assert batch.candidates.shape == (3, 3)


def test_a_broad_query_shows_every_grade():
    """Of a hundred judged products those of a rare grade are drawn as often as those of a common one."""
    titles = [f"lamp {number}" for number in range(100)]
    broad = JudgedQuery("lamp", tuple(range(100)), (0.0, *[1.0] * 98, 0.5))
    sampler = ListSampler(TrainingShop("broad", titles, [broad]), BatchMixture(judged=1, pseudo=0))
    batches = [sampler.lists(step) for step in range(40)]
    drawn = torch.cat([batch.gains[batch.judged] for batch in batches])
    assert all((drawn == gain).sum() >= 30 for gain in (0.0, 0.5, 1.0))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_limited_mixture_is_as_large(judged, pseudo, limit):
    """A limit on judged queries is kept, takes no more than it must, and pseudo-queries take their places."""
    found = BatchMixture(judged=judged, pseudo=pseudo).limited(limit)
    assert found.judged == min(judged, limit)
    assert found.judged + found.pseudo == judged + pseudo


def test_chance_from_outside_changes_nothing():
    """A batch leaves the process's own random numbers alone, and does not depend on them."""
    random.seed(1)
    before = random.getstate()
    first = SAMPLER.lists(2)
    assert random.getstate() == before
    random.seed(2)
    torch.manual_seed(2)
    assert same(SAMPLER.lists(2), first)


def test_a_judged_product_that_chance_draws_keeps_its_gain():
    """Of more judged products than a list takes, one that only chance draws is still known for what it is."""
    titles = [f"teapot number{row}" for row in range(40)]
    shop = TrainingShop("broad", titles, [JudgedQuery("teapot", tuple(range(30)), (1.0,) * 30)])
    sampler = ListSampler(shop, BatchMixture(judged=1, pseudo=0, candidates=16, confused=2, random=8))
    for step in range(20):
        batch = sampler.lists(step)
        for place, gain, known in zip(batch.candidates[0], batch.gains[0], batch.judged[0], strict=True):
            row = titles.index(batch.titles[place])
            assert (float(gain), bool(known)) == ((1.0, True) if row < 30 else (0.0, False))
