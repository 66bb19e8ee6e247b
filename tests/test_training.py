"""Laws of training, on a shop of twenty products."""

import math
import random

import pytest

from anthem_core.beir import Dataset, Product
from anthem_core.text import build_vocabulary

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.batches import UNKNOWN, Sampler  # noqa: E402
from anthem_model.lexical import Lexical  # noqa: E402
from anthem_model.lorentz import inner  # noqa: E402
from anthem_model.losses import encode_pool, loss  # noqa: E402
from anthem_model.network import Anthem, Shape  # noqa: E402
from anthem_model.shop import prepare  # noqa: E402
from anthem_model.training import Plan, train  # noqa: E402
from anthem_model.validation import pool_ndcg  # noqa: E402

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("teapot", "kettle", "desk lamp", "coffee mug")
PLAN = Plan(steps=40, every=20, dimension=8, known=200, buckets=40, rate=1e-2)


def dataset(judged=True):
    """Twenty products; each is a query of its own, with three products judged: itself, one of its kind, another."""
    names = [(colour, thing) for colour in COLOURS for thing in THINGS]
    products = {
        f"p{number}": Product(f"p{number}", f"{colour} {thing}") for number, (colour, thing) in enumerate(names)
    }
    queries = {f"q{number}": f"{colour} {thing}" for number, (colour, thing) in enumerate(names)}
    qrels = {
        f"q{number}": {f"p{number}": 3, f"p{(number + 4) % 20}": 1, f"p{(number + 1) % 20}": 0} for number in range(20)
    }
    return Dataset(products, queries, {"train": qrels, "test": {"q0": {"p9": 3}}} if judged else {})


@pytest.fixture(scope="module")
def shop():
    """The twenty products, prepared: a part to learn from and one to validate on."""
    return prepare("tiny", dataset(), random.Random(0))


@pytest.fixture(scope="module")
def trained(shop):
    """A model trained for forty steps."""
    return train([shop], PLAN)


@pytest.fixture(scope="module")
def sampler(shop):
    """Batches of the shop."""
    return Sampler(shop.learn, build_vocabulary(shop.learn.titles, 200, 40), random.Random(0))


def fresh(sampler):
    """An untrained model that fits a sampler's ids."""
    torch.manual_seed(0)
    return Anthem(Shape(ids=len(sampler.vocabulary), dimension=8, hyperboloids=2))


def test_preparing_keeps_train_apart_from_the_rest(shop):
    """Learning and validation share no query and no title; of `test` neither knows; gains are grades over the top."""
    assert shop.validate.judged
    assert not {query.text for query in shop.learn.judged} & {query.text for query in shop.validate.judged}
    assert not set(shop.learn.titles) & set(shop.validate.titles)
    assert len(shop.learn.titles) + len(shop.validate.titles) == 20
    assert len(shop.validate.titles) <= 4
    assert {gain for query in shop.learn.judged for gain in query.gains} == {1.0, 1 / 3, 0.0}


def test_judgments_stay_with_their_titles(shop):
    """After the cut every judgment is still of the product that was judged."""
    whole = dataset()
    for part in (shop.learn, shop.validate):
        for query in part.judged:
            wanted = {whole.products[name].title: grade for name, grade in grades_of(whole, query.text).items()}
            for row, gain in zip(query.rows, query.gains, strict=True):
                assert gain == wanted[part.titles[row]] / 3


def grades_of(whole, text):
    """Judgments of a query text in `train`."""
    return whole.qrels["train"][next(query for query, found in whole.queries.items() if found == text)]


def test_a_product_that_may_match_is_unknown(sampler):
    """A title with every word of the query that nobody judged is unknown, not irrelevant; what is judged is known."""
    batch = next(sampler.batches())
    assert batch.gains.shape == batch.judged.shape == (len(batch.queries), len(batch.products))
    assert ((batch.gains == UNKNOWN) | ((batch.gains >= 0) & (batch.gains <= 1))).all()
    assert (batch.gains[batch.judged] >= 0).all()
    assert (batch.gains[~batch.judged] <= 0).all()


def test_every_judged_query_comes_before_any_comes_twice(shop):
    """One round of batches shows every judged query once."""
    count = len(shop.learn.judged)
    vocabulary = build_vocabulary(shop.learn.titles, 200, 40)
    sampler = Sampler(shop.learn, vocabulary, random.Random(3), judged=count, queries=count, dropped=0.0)
    batch = next(sampler.batches())
    asked = {tuple(row[mask].tolist()) for row, mask in zip(batch.queries, batch.query_mask, strict=True)}
    assert asked == {tuple(sampler.vocabulary.query_ids(query.text)) for query in shop.learn.judged}


def test_every_parameter_learns(sampler):
    """One loss gives every parameter a finite gradient that is not all zero."""
    model = fresh(sampler)
    loss(model, next(sampler.batches())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@torch.inference_mode()
def test_parts_do_not_change_the_pool(sampler):
    """Products encoded in parts of like length are those encoded at once, in their order."""
    model, batch = fresh(sampler).eval(), next(sampler.batches())
    whole = model.product(batch.products, batch.product_mask).points
    for parts in (1, 4, 99):
        torch.testing.assert_close(encode_pool(model, batch, parts), whole, atol=1e-5, rtol=1e-5)


def test_training_lowers_the_loss(trained, shop):
    """Forty steps lower the loss on batches the model was not asked about, to below what it starts from."""
    sampler = Sampler(shop.learn, trained.vocabulary, random.Random(99))
    batches = [batch for batch, _ in zip(sampler.batches(), range(5), strict=False)]
    torch.manual_seed(PLAN.seed)
    start = Anthem(trained.model.shape)
    with torch.inference_mode():
        before, after = (sum(float(loss(model, batch)) for batch in batches) for model in (start, trained.model))
    assert after < 0.9 * before


def test_training_keeps_entities_on_the_sheet(trained):
    """Riemannian steps leave every entity on the hyperboloid."""
    points = trained.model.entities.points.detach()
    assert ((inner(points, points) + 1).abs() <= 1e-4 * points[..., 0] ** 2).all()
    assert (points[..., 0] >= 1).all()


def test_the_same_seed_gives_the_same_model(trained, shop):
    """Training twice from one seed gives identical weights and quality; another seed gives others."""
    again = train([shop], PLAN)
    other = train([shop], Plan(**{**vars_of(PLAN), "seed": 1}))
    state = trained.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.model.state_dict().items())
    assert again.quality == trained.quality
    assert not torch.equal(other.model.entities.points, trained.model.entities.points)


def vars_of(plan):
    """Values of a plan by name."""
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def test_what_is_trained_is_ready_and_measured(trained, shop):
    """The model returned is in inference mode, and its quality is its own, measured again."""
    assert not trained.model.training
    assert trained.quality == {"tiny": pool_ndcg(trained.model, trained.vocabulary, shop.validate)}
    assert 0 < trained.quality["tiny"] <= 1
    assert trained.steps in (20, 40)


def test_a_catalogue_alone_trains_to_the_end():
    """Without judgments there is nothing to choose by: the model is that of the last step."""
    shop = prepare("alone", dataset(judged=False), random.Random(0))
    assert shop.learn.judged == shop.validate.judged == []
    trained = train([shop], Plan(**{**vars_of(PLAN), "steps": 6, "every": 2}))
    assert trained.steps == 6
    assert trained.quality == {}


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11])
def test_any_number_of_steps_trains(shop, steps):
    """Few steps are few, not an error, and leave finite weights."""
    trained = train([shop], Plan(**{**vars_of(PLAN), "steps": steps}))
    assert trained.steps <= steps
    assert all(torch.isfinite(value).all() for value in trained.model.state_dict().values())


def test_minutes_cut_training_short(shop):
    """A budget that is used up ends training after the step it is in, with a model."""
    trained = train([shop], Plan(**{**vars_of(PLAN), "steps": 10_000, "minutes": 1e-9}))
    assert trained.steps == 1


def test_bm25_golden_score():
    """One document of two equals Lucene's formula by hand: idf * tf / (tf + k1 (1 - b + b * length / mean))."""
    scores = Lexical(["red teapots", "a blue kettle"]).scores("the teapot")
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert scores == pytest.approx([idf / (1 + 1.2), 0.0], rel=1e-4)


@pytest.mark.parametrize("query", ["", "zzz", "the of", "!?"])
def test_bm25_without_a_match_is_0(query):
    """A query none of whose words is in any text scores 0 everywhere."""
    assert Lexical(["red teapot", "blue kettle"]).scores(query) == [0.0, 0.0]
