"""Laws of the attention grid and of the two spaces it measures distances in."""

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

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

IDS, D, PLACES = 50, 4, 12
row = st.lists(st.integers(1, IDS - 1), min_size=1, max_size=8)
some_rows = st.lists(row, min_size=1, max_size=4)
few = settings(max_examples=25)
spaces = pytest.mark.parametrize("space", [lorentz, euclid], ids=["lorentz", "euclid"])


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def grid(request):
    """A tiny grid in which no weight is zero."""
    torch.manual_seed(0)
    shape = ModelShape(IDS, dimension=D, grid=D, places=PLACES, geometry=request.param)
    grid = Anthem(shape).grid.eval()
    for parameter in grid.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return grid


def padded(rows, more=0, fill=0):
    """Rows of ids as tensors, padded to the longest and beyond with an id that the mask leaves out."""
    width = max(map(len, rows)) + more
    ids = torch.tensor([[*one, *[fill] * (width - len(one))] for one in rows], dtype=torch.int64)
    mask = torch.tensor([[place < len(one) for place in range(width)] for one in rows], dtype=torch.bool)
    return ids, mask


def close(left, right):
    """Refuse numbers that differ by more than rounding."""
    torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-5)


@few
@given(query=row, titles=some_rows, more=st.integers(1, 4), fill=st.integers(0, IDS - 1))
@torch.inference_mode()
def test_padding_changes_nothing(grid, query, titles, more, fill):
    """What follows a query or a title within its mask's zeros changes no score, and gets nothing of the grid."""
    scores, grids = grid(*padded([query]), *padded(titles))
    for asked, read in ((more, 0), (0, more), (more, more)):
        found, wide = grid(*padded([query], asked, fill), *padded(titles, read, fill))
        close(found, scores)
        close(wide[:, : grids.shape[1], : grids.shape[2]], grids)
        assert wide[:, grids.shape[1] :].abs().sum() == wide[:, :, grids.shape[2] :].abs().sum() == 0


@few
@given(query=row, titles=some_rows)
@torch.inference_mode()
def test_company_changes_no_score(grid, query, titles):
    """A title has the score and the grid that it has alone."""
    scores, grids = grid(*padded([query]), *padded(titles))
    for number, title in enumerate(titles):
        alone, shown = grid(*padded([query]), *padded([title]))
        close(alone[0], scores[number])
        close(shown[0], grids[number, :, : len(title)])


@few
@given(queries=some_rows, titles=some_rows, seed=st.integers(0, 99))
@torch.inference_mode()
def test_pairs_are_the_scores_by_their_scale(grid, queries, titles, seed):
    """What is trained, queries with candidates of their own, is what is served, `exp(log_scale)` times."""
    generator = torch.Generator().manual_seed(seed)
    candidates = torch.randint(len(titles), (len(queries), 3), generator=generator)
    found = grid.pairs(grid.ask(*padded(queries)), grid.offer(*padded(titles)), candidates)
    for number, query in enumerate(queries):
        served, _ = grid(*padded([query]), *padded(titles))
        close(found[number], grid.log_scale.exp() * served[candidates[number]])


@few
@given(query=row, titles=some_rows)
@torch.inference_mode()
def test_a_grid_shares_out_attention(grid, query, titles):
    """Cells are ≤ 0; a grid is ≥ 0, sums to 1 at most, and to 1 when each cell is taken as near as can be."""
    asked, offered = grid.ask(*padded([query], 2)), grid.offer(*padded(titles))
    cells = grid.cells(asked, offered.points.flatten(0, 1)[None])
    cells = cells.view(1, -1, *offered.seen.shape).transpose(1, 2)
    assert (cells <= 0).all()
    _, grids = grid.weigh(asked, offered.seen[None], offered.covered[None], cells)
    assert (grids >= 0).all()
    assert (grids.sum((-1, -2)) <= 1 + 1e-5).all()
    shares = grids / cells.exp()
    close(shares.sum((-1, -2)), torch.ones(1, len(titles)))
    close(shares.sum(-1)[0], torch.softmax(asked.attention, -1).expand(len(titles), -1))


@torch.inference_mode()
def test_a_text_without_trigrams_has_finite_scores(grid):
    """An empty title, or an empty query, alone or in company, is scored with numbers."""
    for query in ([], [3, 4]):
        for titles in ([[]], [[], [5, 6]]):
            for value in grid(*padded([query], 1), *padded(titles, 1)):
                assert torch.isfinite(value).all()


@torch.inference_mode()
def test_a_trigram_is_nearest_to_itself(grid):
    """Before context says otherwise the cell of a query's trigram and the same trigram in a title is the nearest."""
    shape = grid.shape
    new = Anthem(shape).grid.eval()
    torch.nn.init.zeros_(new.context.mix.weight)
    ids = torch.arange(1, 9)[None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    cells = new.cells(new.ask(ids, mask), new.offer(ids, mask).points)[0]
    assert (cells.argmax(-1) == torch.arange(8)).all()


def points(space, count, seed):
    """Some points of a space, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return space.exp0(torch.randn(count, D, generator=generator, dtype=torch.float64))


@spaces
@given(seed=st.integers(0, 999))
def test_log0_undoes_exp0(space, seed):
    """Vector to point and back is the vector."""
    vectors = space.log0(points(space, 3, seed))
    torch.testing.assert_close(space.log0(space.exp0(vectors)), vectors)


@given(seed=st.integers(0, 999))
def test_euclid_sees_differences(seed):
    """In flat space a centre sees a point at the difference of the two, pair by pair."""
    centres, others = points(euclid, 6, seed).view(2, 3, -1), points(euclid, 5, seed + 1)
    seen = euclid.pairwise_logmap(centres, others)
    for b, n, k in np.ndindex(2, 5, 3):
        torch.testing.assert_close(seen[b, n, k], others[n, 1:] - centres[b, k, 1:])


@given(seed=st.integers(0, 999))
def test_euclid_midpoint_is_the_weighted_mean(seed):
    """The centroid of a weighted sum is `Σ w·x / Σ w`, whatever the weights sum to."""
    many = points(euclid, 4, seed)
    weights = torch.rand(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    wanted = (weights[:, None] * many[:, 1:]).sum(0) / weights.sum()
    torch.testing.assert_close(euclid.logmap0(euclid.midpoint(weights @ many)), wanted)
    torch.testing.assert_close(euclid.midpoint(weights @ many)[0], torch.ones((), dtype=torch.float64))


@given(seed=st.integers(0, 999))
def test_euclid_apart_is_the_distance_kept_smooth(seed):
    """All pairs are `sqrt(|c − x|² + 2ε)` apart."""
    centres, others = points(euclid, 6, seed).view(2, 3, -1), points(euclid, 8, seed + 1).view(2, 4, -1)
    wanted = torch.sqrt((centres[:, :, None, 1:] - others[:, None, :, 1:]).square().sum(-1) + 2 * DIST_SMOOTHING)
    torch.testing.assert_close(euclid.pairwise_dist(centres, others), wanted)


@given(seed=st.integers(0, 999))
def test_lorentz_apart_is_arccosh_kept_smooth(seed):
    """All pairs are `arccosh(−<c,x> + ε)` apart, which is no less than their distance."""
    centres, others = points(lorentz, 6, seed).view(2, 3, -1), points(lorentz, 8, seed + 1).view(2, 4, -1)
    product = -lorentz.inner(centres[:, :, None], others[:, None])
    found = lorentz.pairwise_dist(centres, others)
    torch.testing.assert_close(found, torch.arccosh(product + DIST_SMOOTHING))
    assert (found >= torch.arccosh(product.clamp_min(1))).all()


@spaces
def test_apart_has_a_gradient_where_points_meet(space):
    """Of a point and itself too the distance has a finite gradient, in float32."""
    meet = space.exp0(torch.ones(1, 3, D)).requires_grad_()
    space.apart(meet, meet).sum().backward()
    assert torch.isfinite(meet.grad).all()
