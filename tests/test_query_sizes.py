"""Query sizes, on a shop whose general queries match more products than the specific ones."""

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

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

few_examples = settings(max_examples=20, deadline=None)
COLOURS = ("red", "blue", "green", "black")
THINGS = ("teapot", "kettle", "mug", "lamp")
TITLES = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]


def judge_all(text):
    """A query with a judgment of every title: gain 1 if the title contains all words, otherwise 0."""
    gains = tuple(float(set(text.split()) <= set(title.split())) for title in TITLES)
    return JudgedQuery(text, tuple(range(len(TITLES))), gains)


SHOP = TrainingShop("tiny", TITLES, [judge_all(text) for text in (*THINGS, *TITLES[:12])])


@pytest.fixture
def ranker():
    """An untrained model with the vocabulary of the titles."""
    torch.manual_seed(0)
    vocabulary = build_vocabulary(TITLES, 200, 10, min_count=1)
    return AnthemRanker(vocabulary, Anthem(ModelShape(len(vocabulary), dimension=8, grid=4))).eval()


@torch.no_grad()
def query_size(ranker, text):
    """Size of a query, the weighted mean of its limits."""
    encoded = ranker.network.query(*ranker.query_ids([text]))
    return float((encoded.weights * encoded.limits.mean(-1)).sum())


def test_a_query_with_more_matching_products_is_larger(ranker):
    """Every general query is larger than each specific one that contains it, even one not in the fit."""
    fit_query_sizes(ranker, [SHOP])
    for thing in THINGS:
        for colour in COLOURS:
            assert query_size(ranker, thing) > query_size(ranker, f"{colour} {thing}"), f"{colour} {thing}"


def test_only_the_extents_change(ranker):
    """The fit changes one table, and a second fit gives the same values."""
    before = copy.deepcopy(ranker.network.state_dict())
    fit_query_sizes(ranker, [SHOP])
    after = copy.deepcopy(ranker.network.state_dict())
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"query.extent.weight"}
    fit_query_sizes(ranker, [SHOP])
    torch.testing.assert_close(ranker.network.query.extent.weight, after["query.extent.weight"], atol=1e-4, rtol=1e-3)


def test_sizes_without_judgments(ranker):
    """Without judgments, a query that more titles match is larger."""
    fit_query_sizes(ranker, [TrainingShop("unjudged", TITLES * 40, [])])
    for title in TITLES:
        assert query_size(ranker, title.split()[1]) > query_size(ranker, title), title


@pytest.mark.parametrize("titles", [[], ["", "!?"]])
def test_extents_are_0_without_queries(ranker, titles):
    """Without judgments and without words, all extents are 0."""
    fit_query_sizes(ranker, [TrainingShop("empty", titles, [])])
    assert (ranker.network.query.extent.weight == 0).all()


@few_examples
@given(st.lists(st.sampled_from([*TITLES, "mug", "", "red red mug"]), min_size=1))
def test_matching_titles_are_counted(titles):
    """The count of a pseudo-query is the number of titles that contain all its words, at least one."""
    for group in count_answers(TrainingShop("any", titles, [])):
        for text, count in zip(group.texts, group.counts, strict=True):
            assert count == sum(set(text.split()) <= set(title.split()) for title in titles) >= 1


def test_judged_queries_weigh_more_than_pseudo_queries():
    """Pseudo-queries have a small weight if there are judged queries, otherwise full weight."""
    judged, pseudo = count_answers(SHOP)
    (unjudged,) = count_answers(replace(SHOP, judged_queries=[]))
    assert pseudo.texts == unjudged.texts
    assert pseudo.weight < judged.weight == unjudged.weight == 1


def test_counts_are_centred_per_shop(ranker):
    """A shop in which all queries match equally many products changes nothing, however many these are."""
    fit_query_sizes(ranker, [TrainingShop("even", THINGS[:1] * 3, [judge_all(thing) for thing in THINGS])])
    assert ranker.network.query.extent.weight.abs().max() < 1e-6
