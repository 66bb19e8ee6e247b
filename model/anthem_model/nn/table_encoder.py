"""The attention score as a table: for one query, everything but the sums over a title depends on the ids alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from anthem_model.geometry.lorentz import bounded
from anthem_model.nn.attention_grid import MASKED_LOGIT, MIN_SOFTMAX_SUM

if TYPE_CHECKING:
    from anthem_model.nn.attention_grid import AttentionGrid, QuerySide

SAMPLE_STEP = 16  # every sixteenth id is in the sample whose mean is the default
MAX_WEIGHT = 15  # of a title's entities, whose weights are stored in half a byte


class TableOutputs(NamedTuple):
    """A query's table as the exported graph returns it; for T entities, M neighbours, V ids and P places.

    `ids (T,M)` are the neighbours of each entity, and `answered`, `answered_cells` their entries in its row, `(T,M)`;
    `explained (T,M)` are their entries in the coverage sum. The three defaults, `(T,)`, `(T,)` and `()`, stand for
    every other id. `attention (T,)` weights the rows. The logits of a title's entities, by id `(V,)` and by place
    `(P,)`, do not depend on the query.
    """

    ids: Tensor
    answered: Tensor
    answered_cells: Tensor
    explained: Tensor
    default_answered: Tensor
    default_answered_cells: Tensor
    default_explained: Tensor
    attention: Tensor
    id_logits: Tensor
    place_logits: Tensor


class TableEntries(NamedTuple):
    """Entries of some ids in a query's table: `answered` and `answered_cells` `(T,N)`, `explained` `(N,)`."""

    answered: Tensor
    answered_cells: Tensor
    explained: Tensor


class TableEncoder(nn.Module):
    """Turns a query into its table, in which only the nearest ids of each entity have entries of their own.

    The score of a title with ids `v_j` and weights `w_j` is the grid's score (`AttentionGrid`) with table entries:

    `score = Σ_i a_i · Σ_j answered_cells[i,v_j] / Σ_j answered[i,v_j] + Σ_j w_j·explained[v_j] / Σ_j w_j`

    with `answered[i,v] = exp(s₀·cell_iv + look_v)`, `answered_cells = answered·cell` and
    `explained[v] = c·Σ_i q_iv·cell_iv`. All other ids have a default, the mean entry of a sample of the ids.
    """

    def __init__(self, grid: AttentionGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, query: Tensor, mask: Tensor) -> TableOutputs:
        """The table of one query, `(1,T)` int64 and bool."""
        grid = self.grid
        tangents = bounded(grid.tangents(grid.every), grid.shape.radius)
        points = grid.shape.space.expmap0(tangents)
        look = grid.look(tangents).squeeze(-1)
        side = grid.encode_query(query, mask)
        attention = torch.softmax(side.attention_logits, dim=-1)[0]
        ids = grid.shape.space.nearest(side.centres[0], points, grid.shape.neighbours)
        near = self._entries(side, attention, points[ids.flatten()], look[ids.flatten()])
        others = self._entries(side, attention, points[::SAMPLE_STEP], look[::SAMPLE_STEP])
        own = torch.arange(ids.numel(), device=ids.device).view(ids.shape)
        answered, default = near.answered.gather(1, own), others.answered.mean(-1)
        scale = torch.maximum(answered.amax(-1), default)  # a row's entries of up to 1; its scale changes no score
        return TableOutputs(
            ids,
            answered / scale.unsqueeze(-1),
            near.answered_cells.gather(1, own) / scale.unsqueeze(-1),
            near.explained.view(ids.shape),
            default / scale,
            others.answered_cells.mean(-1) / scale,
            others.explained.mean(),
            attention,
            (grid.cover(tangents) + grid.salience(grid.every)[:, 1:]).squeeze(-1),
            grid.place.weight[:, 0],
        )

    def _entries(self, side: QuerySide, attention: Tensor, points: Tensor, look: Tensor) -> TableEntries:
        """Entries of ids with points `(N,D+1)` and logits in the answer `(N,)`."""
        sharpness = self.grid.log_sharpness.exp()
        cells = self.grid.cells(side, points[None])[0]
        answered = torch.exp(sharpness[0] * cells + look)
        covered = torch.exp(sharpness[1] * cells) * attention.unsqueeze(-1)
        explained = (covered * cells).sum(0) / covered.sum(0).clamp_min(MIN_SOFTMAX_SUM)
        return TableEntries(answered, answered * cells, self.grid.share * explained)


def score_table(table: TableOutputs, titles: Tensor, mask: Tensor) -> Tensor:
    """Attention scores of titles, `(N,L)` int64 and bool to `(N,)`: the twin of `anthem_core`'s `AttentionTable.score`.

    NaN for a title without entities.
    """
    answered, answered_cells, explained = _fill_table(table)
    kept = mask.unsqueeze(0)
    answers = (answered_cells[:, titles] * kept).sum(-1) / (answered[:, titles] * kept).sum(-1)
    logits = (table.id_logits[titles] + table.place_logits[: titles.shape[1]]).masked_fill(~mask, MASKED_LOGIT)
    weights = torch.round(MAX_WEIGHT * torch.exp(logits - logits.amax(-1, keepdim=True))) * mask
    coverage = (weights * explained[titles]).sum(-1) / weights.sum(-1)
    return table.attention @ answers + coverage


def _fill_table(table: TableOutputs) -> TableEntries:
    """The table with entries for all ids: `answered` and `answered_cells` `(T,V)`, `explained` `(V,)`."""
    ids = len(table.id_logits)
    answered = table.default_answered.unsqueeze(-1).repeat(1, ids).scatter(1, table.ids, table.answered)
    cells = table.default_answered_cells.unsqueeze(-1).repeat(1, ids).scatter(1, table.ids, table.answered_cells)
    explained = table.default_explained.repeat(ids).scatter(0, table.ids.flatten(), table.explained.flatten())
    return TableEntries(answered, cells, explained)
