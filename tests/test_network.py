"""The network in both geometries, on a tiny model with random weights."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.tokenizer import Vocabulary

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.geometry import euclid, lorentz
from anthem_model.nn.layers import ModelShape, RadialPlacement
from anthem_model.nn.network import Anthem, QueryEncoder

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

IDS, D, K = 50, 8, 2
VOCABULARY = Vocabulary(("#re", "red"), buckets=IDS - 3, title_limit=20)
TITLES = ["red teapot", "", "a long title about a blue kettle", "red", "!?"]
batches_of_ids = st.lists(st.lists(st.integers(1, IDS - 1), min_size=1, max_size=9), min_size=1, max_size=4)
few_examples = settings(max_examples=25)


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def model(request):
    """A tiny model with random weights and random salience."""
    torch.manual_seed(0)
    model = Anthem(ModelShape(ids=IDS, dimension=D, grid=D, hyperboloids=K, places=20, geometry=request.param)).eval()
    torch.nn.init.normal_(model.entities.salience.weight)
    return model


def pad(rows, width=None):
    """Ids and mask of rows, padded to a width."""
    width = width or max(len(row) for row in rows)
    ids, mask = torch.zeros(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = True
    return ids, mask


@few_examples
@given(rows=batches_of_ids, extra=st.integers(1, 7))
@torch.inference_mode()
def test_padding_changes_nothing(model, rows, extra):
    """Padding changes neither hyperboloids nor points, whatever ids it contains."""
    width = max(len(row) for row in rows)
    ids, mask = pad(rows, width + extra)
    for padded_ids in (ids, torch.where(mask, ids, 7)):
        query, padded_query = model.query(*pad(rows)), model.query(padded_ids, mask)
        for name in ("centres", "limits", "weights"):
            torch.testing.assert_close(getattr(query, name), getattr(padded_query, name), atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(query.entities, padded_query.entities[:, :width], atol=1e-5, rtol=0)
        torch.testing.assert_close(
            model.product(*pad(rows)).points, model.product(padded_ids, mask).points, atol=2e-5, rtol=1e-5
        )


@torch.inference_mode()
def test_an_empty_text_gives_finite_values(model):
    """A text without trigrams, alone or in a batch, gives finite values and no attention."""
    ids, mask = pad([[], [3, 4]])
    query, product = model.query(ids, mask), model.product(ids, mask)
    for value in (*query, *product):
        assert torch.isfinite(value).all()
    assert query.entities[0].abs().sum() == query.intersections[0].abs().sum() == product.attention[0].sum() == 0


@few_examples
@given(rows=batches_of_ids)
@torch.inference_mode()
def test_attention_sums_to_1(model, rows):
    """Attention sums to 1 over a query's entities and intersections and over a title's trigrams; padding has none."""
    ids, mask = pad(rows, 10)
    query, product = model.query(ids, mask), model.product(ids, mask)
    ones = torch.ones(len(rows))
    torch.testing.assert_close(query.entities.sum(-1) + query.intersections.sum((-1, -2)), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(query.weights.sum(-1), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(product.attention.sum(-1), ones, atol=1e-5, rtol=0)
    assert (query.entities[~mask] == 0).all()
    assert (query.intersections.tril() == 0).all()


@few_examples
@given(rows=batches_of_ids)
@torch.inference_mode()
def test_centres_and_points_are_in_their_space(model, rows):
    """Centres and points are in their space and within the radius bound, and limits are positive."""
    query, product = model.query(*pad(rows)), model.product(*pad(rows))
    space = model.shape.space
    for points in (query.centres, product.points):
        projected = space.expmap0(space.logmap0(points))
        assert ((projected - points).abs() <= 1e-5 * points[..., :1]).all()
        assert (space.logmap0(points).norm(dim=-1) <= model.shape.radius * (1 + 1e-5)).all()
    assert (query.limits > 0).all()


@pytest.mark.parametrize("space", [lorentz, euclid], ids=["lorentz", "euclid"])
@few_examples
@given(seed=st.integers(0, 2**31), length=st.integers(1, 6))
def test_united_centre_equals_the_naive_construction(space, seed, length):
    """The centroid is that of all entities and of all intersection centres, computed one by one."""
    rng = torch.Generator().manual_seed(seed)
    centres = space.expmap0(torch.randn(length, D, generator=rng, dtype=torch.float64))
    share = torch.randn(length, generator=rng, dtype=torch.float64)
    weights = torch.rand(K, length + length * length, generator=rng, dtype=torch.float64)
    entities, pairs = weights[:, :length], weights[:, length:].view(K, length, length).triu(1)
    naive = entities @ centres
    for i in range(length):
        for j in range(i + 1, length):
            a = torch.sigmoid(share[i] - share[j])
            centre = space.midpoint(a * centres[i] + (1 - a) * centres[j])
            naive = naive + pairs[:, i, j, None] * centre
    united = QueryEncoder._unite_centres(centres[None], share[None, :, None], entities[None], pairs[None], space)
    assert united.dtype == torch.float64
    torch.testing.assert_close(united[0], space.midpoint(naive), atol=1e-10, rtol=1e-10)


@few_examples
@given(rows=batches_of_ids)
@torch.inference_mode()
def test_a_text_is_encoded_the_same_in_any_batch(model, rows):
    """A text has the same hyperboloids and the same point in a batch as alone."""
    query, product = model.query(*pad(rows)), model.product(*pad(rows))
    for number, row in enumerate(rows):
        single = model.query(*pad([row]))
        for name in ("centres", "limits", "weights"):
            torch.testing.assert_close(getattr(single, name)[0], getattr(query, name)[number], atol=2e-5, rtol=1e-5)
        point = model.product(*pad([row])).points[0]
        torch.testing.assert_close(point, product.points[number], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_projection_brings_entities_back(model):
    """Entities outside the space or the radius bound are inside both after the projection."""
    torch.manual_seed(0)
    moved = Anthem(model.shape)
    moved.entities.points.mul_(torch.linspace(0.5, 20, IDS)[:, None])
    moved.entities.project()
    points, space = moved.entities.points, model.shape.space
    torch.testing.assert_close(space.expmap0(space.logmap0(points)), points.detach(), atol=1e-4, rtol=1e-4)
    assert (space.logmap0(points).norm(dim=-1) <= model.shape.radius * (1 + 1e-4)).all()


@torch.no_grad()
def test_rounding_twice_equals_rounding_once(model):
    """Rounding to bytes and float16 changes a model little, and a rounded model not at all."""
    torch.manual_seed(0)
    rounded = Anthem(model.shape)
    before = {name: value.clone() for name, value in rounded.state_dict().items()}
    rounded.round_tables()
    once = {name: value.clone() for name, value in rounded.state_dict().items()}
    rounded.round_tables()
    for name, value in rounded.state_dict().items():
        assert torch.equal(value, once[name])
        torch.testing.assert_close(value, before[name], atol=2e-2, rtol=2e-3)


@few_examples
@given(seed=st.integers(0, 2**31), factor=st.floats(0.01, 100))
def test_a_new_placement_puts_all_texts_at_the_same_radius(model, seed, factor):
    """At first a pooled vector of any length is placed in its direction, at one radius within the bound."""
    torch.manual_seed(seed)
    place, space = RadialPlacement(model.shape), model.shape.space
    vectors = torch.randn(5, D)
    placed = space.logmap0(place(factor * vectors)).detach()
    torch.testing.assert_close(placed.norm(dim=1), placed.norm(dim=1)[:1].expand(5), atol=1e-4, rtol=1e-4)
    assert 0 < placed.norm(dim=1).max() < model.shape.radius
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(placed, vectors), torch.ones(5), atol=1e-5, rtol=0)


@torch.enable_grad()
def test_a_placement_learns_from_the_length(model):
    """The radius can come to depend on the length: its weight has a gradient and, once it is set, an effect."""
    torch.manual_seed(0)
    place, space = RadialPlacement(model.shape), model.shape.space
    vectors = torch.linspace(0.1, 2, 6)[:, None] * torch.nn.functional.normalize(torch.randn(1, D), dim=1)
    space.logmap0(place(vectors)).norm(dim=1).sum().backward()
    assert place.depth.weight.grad[0, -1] > 0
    with torch.no_grad():
        place.depth.weight[0, -1] = 1.0
        radii = space.logmap0(place(vectors)).norm(dim=1)
    assert (radii.diff() > 0).all()


@pytest.mark.parametrize("geometry", ["lorentz", "euclid"])
def test_every_trigram_has_one_limit(geometry):
    """The limits of queries have a number for each id; differences between dimensions come from context alone."""
    network = Anthem(ModelShape(ids=IDS, dimension=D, grid=D, places=20, geometry=geometry))
    assert network.query.limits.weight.shape == (IDS, 1)
    with torch.no_grad():
        for parameter in network.query.limit_context.parameters():
            parameter.zero_()
        limits = network.eval().query(*pad([[3, 4], [5]])).limits
    torch.testing.assert_close(limits.amin(-1), limits.amax(-1))


def test_training_logits_are_scaled_signals(model):
    """Logits of training are the grid's scores and the served distances times their scales: both, or one of them."""
    ranker = AnthemRanker(VOCABULARY, model).eval()
    signals = ranker.compute_signals("red kettle", TITLES, ranker.encode_titles(TITLES))
    assert [len(values) for values in signals] == [len(TITLES)] * 3
    scores, _ = model.grid(*ranker.query_ids(["red kettle"]), *ranker.title_ids(TITLES))
    attention = (model.grid.log_scale.exp() * scores).detach()
    containment = -(model.log_scale.exp() * signals.distance).detach()
    both = attention + model.share.detach() * containment
    for only_signal, expected in ((None, both), ("attention", attention), ("containment", containment)):
        ranker.only_signal = only_signal
        torch.testing.assert_close(ranker.score_titles("red kettle", TITLES), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("min_chunks", [1, 4, 99])
def test_chunks_do_not_change_the_points(model, min_chunks):
    """Titles encoded in chunks of similar length have the points that they have alone, in their order."""
    ranker = AnthemRanker(VOCABULARY, model).eval()
    single_points = torch.cat([ranker.encode_titles([title]) for title in TITLES])
    points = ranker._encode_titles(TITLES, min_chunks).detach()
    torch.testing.assert_close(points, single_points, atol=2e-5, rtol=1e-5)
