"""Laws of a query's size, on a shop whose broad queries have many best products."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.tokenizer import build_vocabulary

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.trainer.query_sizes import count_answers, fit_query_sizes

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

few = settings(max_examples=20, deadline=None)
COLOURS = ("red", "blue", "green", "black")
THINGS = ("teapot", "kettle", "mug", "lamp")
TITLES = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]


def judged(text):
    """A query judged on all titles: 1 for those that hold all of its words."""
    return JudgedQuery(
        text,
        tuple(range(len(TITLES))),
        tuple(float(set(text.split()) <= set(title.split())) for title in TITLES),
    )


SHOP = TrainingShop("tiny", TITLES, [judged(text) for text in (*THINGS, *TITLES[:12])])


@pytest.fixture
def ranker():
    """An untrained model that knows the shop's trigrams."""
    torch.manual_seed(0)
    vocabulary = build_vocabulary(TITLES, 200, 10, least=1)
    return AnthemRanker(vocabulary, Anthem(ModelShape(len(vocabulary), dimension=8, grid=4))).eval()


@torch.no_grad()
def size(ranker, text):
    """Size of a query, the weighted mean of its limits."""
    asked = ranker.network.query(*ranker.query_ids([text]))
    return float((asked.weights * asked.limits.mean(-1)).sum())


def test_a_query_with_more_best_products_is_larger(ranker):
    """After the fit every general query is larger than each narrower one that holds it, also one never seen."""
    fit_query_sizes(ranker, [SHOP])
    for thing in THINGS:
        for colour in COLOURS:
            assert size(ranker, thing) > size(ranker, f"{colour} {thing}"), f"{colour} {thing}"


def test_nothing_but_the_extents_moves(ranker):
    """The fit changes one table; fitted twice it is the same."""
    before = copy.deepcopy(ranker.network.state_dict())
    fit_query_sizes(ranker, [SHOP])
    after = copy.deepcopy(ranker.network.state_dict())
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"query.extent.weight"}
    fit_query_sizes(ranker, [SHOP])
    torch.testing.assert_close(ranker.network.query.extent.weight, after["query.extent.weight"], atol=1e-4, rtol=1e-3)


def test_a_catalogue_alone_tells_which_words_are_general(ranker):
    """Without judgments a query is the larger, the more titles hold all of its words."""
    fit_query_sizes(ranker, [TrainingShop("alone", TITLES * 40, [])])
    for title in TITLES:
        assert size(ranker, title.split()[1]) > size(ranker, title), title


@pytest.mark.parametrize("titles", [[], ["", "!?"]])
def test_nothing_said_stretches_nothing(ranker, titles):
    """Without judgments and without words all extents are 0."""
    fit_query_sizes(ranker, [TrainingShop("silent", titles, [])])
    assert (ranker.network.query.extent.weight == 0).all()


@few
@given(st.lists(st.sampled_from([*TITLES, "mug", "", "red red mug"]), min_size=1))
def test_numbers_of_titles_are_counted(titles):
    """A pseudo-query is answered by exactly the titles that hold all of its words, one at least."""
    for asked in count_answers(TrainingShop("any", titles, [])):
        for text, number in zip(asked.texts, asked.numbers, strict=True):
            assert number == sum(set(text.split()) <= set(title.split()) for title in titles) >= 1


def test_people_say_more_than_words_do():
    """Pseudo-queries weigh little beside judged ones, and in full where nobody judged."""
    people, held = count_answers(SHOP)
    (alone,) = count_answers(replace(SHOP, judged=[]))
    assert held.texts == alone.texts
    assert held.weight < people.weight == alone.weight == 1


def test_shops_are_centred(ranker):
    """A shop in which everything is answered equally often moves nothing, however often that is."""
    fit_query_sizes(ranker, [TrainingShop("even", THINGS[:1] * 3, [judged(thing) for thing in THINGS])])
    assert ranker.network.query.extent.weight.abs().max() < 1e-6
