"""The attention grid, and the two geometries in which it measures distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.geometry import euclid, lorentz
from anthem_model.geometry.lorentz import DIST_SMOOTHING
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

IDS, D, PLACES = 50, 4, 12
text_ids = st.lists(st.integers(1, IDS - 1), min_size=1, max_size=8)
batches_of_ids = st.lists(text_ids, min_size=1, max_size=4)
few_examples = settings(max_examples=25)
both_geometries = pytest.mark.parametrize("space", [lorentz, euclid], ids=["lorentz", "euclid"])


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def grid(request):
    """A tiny grid without zero weights."""
    torch.manual_seed(0)
    shape = ModelShape(IDS, dimension=D, grid=D, places=PLACES, geometry=request.param)
    grid = Anthem(shape).grid.eval()
    for parameter in grid.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return grid


def pad(rows, extra=0, fill=0):
    """Ids and mask of rows, padded with `fill` to the longest row and `extra` columns more."""
    width = max(map(len, rows)) + extra
    ids = torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.int64)
    mask = torch.tensor([[column < len(row) for column in range(width)] for row in rows], dtype=torch.bool)
    return ids, mask


def assert_close(left, right):
    """Compare with a tolerance for rounding."""
    torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-5)


@few_examples
@given(query=text_ids, titles=batches_of_ids, extra=st.integers(1, 4), fill=st.integers(0, IDS - 1))
@torch.inference_mode()
def test_padding_changes_nothing(grid, query, titles, extra, fill):
    """Masked ids after a query or a title change no score, and their cells in the explanation grid are 0."""
    scores, grids = grid(*pad([query]), *pad(titles))
    for query_extra, title_extra in ((extra, 0), (0, extra), (extra, extra)):
        padded_scores, padded_grids = grid(*pad([query], query_extra, fill), *pad(titles, title_extra, fill))
        assert_close(padded_scores, scores)
        assert_close(padded_grids[:, : grids.shape[1], : grids.shape[2]], grids)
        assert padded_grids[:, grids.shape[1] :].abs().sum() == padded_grids[:, :, grids.shape[2] :].abs().sum() == 0


@few_examples
@given(query=text_ids, titles=batches_of_ids)
@torch.inference_mode()
def test_a_title_scores_the_same_in_any_batch(grid, query, titles):
    """A title has the same score and explanation grid in a batch as alone."""
    scores, grids = grid(*pad([query]), *pad(titles))
    for number, title in enumerate(titles):
        single_score, single_grid = grid(*pad([query]), *pad([title]))
        assert_close(single_score[0], scores[number])
        assert_close(single_grid[0], grids[number, :, : len(title)])


@few_examples
@given(queries=batches_of_ids, titles=batches_of_ids, seed=st.integers(0, 99))
@torch.inference_mode()
def test_candidate_logits_are_scaled_scores(grid, queries, titles, seed):
    """The logits of training are the scores of serving times `exp(log_scale)`."""
    generator = torch.Generator().manual_seed(seed)
    candidates = torch.randint(len(titles), (len(queries), 3), generator=generator)
    logits = grid.candidate_logits(grid.encode_query(*pad(queries)), grid.encode_titles(*pad(titles)), candidates)
    for number, query in enumerate(queries):
        scores, _ = grid(*pad([query]), *pad(titles))
        assert_close(logits[number], grid.log_scale.exp() * scores[candidates[number]])


@few_examples
@given(query=text_ids, titles=batches_of_ids)
@torch.inference_mode()
def test_an_explanation_grid_distributes_attention(grid, query, titles):
    """Cells are ≤ 0; an explanation grid is ≥ 0 and sums to at most 1, without the closeness factor to exactly 1."""
    query_side, title_side = grid.encode_query(*pad([query], 2)), grid.encode_titles(*pad(titles))
    cells = grid.cells(query_side, title_side.points.flatten(0, 1)[None])
    cells = cells.view(1, -1, *title_side.answer_logits.shape).transpose(1, 2)
    assert (cells <= 0).all()
    _, grids = grid.score_cells(query_side, title_side.answer_logits[None], title_side.coverage_logits[None], cells)
    assert (grids >= 0).all()
    assert (grids.sum((-1, -2)) <= 1 + 1e-5).all()
    weights = grids / cells.exp()
    assert_close(weights.sum((-1, -2)), torch.ones(1, len(titles)))
    query_attention = torch.softmax(query_side.attention_logits, -1)
    assert_close(weights.sum(-1)[0], query_attention.expand(len(titles), -1))


@torch.inference_mode()
def test_a_text_without_trigrams_has_finite_scores(grid):
    """An empty title or query has finite scores, alone and in a batch."""
    for query in ([], [3, 4]):
        for titles in ([[]], [[], [5, 6]]):
            for value in grid(*pad([query], 1), *pad(titles, 1)):
                assert torch.isfinite(value).all()


@torch.inference_mode()
def test_a_trigram_is_nearest_to_itself(grid):
    """Without context, a query trigram's nearest cell is the same trigram in the title."""
    untrained = Anthem(grid.shape).grid.eval()
    torch.nn.init.zeros_(untrained.context.mix.weight)
    ids = torch.arange(1, 9)[None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    cells = untrained.cells(untrained.encode_query(ids, mask), untrained.encode_titles(ids, mask).points)[0]
    assert (cells.argmax(-1) == torch.arange(8)).all()


def random_points(space, count, seed):
    """Random points of a space, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return space.expmap0(torch.randn(count, D, generator=generator, dtype=torch.float64))


@both_geometries
@given(seed=st.integers(0, 999))
def test_logmap0_inverts_expmap0(space, seed):
    """The vector of the point of a vector is the vector."""
    vectors = space.logmap0(random_points(space, 3, seed))
    torch.testing.assert_close(space.logmap0(space.expmap0(vectors)), vectors)


@given(seed=st.integers(0, 999))
def test_euclid_pairwise_logmap_is_the_difference(seed):
    """In flat space the logarithmic map is the difference, for every pair."""
    centres, points = random_points(euclid, 6, seed).view(2, 3, -1), random_points(euclid, 5, seed + 1)
    vectors = euclid.pairwise_logmap(centres, points)
    for b, n, k in np.ndindex(2, 5, 3):
        torch.testing.assert_close(vectors[b, n, k], points[n, 1:] - centres[b, k, 1:])


@given(seed=st.integers(0, 999))
def test_euclid_midpoint_is_the_weighted_mean(seed):
    """The centroid of a weighted sum is `Σ w·x / Σ w`, whatever the sum of the weights."""
    points = random_points(euclid, 4, seed)
    weights = torch.rand(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    mean = (weights[:, None] * points[:, 1:]).sum(0) / weights.sum()
    torch.testing.assert_close(euclid.logmap0(euclid.midpoint(weights @ points)), mean)
    torch.testing.assert_close(euclid.midpoint(weights @ points)[0], torch.ones((), dtype=torch.float64))


@given(seed=st.integers(0, 999))
def test_euclid_pairwise_dist_is_the_smoothed_distance(seed):
    """All pairs have the distance `sqrt(|c − x|² + 2ε)`."""
    centres = random_points(euclid, 6, seed).view(2, 3, -1)
    points = random_points(euclid, 8, seed + 1).view(2, 4, -1)
    distances = torch.sqrt((centres[:, :, None, 1:] - points[:, None, :, 1:]).square().sum(-1) + 2 * DIST_SMOOTHING)
    torch.testing.assert_close(euclid.pairwise_dist(centres, points), distances)


@given(seed=st.integers(0, 999))
def test_lorentz_pairwise_dist_is_the_smoothed_distance(seed):
    """All pairs have the distance `arccosh(−<c,x> + ε)`, which is at least the geodesic distance."""
    centres = random_points(lorentz, 6, seed).view(2, 3, -1)
    points = random_points(lorentz, 8, seed + 1).view(2, 4, -1)
    product = -lorentz.inner(centres[:, :, None], points[:, None])
    distances = lorentz.pairwise_dist(centres, points)
    torch.testing.assert_close(distances, torch.arccosh(product + DIST_SMOOTHING))
    assert (distances >= torch.arccosh(product.clamp_min(1))).all()


@both_geometries
def test_pairwise_dist_has_a_gradient_where_points_coincide(space):
    """The distance of a point from itself has a finite gradient in float32."""
    points = space.expmap0(torch.ones(1, 3, D)).requires_grad_()
    space.pairwise_dist(points, points).sum().backward()
    assert torch.isfinite(points.grad).all()
