"""Initial parameters: the regression on vectors of texts, their coordinates, and latent semantic analysis."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.initialisation.coordinates import fit_coordinates, unit_rows
from anthem_model.initialisation.initialise import initialise_from_vectors
from anthem_model.initialisation.lsa import MIN_TITLES_PER_WORD, lsa_vectors
from anthem_model.trainer.training import TrainingPlan, build_initialised_ranker, build_ranker

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

COLOURS, THINGS = ("red", "blue", "green"), ("teapot", "kettle", "mug", "lamp")
TITLES = [f"{colour} {thing} {size}" for size in ("small", "large") for colour in COLOURS for thing in THINGS]
PLAN = TrainingPlan(dimension=6, grid_dimension=4, known_trigrams=200, hash_buckets=40)
few_examples = settings(max_examples=20, deadline=None)


def build_random_ranker(geometry="lorentz"):
    """A ranker with random parameters and the vocabulary of the titles."""
    torch.manual_seed(0)
    return build_ranker(TITLES, [], replace(PLAN, geometry=geometry))


def title_directions(ranker):
    """Unit tangent vectors of the points of the titles."""
    points = ranker.eval().encode_titles(TITLES)
    return torch.nn.functional.normalize(ranker.network.shape.space.logmap0(points), dim=1).numpy()


@pytest.mark.parametrize("geometry", ["lorentz", "euclid"])
def test_titles_point_in_the_directions_of_their_vectors(geometry):
    """If the vectors have one axis per kind of thing, titles of a kind are near each other and far from the others."""
    ranker = build_random_ranker(geometry)
    vectors = np.array([[float(thing in title) for thing in THINGS] for title in TITLES], np.float32)
    initialise_from_vectors(ranker, TITLES, vectors)
    directions = title_directions(ranker)
    for kind in vectors.T > 0:
        assert (directions[kind] @ directions[kind].T).min() > 0.9
        assert np.abs(directions[kind] @ directions[~kind].T).max() < 0.5


def build_vectors(seed, count=12, width=5):
    """Random vectors with another spread along each of some rotated axes, and a common part."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    spreads = rng.uniform(0.2, 3, width)
    return ((rng.normal(size=(count, width)) * spreads) @ rotation + rng.normal(size=width)).astype(np.float32)


@few_examples
@given(st.integers(0, 2**31), st.integers(2, 20), st.integers(1, 9), st.integers(1, 9))
def test_coordinates_have_norm_1_or_0(seed, count, width, dimension):
    """Coordinates are unit rows, and zero for a vector at the mean of those that they were fitted to."""
    vectors = build_vectors(seed, count, width)
    coordinates = fit_coordinates(vectors, dimension, "letters")
    assert coordinates.identity == "letters"
    assert coordinates(vectors).shape == (count, dimension)
    np.testing.assert_allclose(np.linalg.norm(coordinates(vectors), axis=1), 1, atol=1e-4)
    assert not coordinates(coordinates.mean[None]).any()


@few_examples
@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(-10, 10))
def test_coordinates_are_centred(seed, dimension, common):
    """What all vectors share does not count: a vector added to all of them changes no coordinate."""
    vectors = build_vectors(seed, count=30)
    shifted = vectors + np.float32(common) * np.arange(1, 6, dtype=np.float32) / 5
    original, moved = (fit_coordinates(group, dimension)(group) for group in (vectors, shifted))
    np.testing.assert_allclose(original @ original.T, moved @ moved.T, atol=2e-3)


@few_examples
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_axes_are_principal_and_half_whitened(seed, dimension):
    """The first axes are the principal ones, and the spread along each is the square root of what it was."""
    vectors = build_vectors(seed, count=40)
    coordinates = fit_coordinates(vectors, dimension)
    projected = ((vectors - vectors.mean(axis=0)) @ coordinates.axes).astype(np.float64)
    deviations = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)[:dimension] / len(vectors) ** 0.5
    np.testing.assert_allclose(projected.T @ projected / len(vectors), np.diag(deviations), atol=2e-3 * deviations[0])


@few_examples
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_axes_in_which_no_vectors_differ_are_zero(seed, count):
    """N vectors differ along N − 1 axes at most; along the others a new vector has the coordinate 0."""
    vectors = build_vectors(seed, count, width=9)
    unknown = build_vectors(seed + 1, 20, width=9)
    axes = fit_coordinates(vectors, 12).axes
    assert axes.shape == (9, 12)
    assert axes[:, : count - 1].any(axis=0).all()
    assert not (unknown @ axes[:, count - 1 :]).any()


@few_examples
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_unit_rows_have_the_directions_of_the_rows(seed, factor):
    """The length of a row does not matter, and a zero row stays zero."""
    rows = np.concatenate([build_vectors(seed), np.zeros((1, 5), np.float32)])
    unit = unit_rows(rows)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), [1] * 12 + [0], atol=1e-5)
    np.testing.assert_allclose(unit_rows((factor * rows).astype(np.float32)), unit, atol=1e-5)


@pytest.mark.parametrize("texts", [[], ["", "!?"], TITLES])
def test_zero_vectors_change_nothing(texts):
    """Without texts, with texts without words, or with zero vectors only, no parameter changes."""
    ranker = build_random_ranker()
    before = {name: value.clone() for name, value in ranker.state_dict().items()}
    initialise_from_vectors(ranker, texts, np.zeros((len(texts), 3), np.float16))
    assert all(torch.equal(value, before[name]) for name, value in ranker.state_dict().items())


def test_texts_with_a_zero_vector_are_ignored():
    """Additional texts with a zero vector do not change a single bit."""
    tables = []
    for zeros in (0, 5):
        ranker = build_random_ranker()
        vectors = np.concatenate([np.eye(24, 7, dtype=np.float16) + 1, np.zeros((zeros, 7), np.float16)])
        initialise_from_vectors(ranker, [*TITLES, *TITLES[:zeros]], vectors)
        tables.append(torch.cat([ranker.network.entities.points, ranker.network.grid.tangents.weight], dim=1))
    assert torch.equal(*tables)


def test_equal_vectors_change_nothing():
    """If all texts have the same vector, it says nothing about them, and no parameter changes."""
    ranker = build_random_ranker()
    before = {name: value.clone() for name, value in ranker.state_dict().items()}
    assert initialise_from_vectors(ranker, TITLES, np.ones((len(TITLES), 3), np.float16)) is None
    assert all(torch.equal(value, before[name]) for name, value in ranker.state_dict().items())


def test_entities_in_no_text_keep_their_random_direction_in_the_grid():
    """In the grid only words and trigrams of the texts change."""
    ranker = build_random_ranker()
    before = ranker.network.grid.tangents.weight.clone()
    texts = ["red teapot", "blue kettle"]
    initialise_from_vectors(ranker, texts, np.eye(2, dtype=np.float32))
    changed = (ranker.network.grid.tangents.weight != before).any(1)
    assert set(changed.nonzero().flatten().tolist()) == {i for text in texts for i in ranker.vocabulary.title_ids(text)}


def test_the_coordinates_of_the_vectors_are_returned():
    """The map from a teacher's vectors to the dimensions of the model has the name of the teacher."""
    vectors = np.random.default_rng(0).normal(size=(len(TITLES), 9)).astype(np.float16)
    coordinates = initialise_from_vectors(build_random_ranker(), TITLES, vectors, "letters")
    assert coordinates.identity == "letters"
    assert coordinates(vectors).shape == (len(TITLES), PLAN.dimension)


def test_words_that_occur_together_are_near():
    """Words are near if they occur in the same titles and with the same other words, and otherwise far."""
    titles = ["sofa couch"] * 4 + ["sofa grey", "couch grey", "sofa legs", "couch legs"]
    titles += ["drill bit"] * 4 + ["drill steel", "bit steel", "drill set", "bit set"]
    sofa, couch, drill = lsa_vectors(titles, ["sofa", "couch", "drill"], 2)
    assert sofa @ couch > 0.9
    assert abs(sofa @ drill) < 0.1


def test_words_are_stemmed():
    """Singular and plural have the same vector; a word in too few titles has a zero vector."""
    singular, plural, rare = lsa_vectors([*TITLES, "rare mug"], ["teapot", "teapots", "rare"], 4)
    np.testing.assert_array_equal(singular, plural)
    assert singular.any()
    assert not rare.any()


def test_rare_words_weigh_more_than_common_ones():
    """A text of a common and a rare word is nearer to the rare one."""
    titles = [f"acme {title}" for title in TITLES[:20]] + TITLES[20:]
    both, common, rare = lsa_vectors(titles, ["acme lamp", "acme", "lamp"], 6)
    assert both @ rare > both @ common


@few_examples
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_lsa_vectors_have_norm_1_or_0(shuffler, size):
    """Texts have unit vectors, texts of unknown words zero vectors, whatever the order of the titles."""
    titles = shuffler.sample(TITLES, len(TITLES))
    vectors = lsa_vectors(titles, [*TITLES, "zzz", ""], size)
    assert vectors.shape == (len(TITLES) + 2, size)
    np.testing.assert_allclose(np.linalg.norm(vectors[:-2], axis=1), 1, atol=1e-4)
    assert not vectors[-2:].any()


@pytest.mark.parametrize("titles", [[], [""], ["one title"], ["same words"] * MIN_TITLES_PER_WORD, ["!!", "?"]])
def test_a_catalogue_too_small_for_lsa(titles):
    """If no two words occur together often enough, nothing fails and a ranker can be built."""
    assert lsa_vectors(titles, ["some words"], 4).shape == (1, 4)
    assert build_initialised_ranker(titles or ["x"], [], PLAN).encode_titles(["one title"]).isfinite().all()


def test_the_same_seed_gives_the_same_initial_parameters():
    """Two rankers built with the same seed are equal, bit for bit."""
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_initialised_ranker(TITLES, ["red mug"], PLAN).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
