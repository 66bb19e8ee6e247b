"""A model that is adapted to the titles of a shop: what a teacher moves, and what stays."""

import copy
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_dataset import build_dataset

from anthem_core.encoding.bundle import LEXICAL_CONTAINMENT
from anthem_core.fusion import FusionWeights

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint
from anthem_model.data.batches import BatchMixture
from anthem_model.data.training_shop import split_dataset
from anthem_model.initialisation.coordinates import TeacherCoordinates, unit_rows
from anthem_model.initialisation.initialise import adapt_to_vectors, align_coordinates, initialise_from_vectors
from anthem_model.nn.byte_tables import encode_table
from anthem_model.trainer.schedule import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, TrainingSources, build_ranker, prepare_ranker, train_anthem

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green", "grey") for thing in ("teapot", "mug", "lamp")]
SHOP_TITLES = [f"{title} {size}" for title in TITLES[:6] for size in ("small", "large")]
PLAN = TrainingPlan(
    schedule=TrainingSchedule(steps=6, validation_interval=3),
    mixture=BatchMixture(judged_queries=4, pseudo_queries=2, candidates=8, hard_negatives=3, random_negatives=1),
    dimension=6,
    grid_dimension=4,
    known_trigrams=200,
    known_words=50,
    hash_buckets=40,
)
WIDTH = 9
seeds = st.integers(0, 2**31)
few_examples = settings(max_examples=15)


class WordTeacher:
    """A teacher whose vectors are sums of random vectors of words; another seed is another teacher."""

    def __init__(self, seed=0):
        self.seed = seed

    @property
    def identity(self):
        """The name of the teacher."""
        return f"words {self.seed}"

    def vectors(self, texts, description):
        """Unit vectors of texts."""
        assert description
        sums = [sum(map(self.word_vector, text.split()), np.zeros(WIDTH)) for text in texts]
        return unit_rows(np.array(sums, np.float32)).astype(np.float16)

    def word_vector(self, word):
        """A random vector for a word."""
        return np.random.default_rng([self.seed, *word.encode()]).normal(size=WIDTH)


def build_base(teacher=None, geometry="lorentz"):
    """A ranker with the vocabulary of all titles, initialised from a teacher that read some, and its coordinates."""
    teacher = teacher or WordTeacher()
    torch.manual_seed(0)
    ranker = build_ranker([*TITLES, *SHOP_TITLES], [], replace(PLAN, geometry=geometry)).eval()
    coordinates = initialise_from_vectors(ranker, TITLES, teacher.vectors(TITLES, "titles"), teacher.identity)
    ranker.network.round_tables()
    return ranker, coordinates


def build_checkpoint(teacher=None):
    """The base as a checkpoint."""
    ranker, coordinates = build_base(teacher)
    calibration = Calibration(0.25, {LEXICAL_CONTAINMENT: FusionWeights(4.0, 3.0, 1.0)})
    return Checkpoint(ranker.network, ranker.vocabulary, calibration, ["titles"], coordinates=coordinates)


def entity_tangents(ranker):
    """Tangent vectors of all entities."""
    return ranker.network.shape.space.logmap0(ranker.network.entities.points.detach()).numpy()


def text_directions(ranker, texts):
    """Unit means of the tangent vectors of the entities of texts."""
    tangents = entity_tangents(ranker)
    return unit_rows(np.array([tangents[ranker.vocabulary.title_ids(text)].mean(axis=0) for text in texts]))


def adapt(ranker, texts, vectors, coordinates):
    """A copy of a ranker, adapted."""
    adapted = copy.deepcopy(ranker)
    adapt_to_vectors(adapted, texts, vectors, coordinates)
    return adapted


@few_examples
@given(seeds, st.sampled_from(["lorentz", "euclid"]))
def test_entities_in_no_text_do_not_move(seed, geometry):
    """Entities of no text stay where they are, to the byte once the tables are rounded; all others move."""
    ranker, coordinates = build_base(geometry=geometry)
    before = encode_table(torch.from_numpy(entity_tangents(ranker)))
    adapted = adapt(ranker, SHOP_TITLES, WordTeacher(seed).vectors(SHOP_TITLES, "titles"), coordinates)
    adapted.network.round_tables()
    after = encode_table(torch.from_numpy(entity_tangents(adapted)))
    same = ((before.codes == after.codes).all(dim=1) & (before.scales == after.scales).flatten()).nonzero().flatten()
    read = {number for title in SHOP_TITLES for number in ranker.vocabulary.title_ids(title)}
    assert set(same.tolist()) == set(range(len(ranker.vocabulary))) - read


@few_examples
@given(seeds, st.floats(0, 1))
def test_texts_turn_towards_the_coordinates_of_the_teacher(seed, noise):
    """On the texts that the teacher reads, the mean cosine to its coordinates does not fall, however it differs."""
    ranker, coordinates = build_base()
    known, other = (WordTeacher(number).vectors(SHOP_TITLES, "titles").astype(np.float32) for number in (0, seed))
    vectors = known + np.float32(noise) * other
    adapted = adapt(ranker, SHOP_TITLES, vectors, coordinates)
    before, after = (
        (text_directions(model, SHOP_TITLES) * coordinates(vectors)).sum(axis=1).mean() for model in (ranker, adapted)
    )
    assert after >= before - 1e-3


def test_new_words_are_learned_from_a_known_teacher():
    """After adaptation, titles with words that the model never read lie where the teacher sees them."""
    ranker, coordinates = build_base()
    vectors = WordTeacher().vectors(SHOP_TITLES, "titles")
    adapted = adapt(ranker, SHOP_TITLES, vectors, coordinates)
    before, after = (
        (text_directions(model, SHOP_TITLES) * coordinates(vectors)).sum(axis=1) for model in (ranker, adapted)
    )
    assert after.mean() > before.mean() + 0.02
    assert after.min() > before.min()


@few_examples
@given(seeds)
def test_a_models_own_predictions_change_no_direction(seed):
    """A teacher that sees every text where the model does turns none of them."""
    ranker, _ = build_base(WordTeacher(seed))
    directions = text_directions(ranker, SHOP_TITLES)
    own = TeacherCoordinates("own", np.zeros(PLAN.dimension, np.float32), np.eye(PLAN.dimension, dtype=np.float32))
    adapted = adapt(ranker, SHOP_TITLES, directions, own)
    assert (text_directions(adapted, SHOP_TITLES) * directions).sum(axis=1).min() > 0.98


@few_examples
@given(seeds)
def test_a_second_adaptation_changes_less(seed):
    """Adapted to the same texts again, entities move less than half as far as the first time."""
    ranker, coordinates = build_base()
    vectors = WordTeacher(seed).vectors(SHOP_TITLES, "titles")
    once = adapt(ranker, SHOP_TITLES, vectors, coordinates)
    twice = adapt(once, SHOP_TITLES, vectors, coordinates)
    tangents = [entity_tangents(model) for model in (ranker, once, twice)]
    first, second = (np.linalg.norm(left - right) for left, right in pairwise(tangents))
    assert second < 0.5 * first


@pytest.mark.parametrize("texts", [[], ["", "!?"], TITLES])
def test_zero_vectors_move_nothing(texts):
    """Without texts, with texts without words or with zero vectors only, no parameter changes."""
    ranker, coordinates = build_base()
    adapted = adapt(ranker, texts, np.zeros((len(texts), WIDTH), np.float32), coordinates)
    assert all(torch.equal(value, ranker.state_dict()[name]) for name, value in adapted.state_dict().items())


@few_examples
@given(seeds, st.integers(PLAN.dimension, 12))
def test_a_linear_map_to_the_directions_is_recovered(seed, width):
    """From vectors that are a linear map of the model's directions, and a common part, come these directions.

    The vectors are so long that the penalty does not count.
    """
    ranker, _ = build_base()
    rng, texts = np.random.default_rng(seed), [*TITLES, *SHOP_TITLES]
    directions = text_directions(ranker, texts)
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0][: PLAN.dimension] * rng.uniform(0.5, 2, width)
    vectors = (1000 * (directions @ axes + rng.normal(size=width))).astype(np.float32)
    coordinates = align_coordinates(ranker, texts, vectors, "mapped")
    assert coordinates.identity == "mapped"
    np.testing.assert_allclose(coordinates(vectors), directions, atol=0.02)


def test_few_texts_do_not_hide_what_another_teacher_sees():
    """Aligned on fewer texts than its vectors have dimensions, a teacher still sees a kind of thing together."""
    ranker, _ = build_base()
    rng, kinds = np.random.default_rng(0), [title.split()[1] for title in TITLES]
    seen = np.array([WordTeacher(1).word_vector(kind) for kind in kinds])
    noise = rng.normal(size=(len(TITLES), 50)) * 0.05
    vectors = unit_rows(np.concatenate([seen, noise], axis=1).astype(np.float32))
    coordinates = align_coordinates(ranker, TITLES, vectors, "other")(vectors)
    same = np.array(kinds)[:, None] == np.array(kinds)
    directions = text_directions(ranker, TITLES)
    assert (coordinates @ coordinates.T)[same].mean() > 0.9 > (directions @ directions.T)[same].mean()


def build_split(judged):
    """The dataset of twenty products, split into training and validation."""
    return split_dataset("tiny", build_dataset(judged=judged), random.Random(0))


def are_equal(left, right):
    """Whether two modules have the same parameters, bit for bit."""
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_a_shop_without_judgments_is_adapted_in_no_step():
    """A teacher alone changes only the entities: there are no steps, and the base itself is not changed."""
    base = build_checkpoint()
    trained = train_anthem([build_split(judged=False)], PLAN, TrainingSources(base, WordTeacher()))
    assert (trained.steps, trained.quality) == (0, {})
    assert trained.ranker.vocabulary == base.vocabulary
    assert are_equal(base.model, build_checkpoint().model)
    names = [
        name
        for name, value in trained.ranker.network.state_dict().items()
        if not torch.equal(value, base.model.state_dict()[name])
    ]
    assert names == ["entities.points", "query.entities.points", "product.entities.points"]
    assert are_equal(
        train_anthem([build_split(judged=False)], PLAN, TrainingSources(base, WordTeacher())).ranker, trained.ranker
    )


def test_without_a_teacher_and_judgments_the_base_is_the_result():
    """If there is nothing to learn from, the result is the base, bit for bit."""
    base = build_checkpoint()
    trained = train_anthem([build_split(judged=False)], PLAN, TrainingSources(base))
    assert are_equal(trained.ranker.network, base.model)
    assert trained.coordinates is base.coordinates


@pytest.mark.parametrize("teacher", [None, WordTeacher()], ids=["no teacher", "teacher"])
def test_judgments_train_the_base(teacher):
    """With judgments a training follows, in the shape and with the vocabulary of the base."""
    base, split = build_checkpoint(), build_split(judged=True)
    trained = train_anthem([split], replace(PLAN, dimension=33), TrainingSources(base, teacher))
    assert trained.steps in (3, 6)
    assert trained.ranker.network.shape == base.model.shape
    assert trained.ranker.vocabulary is base.vocabulary
    assert not torch.equal(trained.ranker.network.grid.tangents.weight, base.model.grid.tangents.weight)
    assert are_equal(base.model, build_checkpoint().model)


def test_the_coordinates_of_the_base_are_used_for_its_own_teacher_only():
    """A teacher that the base knows keeps its coordinates; another one gets coordinates aligned with the base."""
    base, shops = build_checkpoint(), [build_split(judged=False).train]
    _, known = prepare_ranker(shops, PLAN, TrainingSources(base, WordTeacher()))
    assert known is base.coordinates
    _, other = prepare_ranker(shops, PLAN, TrainingSources(base, WordTeacher(1)))
    assert other.identity == WordTeacher(1).identity
    _, first = prepare_ranker(shops, PLAN, TrainingSources(replace(base, coordinates=None), WordTeacher()))
    assert first.identity == WordTeacher().identity


def test_the_teacher_reads_general_texts_too():
    """Words of general texts, which no title has, are adapted as well."""
    base, shops = build_checkpoint(), [build_split(judged=False).train]
    sources = TrainingSources(base, WordTeacher(), ["large grey"])
    ranker, _ = prepare_ranker(shops, PLAN, sources)
    without, _ = prepare_ranker(shops, PLAN, replace(sources, general_texts=()))
    large = base.vocabulary.title_ids("large")[0]
    moved, kept = (entity_tangents(model)[large] for model in (ranker, without))
    np.testing.assert_allclose(
        kept, base.model.shape.space.logmap0(base.model.entities.points)[large].detach(), atol=1e-5
    )
    assert np.abs(moved - kept).max() > 1e-3
