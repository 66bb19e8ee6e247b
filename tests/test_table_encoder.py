"""The torch twin of the attention score: it equals numpy's, and the exact grid if every id has a row of its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anthem_core.encoding import attention
from anthem_core.encoding.attention import (
    QUERY_OUTPUTS,
    TABLE_INPUTS,
    TABLE_OUTPUTS,
    AttentionScorer,
    build_attention_table,
    weigh_entities,
)
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.encoding.tokenizer import unpack_ids
from anthem_sandbox.catalogue import generate_catalogue

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.geometry import euclid, lorentz
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem
from anthem_model.nn.table_encoder import MAX_WEIGHT, SAMPLE_STEP, TableEncoder, TableOutputs, score_table

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

IDS, D, PLACES, NEIGHBOURS = 50, 4, 12, 4
text_ids = st.lists(st.integers(1, IDS - 1), min_size=1, max_size=8)
title_batches = st.lists(st.lists(st.integers(1, IDS - 1), max_size=8), min_size=1, max_size=5)
few_examples = settings(max_examples=25)

MANY_DIGITS = 9  # of a table's entries, more than float32 has
ROUNDING = 3 * 0.5 * 10 ** (1 - attention.SIGNIFICANT_DIGITS)  # relative, of a score: three rounded factors


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def grid(request):
    """A tiny grid without zero weights."""
    torch.manual_seed(0)
    shape = ModelShape(IDS, dimension=D, grid=D, places=PLACES, neighbours=NEIGHBOURS, geometry=request.param)
    grid = Anthem(shape).grid.eval()
    for parameter in grid.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return grid


def with_neighbours(grid, neighbours):
    """Table encoder of the same grid with another number of neighbours."""
    shape, encoder = replace(grid.shape, neighbours=neighbours), TableEncoder(grid)
    copied = Anthem(shape).grid.eval()
    copied.load_state_dict(grid.state_dict())
    encoder.grid = copied
    return encoder


def pad(rows):
    """Ids and mask of rows, padded to the longest one."""
    width = max(1, *map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.int64)
    mask = torch.tensor([[column < len(row) for column in range(width)] for row in rows], dtype=torch.bool)
    return ids, mask


def score_in_numpy(outputs, titles, digits=attention.SIGNIFICANT_DIGITS):
    """Scores of titles, lists of ids, from the outputs of a table's graph as arrays by name."""
    ids = np.array([number for title in titles for number in title], np.int64)
    lengths = np.array([len(title) for title in titles], np.int64)
    weights = weigh_entities(ids, lengths, outputs["id_logits"], outputs["place_logits"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SIGNIFICANT_DIGITS", digits)
        table = build_attention_table({name: outputs[name] for name in QUERY_OUTPUTS})
    return table.score(TitleEntities(ids, weights, lengths))


def has_undecided_weight(outputs, titles):
    """Whether a weight of these titles is so near a half that exp's last digit decides to which byte it is rounded."""
    for title in filter(None, titles):
        logits = outputs["id_logits"][title].astype(float) + outputs["place_logits"][: len(title)]
        shares = MAX_WEIGHT * np.exp(logits - logits.max())
        if (np.abs(shares % 1 - 0.5) < 1e-4).any():
            return True
    return False


@few_examples
@given(query=text_ids, titles=title_batches)
@torch.inference_mode()
def test_torch_scores_as_numpy_does(grid, query, titles):
    """From the same table and ids, torch and numpy compute the same scores to 1e-5, NaN without entities.

    Rounding the entries as they travel to the cluster changes a score by at most three roundings.
    """
    table = TableEncoder(grid)(*pad([query]))
    outputs = {name: value.numpy() for name, value in table._asdict().items()}
    assume(not has_undecided_weight(outputs, titles))
    expected = score_table(table, *pad(titles)).numpy()
    np.testing.assert_allclose(score_in_numpy(outputs, titles, MANY_DIGITS), expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(score_in_numpy(outputs, titles), expected, atol=1e-5, rtol=ROUNDING)


def test_torch_scores_the_shipped_table_as_numpy_does(bundle):
    """With the graph of the bundle that ships, real queries and titles, both compute the same scores to 1e-5."""
    scorer, catalogue, vocabulary = AttentionScorer(bundle), generate_catalogue(seed=3), bundle.vocabulary
    titles = ["", "Kühlschrank weiß", "?!", *[product.title for product in catalogue.products.values()][::50]]
    ids = [vocabulary.title_ids(title) for title in titles]
    for query in list(catalogue.queries.values())[::100]:
        packed = unpack_ids([vocabulary.packed_ids(query, vocabulary.query_limit)])
        table = scorer._graph.run(TABLE_OUTPUTS, dict(zip(TABLE_INPUTS, packed, strict=True)))
        outputs = dict(zip(TABLE_OUTPUTS, table, strict=True))
        decided = np.array([not has_undecided_weight(outputs, [row]) for row in ids])
        assert decided.mean() > 0.9
        expected = score_table(TableOutputs(*map(torch.as_tensor, table)), *pad(ids)).numpy()[decided]
        exact = score_in_numpy(outputs, ids, MANY_DIGITS)[decided]
        np.testing.assert_allclose(exact, expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(scorer.score_titles(query, titles)[decided], expected, atol=1e-5, rtol=ROUNDING)


@few_examples
@given(query=text_ids, titles=title_batches.filter(all))
@torch.inference_mode()
def test_with_every_id_as_neighbour_the_table_is_the_grid(grid, query, titles):
    """The score is the grid's but for the rounding of weights to bytes, which moves the coverage by a known bound."""
    table = with_neighbours(grid, IDS)(*pad([query]))
    exact, _ = grid(*pad([query]), *pad(titles))
    difference = (score_table(table, *pad(titles)) - exact).abs()
    spread = table.explained.max() - table.explained.min()
    bound = torch.tensor([spread * len(title) * 0.5 / MAX_WEIGHT for title in titles])
    assert (difference <= bound + 2e-5).all()


@few_examples
@given(query=text_ids, titles=title_batches.filter(all))
@torch.inference_mode()
def test_with_equal_title_attention_too_the_table_is_exactly_the_grid(grid, query, titles):
    """If all trigrams of a title weigh the same, all bytes are 255, and table and grid agree to rounding."""
    uniform = with_neighbours(grid, IDS)
    for weights in (uniform.grid.cover.weight, uniform.grid.place.weight, uniform.grid.salience.weight[:, 1:]):
        weights.zero_()
    exact, _ = uniform.grid(*pad([query]), *pad(titles))
    torch.testing.assert_close(score_table(uniform(*pad([query])), *pad(titles)), exact, atol=2e-5, rtol=1e-5)


@few_examples
@given(query=text_ids)
@torch.inference_mode()
def test_the_default_is_the_mean_of_a_sample(grid, query):
    """Relative to its neighbours, a default is the mean entry of every sixteenth id."""
    few, every = TableEncoder(grid)(*pad([query])), with_neighbours(grid, IDS)(*pad([query]))
    sample = torch.arange(0, IDS, SAMPLE_STEP)
    assert few.ids.shape == (len(query), NEIGHBOURS)
    for row in range(len(query)):
        entries = torch.zeros(3, IDS).scatter(
            1,
            every.ids[row].expand(3, -1),
            torch.stack([every.answered, every.answered_cells, every.explained])[:, row],
        )
        near, means = entries[:, few.ids[row]], entries[:, sample].mean(-1)
        scale = few.default_answered[row]
        for found, expected in (
            (few.answered[row] / scale, near[0] / means[0]),
            (few.answered_cells[row] / scale, near[1] / means[0]),
            (few.default_answered_cells[row] / scale, means[1] / means[0]),
            (few.explained[row], near[2]),
            (few.default_explained, means[2]),
        ):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@few_examples
@given(query=text_ids)
@torch.inference_mode()
def test_the_entries_of_a_table_have_the_size_of_its_cells(grid, query):
    """A row's entries lie above 0 with a maximum of 1, cells are never positive, and attention sums to 1."""
    table = TableEncoder(grid)(*pad([query]))
    largest = torch.maximum(table.answered.amax(-1), table.default_answered)
    torch.testing.assert_close(largest, torch.ones(len(query)))
    assert (table.answered > 0).all()
    assert (table.answered_cells <= 0).all()
    assert (table.default_answered_cells <= 0).all()
    assert (table.explained <= 0).all() or grid.share < 0
    assert float(table.attention.sum()) == pytest.approx(1, abs=1e-5)
    assert len(table.id_logits) == IDS
    assert len(table.place_logits) == PLACES


@pytest.mark.parametrize("space", [lorentz, euclid], ids=["lorentz", "euclid"])
@given(seed=st.integers(0, 999), count=st.integers(1, 30))
def test_nearest_points_are_those_of_smallest_distance(space, seed, count):
    """In both geometries the nearest points are the first by distance, in this order; at most all of them."""
    generator = torch.Generator().manual_seed(seed)
    centres, points = (
        space.expmap0(torch.randn(rows, D, generator=generator, dtype=torch.float64)) for rows in (3, 20)
    )
    distances = space.pairwise_dist(centres[None], points[None])[0]
    assert torch.equal(space.nearest(centres, points, count), distances.argsort(-1)[:, :count])
