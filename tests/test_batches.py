"""The batches of lists that a ranker is trained on."""

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
MIXTURE = BatchMixture(judged_queries=4, pseudo_queries=3, candidates=8, hard_negatives=3, random_negatives=1)
few_examples = settings(max_examples=25)
steps = st.integers(0, 50)


def build_shop(count=40, judged=11):
    """A shop of `count` titles with `judged` queries, each with three judged products of different grades."""
    titles = TITLES[:count]
    gains = (1.0, 1 / 3, 0.0)
    queries = [
        JudgedQuery(" ".join(split_words(titles[row])[:2]), tuple((row + 5 * n) % count for n in range(3)), gains)
        for row in range(judged)
    ]
    return TrainingShop("tiny", titles, queries)


SHOP = build_shop()
SAMPLER = ListSampler(SHOP, MIXTURE, 7)


def are_equal(left, right):
    """Whether two batches are equal."""
    tensors = ("candidates", "gains", "judged")
    return (left.queries, left.titles) == (right.queries, right.titles) and all(
        torch.equal(getattr(left, name), getattr(right, name)) for name in tensors
    )


@few_examples
@given(steps)
def test_a_batch_depends_on_seed_and_step_alone(step):
    """Another sampler gives the same batch, whatever it gave before; another step or seed gives another batch."""
    batch = SAMPLER.batch(step)
    other_sampler = ListSampler(build_shop(), MIXTURE, 7)
    other_sampler.batch(step + 9)
    assert are_equal(other_sampler.batch(step), batch)
    assert not are_equal(SAMPLER.batch(step + 1), batch)
    assert not are_equal(ListSampler(SHOP, MIXTURE, 8).batch(step), batch)


@pytest.mark.parametrize("judged", [1, 3, 4, 11, 12])
def test_every_judged_query_occurs_once_before_any_occurs_twice(judged):
    """Each run of eleven judged queries contains all eleven queries."""
    sampler = ListSampler(SHOP, BatchMixture(judged_queries=judged, pseudo_queries=0))
    queries = [query for step in range(11) for query in sampler.batch(step).queries]
    for epoch in range(min(judged, 11)):
        assert sorted(queries[11 * epoch : 11 * (epoch + 1)]) == sorted(query.text for query in SHOP.judged_queries)


@few_examples
@given(steps)
def test_shapes_of_a_batch(step):
    """A batch has queries of both kinds, distinct titles, and distinct candidates among them for every query."""
    batch = SAMPLER.batch(step)
    assert len(batch.queries) == 4 + 3
    for name in ("candidates", "gains", "judged"):
        assert getattr(batch, name).shape == (7, 8)
    assert len(set(batch.titles)) == len(batch.titles)
    assert set(batch.candidates.flatten().tolist()) == set(range(len(batch.titles)))
    assert all(len(set(row)) == 8 for row in batch.candidates.tolist())


@few_examples
@given(steps)
def test_gains_are_between_0_and_1(step):
    """Gains are in [0, 1]."""
    gains = SAMPLER.batch(step).gains
    assert ((gains >= 0) & (gains <= 1)).all()


@few_examples
@given(steps)
def test_judged_pairs_have_their_gains(step):
    """Judged candidates of a judged query have their own gain, all others 0."""
    batch = SAMPLER.batch(step)
    for number, text in enumerate(batch.queries[:4]):
        query = next(query for query in SHOP.judged_queries if query.text == text)
        gains = dict(zip((SHOP.titles[row] for row in query.rows), query.gains, strict=True))
        candidates = [batch.titles[row] for row in batch.candidates[number]]
        assert [title in gains for title in candidates] == batch.judged[number].tolist()
        assert batch.judged[number].sum() == 3
        torch.testing.assert_close(batch.gains[number], torch.tensor([gains.get(title, 0.0) for title in candidates]))


@few_examples
@given(steps)
def test_pseudo_queries_have_a_relevant_product(step):
    """A pseudo-query has a relevant product, and all its relevant candidates count as judged."""
    batch = SAMPLER.batch(step)
    assert (batch.gains[4:].amax(1) == 1).all()
    assert (batch.judged[4:] | (batch.gains[4:] == 0)).all()


def test_hard_negatives_match_and_are_not_judged():
    """Hard negatives share a word with their query and are not judged for it."""
    for query, rows in zip(SHOP.judged_queries, SHOP.hard_negatives, strict=True):
        assert rows
        assert not set(rows) & set(query.rows)
        assert all(set(split_words(query.text)) & SHOP.title_words[row] for row in rows)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_shop_smaller_than_a_list(count):
    """If there are fewer titles than candidates, every list contains each title once."""
    shop = build_shop(count, judged=min(count, 2))
    batch = ListSampler(shop, MIXTURE, 0).batch(0)
    assert batch.titles == sorted(batch.titles, key=TITLES.index) == shop.titles
    assert all(sorted(row) == list(range(count)) for row in batch.candidates.tolist())


def test_a_shop_without_judgments():
    """Without judged queries, a batch contains only pseudo-queries."""
    batch = ListSampler(build_shop(judged=0), MIXTURE).batch(3)
    assert len(batch.queries) == 3
    assert (batch.gains.amax(1) == 1).all()


def test_titles_without_words():
    """Titles without letters and digits can be sampled."""
    batch = ListSampler(TrainingShop("signs", ["!!", "?", ""], []), MIXTURE).batch(0)
    assert batch.candidates.shape == (3, 3)


def test_a_broad_query_has_candidates_of_every_grade():
    """Among a hundred judged products, those with a rare grade are drawn as often as those with a common one."""
    titles = [f"lamp {number}" for number in range(100)]
    broad = JudgedQuery("lamp", tuple(range(100)), (0.0, *[1.0] * 98, 0.5))
    sampler = ListSampler(TrainingShop("broad", titles, [broad]), BatchMixture(judged_queries=1, pseudo_queries=0))
    batches = [sampler.batch(step) for step in range(40)]
    gains = torch.cat([batch.gains[batch.judged] for batch in batches])
    assert all((gains == gain).sum() >= 30 for gain in (0.0, 0.5, 1.0))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_limiting_judged_queries_keeps_the_batch_size(judged, pseudo, limit):
    """Pseudo-queries replace the judged queries above a limit."""
    limited = BatchMixture(judged_queries=judged, pseudo_queries=pseudo).limit_judged(limit)
    assert limited.judged_queries == min(judged, limit)
    assert limited.judged_queries + limited.pseudo_queries == judged + pseudo


def test_batches_are_independent_of_global_random_numbers():
    """Sampling neither changes the global random state nor depends on it."""
    random.seed(1)
    state = random.getstate()
    batch = SAMPLER.batch(2)
    assert random.getstate() == state
    random.seed(2)
    torch.manual_seed(2)
    assert are_equal(SAMPLER.batch(2), batch)


def test_a_judged_product_drawn_at_random_keeps_its_gain():
    """A judged product that is drawn as a random negative still has its gain and counts as judged."""
    titles = [f"teapot number{row}" for row in range(40)]
    shop = TrainingShop("broad", titles, [JudgedQuery("teapot", tuple(range(30)), (1.0,) * 30)])
    mixture = BatchMixture(judged_queries=1, pseudo_queries=0, candidates=16, hard_negatives=2, random_negatives=8)
    sampler = ListSampler(shop, mixture)
    for step in range(20):
        batch = sampler.batch(step)
        for place, gain, judged in zip(batch.candidates[0], batch.gains[0], batch.judged[0], strict=True):
            row = titles.index(batch.titles[place])
            assert (float(gain), bool(judged)) == ((1.0, True) if row < 30 else (0.0, False))
