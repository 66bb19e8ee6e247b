"""ANTHEM as a ranker: its losses over a batch of lists, and its two signals for any query and titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from anthem_core.encoding.tokenizer import pad_ids, split_words
from anthem_model.geometry.containment import excess, hyperboloid_distance, outside_part, query_distance, union_distance
from anthem_model.geometry.lorentz import norm
from anthem_model.ranker import TrainableRanker
from anthem_model.trainer.losses import boundary_loss, listwise_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_model.data.batches import ListBatch
    from anthem_model.nn.attention_grid import QuerySide, TitleSide
    from anthem_model.nn.network import Anthem

UNKNOWN_GAIN = -1.0  # gain of a pair of which nobody knows
TRIGRAM_DROPOUT = 0.1  # of the trigrams in training
LEARNING_RATE_FACTOR = 2 / 3  # of the course's rate
ENTITY_RATE_FACTOR = 0.3  # than the rest the entities move, for they start where they belong


class TitleSignals(NamedTuple):
    """Distance, excess and attention of products for one query, `(N,)` each."""

    distance: Tensor
    excess: Tensor
    attention: Tensor


class ContainmentLogits(NamedTuple):
    """Logits of distances, and lengths outside the hyperboloids, `(B, N)` each."""

    logits: Tensor
    beyond: Tensor


class AnthemRanker(TrainableRanker):
    """A network with its vocabulary: texts in, logits out.

    `only` names one of both signals, `attention` or `containment`, to rank by that alone.
    """

    only: str | None = None

    def __init__(self, vocabulary: Vocabulary, network: Anthem) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.network = network
        self._ids: dict[tuple[str, int], list[int]] = {}
        self._words: dict[str, frozenset[str]] = {}

    def scores(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Logits of both signals, `(B, C)`: attention, and a learned share of containment; or of the one in `only`."""
        if self.only == "attention":
            return self._attention(queries, titles, candidates)
        containment = self._distances(queries, titles).logits.gather(1, candidates)
        if self.only == "containment":
            return containment
        return self._attention(queries, titles, candidates) + self.network.share * containment

    def loss(self, lists: ListBatch) -> Tensor:
        """Order by attention, order by both signals, order by distance and the boundary, summed."""
        drawn = torch.ones_like(lists.judged)
        logits = self._attention(lists.queries, lists.titles, lists.candidates)
        order = listwise_loss(logits, lists.gains, drawn) + listwise_loss(logits, lists.gains, lists.judged)
        distant = self._distances(lists.queries, lists.titles)
        both = logits.detach() + self.network.share * distant.logits.detach().gather(1, lists.candidates)
        shared = listwise_loss(both, lists.gains, drawn)
        return order + shared + self._containment_loss(lists, distant)

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Entities on the manifold, the grid, and all else, whose gradients are as long as they are, each apart.

        RiemannianAdam moves a point by its rate, not each coordinate.
        """
        entities, grid = self.network.entities.points, list(self.network.grid.parameters())
        known = {id(parameter) for parameter in (entities, *grid)}
        others = [one for one in self.parameters() if id(one) not in known and one.requires_grad]
        rate *= LEARNING_RATE_FACTOR
        return [
            {"params": [entities], "lr": rate * ENTITY_RATE_FACTOR},
            {"params": others, "lr": rate},
            {"params": grid, "lr": rate},
        ]

    def settle(self) -> None:
        """Bring the entities back onto the sheet."""
        self.network.entities.settle()

    @torch.no_grad()
    def points(self, titles: Sequence[str]) -> Tensor:
        """Points of titles, `(N, D+1)`."""
        return self._points(titles)

    @torch.no_grad()
    def signals(self, query: str, titles: Sequence[str], points: Tensor) -> TitleSignals:
        """Distance, excess and attention of titles whose points are known."""
        network = self.network
        asked = network.query(*self.query_ids([query]))
        placed = (asked.centres, asked.limits, asked.weights, points)
        far = query_distance(*placed, network.shape.gamma, network.shape.space)[0]
        attention = network.grid(*self.query_ids([query]), *self.title_ids(titles))[0]
        return TitleSignals(far, excess(*placed, network.shape.space)[0], attention)

    def _attention(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        grid = self.network.grid
        asked: QuerySide = grid.ask(*self.query_ids(queries))
        offered: TitleSide = grid.offer(*self.title_ids(titles))
        return grid.pairs(asked, offered, candidates)

    def _distances(self, queries: Sequence[str], titles: Sequence[str]) -> ContainmentLogits:
        """Logits of the distance of all titles to all queries, and how far outside they lie."""
        network = self.network
        asked, points = network.query(*self.query_ids(queries)), self._points(titles)
        seen, limits = network.shape.space.seen_pairwise(asked.centres, points), asked.limits[:, None]
        far = union_distance(hyperboloid_distance(seen, limits, network.shape.gamma), asked.weights)
        beyond = union_distance(norm(outside_part(seen, limits)).squeeze(-1), asked.weights)
        return ContainmentLogits(-network.log_scale.exp() * far, beyond)

    def _containment_loss(self, lists: ListBatch, distant: ContainmentLogits) -> Tensor:
        """Order over all titles of the batch, order over the judged ones, and the boundary."""
        logits = distant.logits
        gains, judged = self._spread(lists)
        order = listwise_loss(logits, gains, gains >= 0) + listwise_loss(logits, gains, judged)
        return order + boundary_loss(distant.beyond, gains, judged)

    def _spread(self, lists: ListBatch) -> tuple[Tensor, Tensor]:
        """Gains and judged `(B, N)` over all titles; one that holds every word of a query may well be relevant."""
        needed = [self._words_of(query) for query in lists.queries]
        held = [self._words_of(title) for title in lists.titles]
        gains = torch.tensor([[UNKNOWN_GAIN * (asked <= title) for title in held] for asked in needed]).to(
            lists.gains.device
        )
        judged = torch.zeros_like(gains, dtype=torch.bool)
        return gains.scatter(1, lists.candidates, lists.gains), judged.scatter(1, lists.candidates, lists.judged)

    def _words_of(self, text: str) -> frozenset[str]:
        return self._words.setdefault(text, frozenset(split_words(text)))

    def _points(self, titles: Sequence[str], parts: int = 4) -> Tensor:
        """Points of titles, `(N, D+1)`, in parts of like length: padding costs as much as text."""
        ids, mask = self.title_ids(titles)
        lengths = mask.sum(-1)
        order = torch.argsort(lengths, stable=True)
        points = []
        for rows in order.chunk(max(parts, len(titles) // 128)):
            width = max(1, int(lengths[rows].max()))
            points.append(self.network.product(ids[rows, :width], mask[rows, :width]).points)
        return torch.cat(points)[torch.argsort(order)]

    def query_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of query texts, `(B, T)` each; in training some trigrams are missing."""
        return self._padded(texts, self.vocabulary.query_limit)

    def title_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of titles, `(N, L)` each; in training some trigrams are missing."""
        return self._padded(texts, self.vocabulary.title_limit)

    def _padded(self, texts: Sequence[str], limit: int) -> tuple[Tensor, Tensor]:
        """Ids and mask of texts; in training some trigrams are missing."""
        rows = []
        for text in texts:
            found = self._ids.get((text, limit))
            if found is None:
                found = self._ids[text, limit] = self.vocabulary.ids(text, limit)
            rows.append(found)
        ids, mask = (torch.from_numpy(array) for array in pad_ids(rows))
        if self.training:
            mask &= (torch.rand(mask.shape) >= TRIGRAM_DROPOUT) | (torch.arange(mask.shape[1]) == 0)
        return ids.to(self.device), mask.to(self.device)
