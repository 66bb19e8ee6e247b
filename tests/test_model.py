"""Laws of the torch model in both geometries, of made-up queries, and of the checkpoint, on a tiny seeded model."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import DataError
from anthem_core.fusion import FusionWeights

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from anthem_model.data.pseudo_queries import add_typing_errors, misspell, sample_pseudo_query
from anthem_model.geometry import euclid, lorentz
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem, QueryEncoder

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

IDS, D, K = 50, 8, 2
rows = st.lists(st.lists(st.integers(1, IDS - 1), min_size=1, max_size=9), min_size=1, max_size=4)
few = settings(max_examples=25)


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def model(request):
    """A tiny model with random weights, salience too."""
    torch.manual_seed(0)
    model = Anthem(ModelShape(ids=IDS, dimension=D, grid=D, hyperboloids=K, places=20, geometry=request.param)).eval()
    torch.nn.init.normal_(model.entities.salience.weight)
    return model


def batch(rows, width=None):
    """Rows of ids as tensors, padded to a width."""
    width = width or max(len(row) for row in rows)
    ids, mask = torch.zeros(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = True
    return ids, mask


@few
@given(rows=rows, more=st.integers(1, 7))
@torch.inference_mode()
def test_padding_changes_nothing(model, rows, more):
    """Zeros after the text change neither hyperboloids nor points, nor does what the padding holds."""
    width = max(len(row) for row in rows)
    ids, mask = batch(rows, width + more)
    noisy = torch.where(mask, ids, 7)
    for padded in (ids, noisy):
        short, long = model.query(*batch(rows)), model.query(padded, mask)
        for name in ("centres", "limits", "weights"):
            torch.testing.assert_close(getattr(short, name), getattr(long, name), atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(short.entities, long.entities[:, :width], atol=1e-5, rtol=0)
        torch.testing.assert_close(
            model.product(*batch(rows)).points, model.product(padded, mask).points, atol=2e-5, rtol=1e-5
        )


@torch.inference_mode()
def test_an_empty_text_gives_finite_numbers(model):
    """A text whose mask is empty, alone or in company, gives finite numbers and no attention."""
    ids, mask = batch([[], [3, 4]])
    query, product = model.query(ids, mask), model.product(ids, mask)
    for value in (*query, *product):
        assert torch.isfinite(value).all()
    assert query.entities[0].abs().sum() == query.intersections[0].abs().sum() == product.attention[0].sum() == 0


@few
@given(rows=rows)
@torch.inference_mode()
def test_attention_sums_to_1(model, rows):
    """Attention over entities and intersections sums to 1, over a title's trigrams too, and padding gets none."""
    ids, mask = batch(rows, 10)
    query, product = model.query(ids, mask), model.product(ids, mask)
    ones = torch.ones(len(rows))
    torch.testing.assert_close(query.entities.sum(-1) + query.intersections.sum((-1, -2)), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(query.weights.sum(-1), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(product.attention.sum(-1), ones, atol=1e-5, rtol=0)
    assert (query.entities[~mask] == 0).all()
    assert (query.intersections.tril() == 0).all()


@few
@given(rows=rows)
@torch.inference_mode()
def test_geometry_is_kept(model, rows):
    """Centres and points lie in their space, on the sheet or at 1, within the radius, and limits are positive."""
    query, product = model.query(*batch(rows)), model.product(*batch(rows))
    space = model.shape.space
    for points in (query.centres, product.points):
        again = space.exp0(space.log0(points))
        assert ((again - points).abs() <= 1e-5 * points[..., :1]).all()
        assert (space.log0(points).norm(dim=-1) <= model.shape.radius * (1 + 1e-5)).all()
    assert (query.limits > 0).all()


@pytest.mark.parametrize("space", [lorentz, euclid], ids=["lorentz", "euclid"])
@few
@given(seed=st.integers(0, 2**31), length=st.integers(1, 6))
def test_uniting_equals_the_naive_construction(space, seed, length):
    """The centroid is that of entities and of all T x T intersection centres, built one by one."""
    rng = torch.Generator().manual_seed(seed)
    centres = space.exp0(torch.randn(length, D, generator=rng, dtype=torch.float64))
    share = torch.randn(length, generator=rng, dtype=torch.float64)
    weights = torch.rand(K, length + length * length, generator=rng, dtype=torch.float64)
    entities, pairs = weights[:, :length], weights[:, length:].view(K, length, length).triu(1)
    naive = entities @ centres
    for i in range(length):
        for j in range(i + 1, length):
            a = torch.sigmoid(share[i] - share[j])
            centre = space.midpoint(a * centres[i] + (1 - a) * centres[j])
            naive = naive + pairs[:, i, j, None] * centre
    found = QueryEncoder._unite_centres(centres[None], share[None, :, None], entities[None], pairs[None], space)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[0], space.midpoint(naive), atol=1e-10, rtol=1e-10)


@few
@given(rows=rows)
@torch.inference_mode()
def test_company_changes_nothing(model, rows):
    """A text has the hyperboloids and the point that it has alone."""
    query, product = model.query(*batch(rows)), model.product(*batch(rows))
    for number, row in enumerate(rows):
        alone = model.query(*batch([row]))
        for name in ("centres", "limits", "weights"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(query, name)[number], atol=2e-5, rtol=1e-5)
        point = model.product(*batch([row])).points[0]
        torch.testing.assert_close(point, product.points[number], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_settling_brings_entities_back(model):
    """Entities that a step carried off, out or to nowhere near, are back in their space within the radius."""
    torch.manual_seed(0)
    moved = Anthem(model.shape)
    moved.entities.points.mul_(torch.linspace(0.5, 20, IDS)[:, None])
    moved.entities.settle()
    points, space = moved.entities.points, model.shape.space
    torch.testing.assert_close(space.exp0(space.log0(points)), points.detach(), atol=1e-4, rtol=1e-4)
    assert (space.log0(points).norm(dim=-1) <= model.shape.radius * (1 + 1e-4)).all()


@torch.no_grad()
def test_rounding_twice_is_rounding_once(model):
    """What is rounded to float16 stays as it is, and is hardly another model than before."""
    torch.manual_seed(0)
    rounded = Anthem(model.shape)
    before = {name: value.clone() for name, value in rounded.state_dict().items()}
    rounded.round()
    once = {name: value.clone() for name, value in rounded.state_dict().items()}
    rounded.round()
    for name, value in rounded.state_dict().items():
        torch.testing.assert_close(value, once[name], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(value, before[name], atol=2e-3, rtol=2e-3)


VOCABULARY = Vocabulary(("#re", "red"), buckets=IDS - 3, title_limit=20)
TITLES = ["red teapot", "", "a long title about a blue kettle", "red", "!?"]


def test_served_is_what_is_trained(model):
    """Logits of a pair are its served attention and a share of its distance, each by its scale, or the one alone."""
    ranker = AnthemRanker(VOCABULARY, model).eval()
    found = ranker.signals("red kettle", TITLES, ranker.points(TITLES))
    assert [len(values) for values in found] == [len(TITLES)] * 3
    attention = (model.grid.log_scale.exp() * found.attention).detach()
    containment = -(model.log_scale.exp() * found.distance).detach()
    both = attention + model.share.detach() * containment
    for only, wanted in ((None, both), ("attention", attention), ("containment", containment)):
        ranker.only = only
        torch.testing.assert_close(ranker.rank("red kettle", TITLES), wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("parts", [1, 4, 99])
def test_parts_do_not_change_the_points(model, parts):
    """Titles encoded in parts of like length are those encoded one by one, in their order."""
    ranker = AnthemRanker(VOCABULARY, model).eval()
    alone = torch.cat([ranker.points([title]) for title in TITLES])
    torch.testing.assert_close(ranker._points(TITLES, parts).detach(), alone, atol=2e-5, rtol=1e-5)


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=9), st.integers(0, 999))
def test_pseudo_queries_consist_of_the_titles_words(words, seed):
    """One to five words of the title, none more often than it stands there, in the same way for the same seed."""
    found = sample_pseudo_query(words, random.Random(seed))
    assert 1 <= len(found) <= 5
    assert all(found.count(word) <= words.count(word) for word in found)
    assert found == sample_pseudo_query(words, random.Random(seed))


@given(st.text(max_size=12), st.integers(0, 999))
def test_a_slip_is_one_letter(word, seed):
    """A slip changes the length by at most 1, keeps the first letter, and leaves short words alone."""
    found = misspell(word, random.Random(seed))
    assert abs(len(found) - len(word)) <= 1
    assert found[:1] == word[:1]
    if len(word) < 4:
        assert found == word


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=5), st.integers(0, 999))
def test_typing_keeps_the_words(words, seed):
    """What is typed has as many words or one less, and is as long as before but for one slip and one space."""
    found = add_typing_errors(list(words), random.Random(seed))
    assert len(words) - 1 <= len(found.split()) <= len(words)
    assert abs(len(found) - len(" ".join(words))) <= 2


def test_a_checkpoint_survives_its_file(model, tmp_path):
    """Load undoes save: the same weights, vocabulary, calibration and notes, ready for inference."""
    path = tmp_path / "model.pt"
    calibration = Calibration(
        0.25, FusionWeights(1.0, 2.0, 3.0, 4.0, 5.0), FusionWeights(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -7.0)
    )
    vocabulary = Vocabulary(("#re", "red", "आपक"), IDS - 4, query_limit=9, title_limit=17)
    save_checkpoint(Checkpoint(model, vocabulary, calibration, ["shop"], {"ndcg": 0.5}), path)
    found = load_checkpoint(path)
    assert replace(found, model=model) == Checkpoint(model, vocabulary, calibration, ["shop"], {"ndcg": 0.5})
    assert found.model.shape == model.shape
    assert not found.model.training
    state = model.state_dict()
    assert found.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in found.model.state_dict().items())


def cut(path):
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no checkpoint"),
        lambda path: torch.save({"weights": torch.zeros(3)}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"anthem_checkpoint": 99}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"shape": {"ids": 7}}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"fusion": {}}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"attentive": {"bias": 0.0}}, path),
    ],
    ids=["cut", "empty", "text", "foreign", "list", "newer", "shape", "fusion", "attentive"],
)
def test_a_damaged_checkpoint_is_refused(model, tmp_path, damage):
    """Whatever is no whole checkpoint of this format is a DataError that names file and cure."""
    path = tmp_path / "model.pt"
    vocabulary = Vocabulary(("#re",), IDS - 2)
    fusion = FusionWeights(0.0, 1.0, 1.0, 1.0, 1.0)
    save_checkpoint(Checkpoint(model, vocabulary, Calibration(0.0, fusion, fusion)), path)
    damage(path)
    with pytest.raises(DataError, match=r"(?s)model\.pt is no whole checkpoint of format 3 .*anthem train"):
        load_checkpoint(path)


def test_a_missing_checkpoint_is_refused(tmp_path):
    """No file is a DataError that says how to get one."""
    with pytest.raises(DataError, match=r"No checkpoint at .*anthem train"):
        load_checkpoint(tmp_path / "none.pt")
