"""Laws of where a training starts: least squares, principal axes, and words that stand together."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.data import pseudo_queries
from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.initialisation.initialise import initialise_from_vectors, principal_coordinates
from anthem_model.initialisation.lsa import MIN_TITLES_PER_WORD, lsa_vectors
from anthem_model.trainer.training import TrainingPlan, build_initialised_ranker, build_ranker

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

COLOURS, THINGS = ("red", "blue", "green"), ("teapot", "kettle", "mug", "lamp")
TITLES = [f"{colour} {thing} {size}" for size in ("small", "large") for colour in COLOURS for thing in THINGS]
PLAN = TrainingPlan(dimension=6, grid=4, known=200, buckets=40)
few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def ranker(geometry="lorentz"):
    """A ranker with the titles' trigrams at random places."""
    torch.manual_seed(0)
    return build_ranker(TITLES, [], TrainingPlan(**{**vars(PLAN), "geometry": geometry}))


def directions(found, texts):
    """Unit tangent directions of the points of titles."""
    points = found.eval().points(texts)
    return torch.nn.functional.normalize(found.network.shape.space.log0(points), dim=1).numpy()


@pytest.mark.parametrize("geometry", ["lorentz", "euclid"])
def test_titles_point_where_the_reader_says(geometry):
    """A reader that gives each thing an axis of its own is followed to within a few degrees, in either geometry."""
    found = ranker(geometry)
    wanted = np.array([[float(thing in title) for thing in THINGS] for title in TITLES], np.float32)
    initialise_from_vectors(found, TITLES, wanted)
    shown = directions(found, TITLES)
    for kind in wanted.T > 0:
        assert (shown[kind] @ shown[kind].T).min() > 0.9
        assert np.abs(shown[kind] @ shown[~kind].T).max() < 0.5


@few
@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_principal_axes_keep_all_that_fits(seed, width, dimension):
    """Coordinates have length 1, and with enough axes the cosines of the vectors themselves."""
    vectors = np.random.default_rng(seed).normal(size=(12, width)).astype(np.float32)
    found = principal_coordinates(vectors, dimension)
    assert found.shape == (12, dimension)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    if dimension >= width:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-4)


def test_principal_axes_are_the_widest():
    """One axis of many is the one along which the vectors differ most."""
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * np.array([0.1, 9, 1], np.float32)
    (found,) = principal_coordinates(vectors, 1).T
    assert abs(np.sign(vectors[:, 1]) @ np.sign(found)) == 50


@pytest.mark.parametrize("texts", [[], ["", "!?"], TITLES])
def test_nothing_moves_where_nothing_is_said(texts):
    """Without texts, with empty ones, or with vectors of zeros alone, every parameter stays where it was."""
    found = ranker()
    before = {name: value.clone() for name, value in found.state_dict().items()}
    initialise_from_vectors(found, texts, np.zeros((len(texts), 3), np.float16))
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())


def test_texts_without_a_vector_change_nothing():
    """Texts whose vector is zero are left out: the start is the same bit for bit without them."""
    tables = []
    for more in (0, 5):
        found = ranker()
        vectors = np.concatenate([np.eye(24, 7, dtype=np.float16) + 1, np.zeros((more, 7), np.float16)])
        initialise_from_vectors(found, [*TITLES, *TITLES[:more]], vectors)
        tables.append(torch.cat([found.network.entities.points, found.network.grid.tangents.weight], dim=1))
    assert torch.equal(*tables)


def test_a_trigram_that_nobody_read_keeps_its_chance_direction():
    """In the grid only trigrams of the texts are turned."""
    found = ranker()
    before = found.network.grid.tangents.weight.clone()
    initialise_from_vectors(found, TITLES[:1], np.ones((1, 3), np.float32))
    moved = (found.network.grid.tangents.weight != before).any(1)
    assert set(moved.nonzero().flatten().tolist()) == set(found.vocabulary.title_ids(TITLES[0]))


def test_words_that_stand_together_are_near():
    """Texts that share no word are near when other titles hold words of both, and far when none does."""
    titles = ["sofa couch"] * 4 + ["sofa grey", "couch grey", "sofa legs", "couch legs"]
    titles += ["drill bit"] * 4 + ["drill steel", "bit steel", "drill set", "bit set"]
    sofa, couch, drill = lsa_vectors(titles, ["sofa", "couch", "drill"], 2)
    assert sofa @ couch > 0.9
    assert abs(sofa @ drill) < 0.1


def test_forms_of_a_word_are_one_word():
    """Singular and plural have the same direction, and a word in fewer titles than it takes has none."""
    one, many, rare = lsa_vectors([*TITLES, "rare mug"], ["teapot", "teapots", "rare"], 4)
    np.testing.assert_array_equal(one, many)
    assert one.any()
    assert not rare.any()


def test_rare_words_count_more_than_common_ones():
    """Where one word stands in every title and the other in few, a text of both points nearer to the rare one."""
    titles = [f"acme {title}" for title in TITLES[:20]] + TITLES[20:]
    both, common, rare = lsa_vectors(titles, ["acme lamp", "acme", "lamp"], 6)
    assert both @ rare > both @ common


@few
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_latent_directions_have_length_1_or_0(shuffler, size):
    """Texts have unit vectors, those of unknown words zeros, whatever order the titles come in."""
    titles = shuffler.sample(TITLES, len(TITLES))
    found = lsa_vectors(titles, [*TITLES, "zzz", ""], size)
    assert found.shape == (len(TITLES) + 2, size)
    np.testing.assert_allclose(np.linalg.norm(found[:-2], axis=1), 1, atol=1e-4)
    assert not found[-2:].any()


@pytest.mark.parametrize("titles", [[], [""], ["one title"], ["same words"] * MIN_TITLES_PER_WORD, ["!!", "?"]])
def test_a_catalogue_too_small_says_nothing(titles):
    """Where no words can stand together nothing fails, and a ranker starts all the same."""
    assert lsa_vectors(titles, ["some words"], 4).shape == (1, 4)
    assert build_initialised_ranker(titles or ["x"], [], PLAN).points(["one title"]).isfinite().all()


def test_the_same_texts_give_the_same_start():
    """Two starts of one seed are equal bit for bit."""
    first, second = (_started().state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def _started():
    torch.manual_seed(3)
    return build_initialised_ranker(TITLES, ["red mug"], PLAN)


@few
@given(seeds, st.integers(0, 300))
def test_pseudo_queries_are_words_of_titles(seed, count):
    """As many as asked for, at most four a title, each of one title's words."""
    found = sample_pseudo_queries(TITLES, random.Random(seed), count)
    assert len(found) == min(count, 4 * len(TITLES))
    held = [set(title.split()) for title in TITLES]
    assert all(any(set(text.split()) <= words for words in held) for text in found)


def test_a_reader_is_asked_for_no_more_texts_than_it_can_read(monkeypatch):
    """Titles, pseudo-queries and queries where they are few; some of these, each once, where they are many."""
    every = pseudo_queries.initialisation_texts(TITLES, ["red mug"], random.Random(0), 5)
    assert every[: len(TITLES)] == TITLES
    assert every[len(TITLES) + 5 :] == ["red mug"]
    monkeypatch.setattr(pseudo_queries, "MOST", 7)
    some = pseudo_queries.initialisation_texts(TITLES, ["red mug"], random.Random(0), 5)
    assert len(some) == 7
    assert not Counter(some) - Counter(every)
    chances = [
        pseudo_queries.initialisation_texts(TITLES, ["red mug"] * 20, random.Random(seed), 5) for seed in range(5)
    ]
    assert all("red mug" in texts for texts in chances)
