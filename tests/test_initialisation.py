"""Initial parameters: the ridge regression, principal coordinates and latent semantic analysis."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.initialisation.initialise import initialise_from_vectors, principal_coordinates
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


@few_examples
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9))
def test_principal_coordinates_preserve_cosines(seed, width, dimension):
    """Coordinates have norm 1 and, if they have as many dimensions as the vectors, the cosines of the vectors."""
    vectors = np.random.default_rng(seed).normal(size=(12, width)).astype(np.float32)
    coordinates = principal_coordinates(vectors, dimension)
    assert coordinates.shape == (12, dimension)
    np.testing.assert_allclose(np.linalg.norm(coordinates, axis=1), 1, atol=1e-4)
    if dimension >= width:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(coordinates @ coordinates.T, unit @ unit.T, atol=1e-4)


def test_the_first_principal_axis_has_the_largest_variance():
    """A single coordinate is the one in which the vectors differ most."""
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * np.array([0.1, 9, 1], np.float32)
    (coordinate,) = principal_coordinates(vectors, 1).T
    assert abs(np.sign(vectors[:, 1]) @ np.sign(coordinate)) == 50


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


def test_trigrams_in_no_text_keep_their_random_direction_in_the_grid():
    """In the grid only trigrams of the texts change."""
    ranker = build_random_ranker()
    before = ranker.network.grid.tangents.weight.clone()
    initialise_from_vectors(ranker, TITLES[:1], np.ones((1, 3), np.float32))
    changed = (ranker.network.grid.tangents.weight != before).any(1)
    assert set(changed.nonzero().flatten().tolist()) == set(ranker.vocabulary.title_ids(TITLES[0]))


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
