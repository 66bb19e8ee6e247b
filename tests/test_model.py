"""Laws of the torch model, its losses, its calibration and its checkpoint, on a tiny seeded model."""

import random
from dataclasses import replace

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import nDCG

from anthem_core.errors import DataError
from anthem_core.fusion import Fusion
from anthem_core.text import Vocabulary

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model import lorentz  # noqa: E402
from anthem_model.calibration import Calibration, Candidates, calibrate, fit, quality  # noqa: E402
from anthem_model.checkpoint import Checkpoint, load, save  # noqa: E402
from anthem_model.losses import listwise  # noqa: E402
from anthem_model.network import Anthem, QueryEncoder, Shape  # noqa: E402
from anthem_model.pseudo import misspell, pseudo_query, typed  # noqa: E402
from anthem_model.shop import Judged, Shop  # noqa: E402
from anthem_model.validation import ndcg  # noqa: E402

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

IDS, D, K = 50, 8, 2
rows = st.lists(st.lists(st.integers(1, IDS - 1), min_size=1, max_size=9), min_size=1, max_size=4)
few = settings(max_examples=25)


@pytest.fixture(scope="module")
def model():
    """A tiny model with random weights, salience too."""
    torch.manual_seed(0)
    model = Anthem(Shape(ids=IDS, dimension=D, hyperboloids=K)).eval()
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
    """Centres and points lie on the sheet within the radius, and limits are positive."""
    query, product = model.query(*batch(rows)), model.product(*batch(rows))
    for points in (query.centres, product.points):
        assert ((lorentz.inner(points, points) + 1).abs() <= 1e-5 * points[..., 0] ** 2).all()
        assert (lorentz.log0(points).norm(dim=-1) <= model.shape.radius * (1 + 1e-5)).all()
    assert (query.limits > 0).all()


@few
@given(seed=st.integers(0, 2**31), length=st.integers(1, 6))
def test_uniting_equals_the_naive_construction(seed, length):
    """The centroid is that of entities and of all T x T intersection centres, built one by one."""
    rng = torch.Generator().manual_seed(seed)
    centres = lorentz.exp0(torch.randn(length, D, generator=rng, dtype=torch.float64))
    share = torch.randn(length, generator=rng, dtype=torch.float64)
    weights = torch.rand(K, length + length * length, generator=rng, dtype=torch.float64)
    entities, pairs = weights[:, :length], weights[:, length:].view(K, length, length).triu(1)
    naive = entities @ centres
    for i in range(length):
        for j in range(i + 1, length):
            a = torch.sigmoid(share[i] - share[j])
            centre = lorentz.midpoint(a * centres[i] + (1 - a) * centres[j])
            assert abs(lorentz.inner(centre, centre) + 1) < 1e-12
            naive = naive + pairs[:, i, j, None] * centre
    found = QueryEncoder._unite_centres(centres[None], share[None, :, None], entities[None], pairs[None])
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[0], lorentz.midpoint(naive), atol=1e-10, rtol=1e-10)


@few
@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_listwise_is_0_for_a_perfect_order(count, shuffler):
    """The loss vanishes as the only relevant product runs ahead, and is log N where nothing is known."""
    best = shuffler.randrange(count)
    gains = torch.zeros(1, count)
    gains[0, best] = 1
    everyone = torch.ones(1, count, dtype=torch.bool)
    assert listwise(1e4 * gains, gains, everyone) == 0
    torch.testing.assert_close(listwise(torch.zeros(1, count), gains, everyone), torch.tensor(float(count)).log())


def test_listwise_ignores_what_is_not_allowed():
    """Logit and gain of a product that is not allowed change neither loss nor gradient."""
    gains = torch.tensor([[1.0, 0.0, -1.0]])
    allowed = torch.tensor([[True, True, False]])
    logits = torch.tensor([[0.3, 0.7, 0.0]], requires_grad=True)
    value = listwise(logits, gains, allowed)
    value.backward()
    assert logits.grad[0, 2] == 0
    for odd in (-50.0, 50.0):
        other = torch.tensor([[0.3, 0.7, odd]])
        assert listwise(other, torch.tensor([[1.0, 0.0, odd]]), allowed) == value.detach()


def test_listwise_is_finite_without_gains():
    """Queries without a relevant product, without products, or with one alone, add nothing, and no NaN."""
    logits = torch.zeros(3, 2, requires_grad=True)
    gains = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    allowed = torch.tensor([[True, True], [False, False], [True, False]])
    value = listwise(logits, gains, allowed)
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def candidates(seed, count=30, scale=1.0):
    """Made-up candidates in which both signals help."""
    rng = torch.Generator().manual_seed(seed)
    gains = torch.randint(0, 2, (count,), generator=rng).float()
    lexical = (5 + 3 * gains + torch.randn(count, generator=rng)).clamp_min(0.1) * scale
    distance = (2 - gains + 0.5 * torch.randn(count, generator=rng)).clamp_min(0)
    every = torch.ones(count, dtype=torch.bool)
    return Candidates(lexical, distance, distance - 1, gains, every, every)


def test_fusion_fits_both_signals():
    """Where both signals help both get weight; weights are not negative, and the median is that of the distances."""
    group = [candidates(seed) for seed in range(8)]
    fusion = fit([group])
    assert fusion.lexical > 0
    assert fusion.containment > 0
    assert fusion.half_saturation > 0
    assert fusion.median_distance == pytest.approx(float(torch.cat([one.distance for one in group]).median()))
    assert all(np.isfinite(list(fusion.to_dict().values())))


def test_a_signal_that_misleads_gets_no_weight():
    """A distance that rises with relevance is weighed 0, never negative."""
    group = [replace(one, distance=3 - one.distance.clamp_max(3)) for one in map(candidates, range(8))]
    fusion = fit([group])
    assert fusion.containment == 0
    assert fusion.lexical > 0


def test_the_fusion_leaves_no_shop_worse_than_lexical():
    """Fitted on a shop where distance helps and one where it misleads, fused is nowhere behind lexical."""
    helps = [candidates(seed) for seed in range(8)]
    misleads = [replace(one, distance=3 - one.distance.clamp_max(3)) for one in map(candidates, range(8, 16))]
    fusion = fit([helps, misleads])
    for group in (helps, misleads):
        found = quality(group, 0.0, fusion)
        before = found["pool_lexical"] + found["window_lexical"]
        assert found["pool_fused"] + found["window_fused"] >= before - 1e-3


def test_ndcg_is_that_of_ir_measures():
    """The validation's nDCG@10 is the one ir-measures computes."""
    group = [candidates(seed) for seed in range(8)]
    pairs = [(str(q), str(p), one) for q, one in enumerate(group) for p in range(len(one.gains))]
    qrels = [ir_measures.Qrel(q, p, int(one.gains[int(p)])) for q, p, one in pairs]
    run = [ir_measures.ScoredDoc(q, p, float(one.lexical[int(p)])) for q, p, one in pairs]
    wanted = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    assert ndcg([one.gains for one in group], [one.lexical for one in group]) == pytest.approx(wanted, abs=1e-6)


def test_the_fused_logit_is_spread_around_0():
    """Scaling centres the logit on its median and widens it to a set spread; a scale keeps the order."""
    group = [candidates(seed) for seed in range(8)]
    fusion = fit([group])
    every = Candidates(
        *(
            torch.cat([getattr(one, name) for one in group])
            for name in ("lexical", "distance", "excess", "gains", "judged", "window")
        )
    )
    saturated = every.lexical / (every.lexical + fusion.half_saturation)
    logit = fusion.bias + fusion.lexical * saturated - fusion.containment * every.distance
    assert float(logit.median()) == pytest.approx(0, abs=1e-3)
    assert float(logit.std()) == pytest.approx(1.5, abs=1e-2)


TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
VOCABULARY = Vocabulary(("#re", "red"), buckets=IDS - 3)


def shop(gain=1.0):
    """A shop whose validation queries are two words of a title, each with products that match and that do not."""
    judged = [Judged(title, (row, (row + 1) % len(TITLES)), (gain, 0.0)) for row, title in enumerate(TITLES)]
    return Shop("tiny", TITLES, judged)


def test_the_slack_contains_the_share_wanted(model):
    """At the calibrated slack 93 of 100 relevant validation products are contained, and weights are not negative."""
    from anthem_model.calibration import CONTAINED

    found = calibrate(model, VOCABULARY, [shop()])
    relevant = found.quality[shop().name]["relevant_contained"]
    assert CONTAINED - 1 / len(TITLES) <= relevant <= CONTAINED + 1 / len(TITLES)
    assert min(found.fusion.lexical, found.fusion.containment) >= 0


def test_calibration_without_judgments(model):
    """A catalogue alone gives a slack of 0 and usable weights."""
    found = calibrate(model, VOCABULARY, [replace(shop(), judged=[])])
    assert found.slack == 0
    assert all(np.isfinite(list(found.fusion.to_dict().values())))


def test_calibration_without_relevant_products(model):
    """Validation queries none of whose products is relevant end in finite numbers, not in a traceback."""
    found = calibrate(model, VOCABULARY, [shop(gain=0.0)])
    assert all(np.isfinite([found.slack, *found.fusion.to_dict().values()]))


def test_calibration_without_lexical_matches(model):
    """Validation queries that share no word with any title end in finite numbers, not in NaN."""
    foreign = [replace(judged, text="zzzz") for judged in shop().judged]
    found = calibrate(model, VOCABULARY, [replace(shop(), judged=foreign)])
    assert all(np.isfinite([found.slack, *found.fusion.to_dict().values()]))


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=9), st.integers(0, 999))
def test_pseudo_queries_consist_of_the_titles_words(words, seed):
    """One to five words of the title, none more often than it stands there, in the same way for the same seed."""
    found = pseudo_query(words, random.Random(seed))
    assert 1 <= len(found) <= 5
    assert all(found.count(word) <= words.count(word) for word in found)
    assert found == pseudo_query(words, random.Random(seed))


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
    found = typed(list(words), random.Random(seed))
    assert len(words) - 1 <= len(found.split()) <= len(words)
    assert abs(len(found) - len(" ".join(words))) <= 2


def test_a_checkpoint_survives_its_file(model, tmp_path):
    """Load undoes save: the same weights, vocabulary, calibration and notes, ready for inference."""
    path = tmp_path / "model.pt"
    calibration = Calibration(0.25, Fusion(1.0, 2.0, 3.0, 4.0, 5.0))
    vocabulary = Vocabulary(("#re", "red", "आपक"), IDS - 4, query_limit=9, title_limit=17)
    save(Checkpoint(model, vocabulary, calibration, ["shop"], {"ndcg": 0.5}), path)
    found = load(path)
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
    ],
    ids=["cut", "empty", "text", "foreign", "list", "newer", "shape", "fusion"],
)
def test_a_damaged_checkpoint_is_refused(model, tmp_path, damage):
    """Whatever is no whole checkpoint of this format is a DataError that names file and cure."""
    path = tmp_path / "model.pt"
    vocabulary = Vocabulary(("#re",), IDS - 2)
    save(Checkpoint(model, vocabulary, Calibration(0.0, Fusion(0.0, 1.0, 1.0, 1.0, 1.0))), path)
    damage(path)
    with pytest.raises(DataError, match=r"(?s)model\.pt is no whole checkpoint of format 1 .*anthem train"):
        load(path)


def test_a_missing_checkpoint_is_refused(tmp_path):
    """No file is a DataError that says how to get one."""
    with pytest.raises(DataError, match=r"No checkpoint at .*anthem train"):
        load(tmp_path / "none.pt")
