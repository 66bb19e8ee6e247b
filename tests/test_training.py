"""The training of ANTHEM, on twenty products."""

import random
import subprocess
import sys
from dataclasses import replace

import pytest
from training_dataset import build_dataset

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import UNKNOWN_GAIN
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.data.training_shop import split_dataset
from anthem_model.nn.byte_tables import encode_table
from anthem_model.trainer.schedule import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, _build_samplers, build_ranker, train_anthem
from anthem_model.trainer.validation import build_pools, validate_ranker

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

MIXTURE = BatchMixture(judged_queries=6, pseudo_queries=2, candidates=8, hard_negatives=3, random_negatives=1)
PLAN = TrainingPlan(
    schedule=TrainingSchedule(steps=24, learning_rate=1e-2, validation_interval=12),
    mixture=MIXTURE,
    dimension=8,
    known_trigrams=200,
    hash_buckets=40,
)


@pytest.fixture(scope="module")
def split():
    """The dataset, split into training and validation."""
    return split_dataset("tiny", build_dataset(), random.Random(0))


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def trained(request, split):
    """A model trained for a few steps, in either geometry, and its plan."""
    plan = replace(PLAN, geometry=request.param)
    return train_anthem([split], plan), plan


def build_untrained_ranker(split, **changes):
    """A ranker with random parameters."""
    torch.manual_seed(0)
    queries = [query.text for query in split.train.judged_queries]
    return build_ranker(split.train.titles, queries, replace(PLAN, **changes))


def are_equal(left, right):
    """Whether two state dictionaries are equal, bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_products_that_may_match_have_an_unknown_gain(split):
    """Among the titles of a batch, those that are not candidates have gain 0, or unknown if they contain all words."""
    ranker, batch = build_untrained_ranker(split), ListSampler(split.train, MIXTURE).batch(0)
    gains, judged = ranker._batch_gains(batch)
    assert torch.equal(gains.gather(1, batch.candidates), batch.gains)
    assert torch.equal(judged.gather(1, batch.candidates), batch.judged)
    assert judged.sum() == batch.judged.sum()
    for row, query in enumerate(batch.queries):
        for column, title in enumerate(batch.titles):
            if column not in batch.candidates[row]:
                may_match = set(query.split()) <= set(title.split())
                assert gains[row, column] == (UNKNOWN_GAIN if may_match else 0)


@pytest.mark.parametrize("hyperboloids", [1, 2])
@pytest.mark.parametrize("geometry", ["lorentz", "euclid"])
def test_every_parameter_has_a_gradient(split, geometry, hyperboloids):
    """The loss gives every parameter a finite gradient and, once no layer is zero, nearly all a non-zero one.

    Exceptions are the bias of the intersections' share and, with one hyperboloid, the gate, because only differences of
    shares and of gates matter. Extents are not trained.
    """
    ranker = build_untrained_ranker(split, geometry=geometry, hyperboloids=hyperboloids)
    batch = ListSampler(split.train, MIXTURE).batch(0)
    without = {"network.query.share.bias"}
    without |= {"network.query.gate.weight", "network.query.gate.bias"} if hyperboloids == 1 else set()
    for parameter in ranker.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    ranker.loss(batch).backward()
    trained = {name: parameter for name, parameter in ranker.named_parameters() if parameter.requires_grad}
    assert set(dict(ranker.named_parameters())) - set(trained) == {"network.query.extent.weight"}
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or name in without, name


def test_training_lowers_the_loss(trained, split):
    """After training, the loss of a batch is lower than before."""
    result, plan = trained
    batch = ListSampler(split.train, MIXTURE, 99).batch(0)
    rankers = (build_untrained_ranker(split, geometry=plan.geometry).eval(), result.ranker)
    with torch.no_grad():
        before, after = (float(ranker.loss(batch)) for ranker in rankers)
    assert after < 0.9 * before


def test_entities_stay_in_their_space(trained):
    """After Riemannian steps all entities are in their space and within the radius bound."""
    network = trained[0].ranker.network
    points, space = network.entities.points.detach(), network.shape.space
    torch.testing.assert_close(space.expmap0(space.logmap0(points)), points, atol=1e-4, rtol=1e-4)
    assert (space.logmap0(points).norm(dim=-1) <= network.shape.radius * (1 + 1e-3)).all()


def test_the_same_seed_gives_the_same_model(trained, split):
    """A second training with the same seed gives identical weights and quality; another seed gives other weights."""
    result, plan = trained
    again, other = train_anthem([split], plan), train_anthem([split], replace(plan, seed=1))
    assert are_equal(again.ranker.state_dict(), result.ranker.state_dict())
    assert again.quality == result.quality
    assert not torch.equal(other.ranker.network.entities.points, result.ranker.network.entities.points)


def test_a_trained_model_is_validated_and_rounded(trained, split):
    """The model is in inference mode and rounded, and validating it again gives the reported quality."""
    result, _ = trained
    assert not result.ranker.training
    ndcg = validate_ranker(result.ranker, split.validation, build_pools(split.validation))
    assert result.quality == {"tiny": pytest.approx(ndcg, abs=0.02)}  # measured before rounding
    assert result.steps in (12, 24)
    table = result.ranker.network.grid.tangents.weight
    assert torch.equal(table, encode_table(table).decode())


def test_initial_salience_is_inverse_document_frequency(split):
    """In the grid, a trigram of fewer titles has a higher salience; in the encoders all have the salience 0."""
    ranker = build_untrained_ranker(split)
    frequent, rare = (ranker.vocabulary.id(trigram) for trigram in ("ack", "hit"))
    black, white = (sum(colour in title for title in split.train.titles) for colour in ("black", "white"))
    assert black != white
    if black < white:
        frequent, rare = rare, frequent
    salience = ranker.network.grid.salience.weight
    assert (salience[rare] > salience[frequent]).all()
    assert not ranker.network.entities.salience.weight.any()


def test_shops_are_drawn_by_their_shares(split):
    """A shop with share 2 has two samplers with different seeds, one with share 1 has one."""
    other = replace(split.train, name="other")
    samplers = _build_samplers([split.train, other], replace(PLAN, shares=(2, 1)))
    assert [sampler.shop.name for sampler in samplers] == ["tiny", "tiny", "other"]
    assert len({sampler.seed for sampler in samplers}) == 3


def test_judged_queries_are_not_repeated_too_often(split):
    """Over all steps a judged query occurs little more often than the plan allows; pseudo-queries fill the batch."""
    plan = replace(PLAN, schedule=TrainingSchedule(steps=1000), max_passes=30)
    (sampler,) = _build_samplers([split.train], plan)
    assert sampler.mixture.judged_queries * 1000 <= 30 * len(split.train.judged_queries) + 1000
    batch_size = sampler.mixture.judged_queries + sampler.mixture.pseudo_queries
    assert batch_size == MIXTURE.judged_queries + MIXTURE.pseudo_queries


def test_training_without_judgments():
    """Without judgments there is no validation, and the model is that of the last step."""
    split = split_dataset("unjudged", build_dataset(judged=False), random.Random(0))
    assert split.train.judged_queries == split.validation.judged_queries == []
    result = train_anthem([split], replace(PLAN, schedule=TrainingSchedule(steps=3, validation_interval=2)))
    assert result.steps == 3
    assert result.quality == {}


def test_training_leaves_global_state_unchanged(split):
    """After training, torch has the same number of threads and the same random state as before."""
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    plan = replace(PLAN, schedule=TrainingSchedule(steps=1), threads=threads + 1)
    train_anthem([split], plan)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_importing_changes_no_warning_filters():
    """Importing the package hides geoopt's warnings without leaving a filter behind."""
    code = (
        "import scipy.sparse, torch, warnings;"  # scipy adds a filter, too
        "warnings.simplefilter('error'); before = list(warnings.filters);"
        "import anthem_model.trainer.training; assert warnings.filters == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
