"""ANTHEM as a trainable ranker: texts in, logits, losses and signals out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from anthem_core.encoding.tokenizer import pad_ids, split_words
from anthem_model.geometry.containment import excess, hyperboloid_distance, outside_part, query_distance, union_distance
from anthem_model.geometry.lorentz import norm
from anthem_model.losses import boundary_loss, listwise_loss
from anthem_model.nn.table_encoder import TableEncoder, score_table
from anthem_model.ranker import TrainableRanker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_model.data.batches import ListBatch
    from anthem_model.nn.network import Anthem

UNKNOWN_GAIN = -1.0  # marks a pair whose relevance is unknown
ENTITY_DROPOUT = 0.1  # probability that an entity is masked in training
# Of the schedule's learning rate; tuned on validation queries (docs/lab-notebook.md).
LEARNING_RATE_FACTOR = 2 / 3
ENTITY_RATE_FACTOR = 0.3  # of that again, because entities start in good places
MIN_ENCODER_CHUNKS = 4  # that titles are encoded in
ENCODER_CHUNK_SIZE = 128  # titles per chunk, if there are more chunks


class TitleSignals(NamedTuple):
    """Distance, excess and attention of titles for one query, `(N,)` each."""

    distance: Tensor
    excess: Tensor
    attention: Tensor


class ContainmentLogits(NamedTuple):
    """Logits of the distances and norms of the parts outside the hyperboloids, `(B, N)` each."""

    logits: Tensor
    outside_norm: Tensor


class AnthemRanker(TrainableRanker):
    """A network with its vocabulary.

    `only_signal` restricts ranking to one of both signals; by default they are summed. `containment_rate_factor`
    multiplies the learning rates of all parameters but the grid's.
    """

    only_signal: Literal["attention", "containment"] | None = None
    containment_rate_factor: float = 1.0

    def __init__(self, vocabulary: Vocabulary, network: Anthem) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.network = network
        self._ids: dict[tuple[str, int], list[int]] = {}
        self._words: dict[str, frozenset[str]] = {}

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """Logits `(B, C)`: attention plus a learned share of containment, or the signal `only_signal` alone."""
        if self.only_signal == "attention":
            return self._attention_logits(queries, titles, candidates)
        containment = self._containment_logits(queries, titles).logits.gather(1, candidates)
        if self.only_signal == "containment":
            return containment
        return self._attention_logits(queries, titles, candidates) + self.network.share * containment

    def loss(self, batch: ListBatch) -> Tensor:
        """Sum of the listwise losses of attention, of both signals and of containment, and of the boundary loss."""
        all_candidates = torch.ones_like(batch.judged)
        attention = self._attention_logits(batch.queries, batch.titles, batch.candidates)
        order = listwise_loss(attention, batch.gains, all_candidates)
        order = order + listwise_loss(attention, batch.gains, batch.judged)
        containment = self._containment_logits(batch.queries, batch.titles)
        share = self.network.share
        fused = attention.detach() + share * containment.logits.detach().gather(1, batch.candidates)
        fused_order = listwise_loss(fused, batch.gains, all_candidates)
        return order + fused_order + self._containment_loss(batch, containment)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Entities, the grid and all other parameters, three groups whose gradients are clipped separately.

        Entities have a separate rate, because RiemannianAdam moves a point, not each coordinate, by the rate.
        """
        entities, grid = self.network.entities.points, list(self.network.grid.parameters())
        grouped = {id(parameter) for parameter in (entities, *grid)}
        others = [parameter for parameter in self.parameters() if id(parameter) not in grouped]
        rate *= LEARNING_RATE_FACTOR
        slow = rate * self.containment_rate_factor
        return [
            {"params": [entities], "lr": slow * ENTITY_RATE_FACTOR},
            {"params": [parameter for parameter in others if parameter.requires_grad], "lr": slow},
            {"params": grid, "lr": rate},
        ]

    def project_parameters(self) -> None:
        """Project the entities onto the hyperboloid."""
        self.network.entities.project()

    @torch.no_grad()
    def encode_titles(self, titles: Sequence[str]) -> Tensor:
        """Points of titles, `(N, D+1)`."""
        return self._encode_titles(titles)

    @torch.no_grad()
    def compute_signals(self, query: str, titles: Sequence[str], points: Tensor) -> TitleSignals:
        """Distance, excess and attention of titles with points `(N, D+1)`, as a bundle computes them."""
        network = self.network
        encoded = network.query(*self.query_ids([query]))
        arguments = (encoded.centres, encoded.limits, encoded.weights, points)
        distance = query_distance(*arguments, network.shape.gamma, network.shape.space)[0]
        attention = score_table(TableEncoder(network.grid)(*self.query_ids([query])), *self.title_ids(titles))
        return TitleSignals(distance, excess(*arguments, network.shape.space)[0], attention)

    def _attention_logits(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        grid = self.network.grid
        query_side = grid.encode_query(*self.query_ids(queries))
        title_side = grid.encode_titles(*self.title_ids(titles))
        return grid.candidate_logits(query_side, title_side, candidates)

    def _containment_logits(self, queries: Sequence[str], titles: Sequence[str]) -> ContainmentLogits:
        """Logits of the distances of all titles to all queries, and how far outside the titles lie."""
        network = self.network
        encoded, points = network.query(*self.query_ids(queries)), self._encode_titles(titles)
        z, limits = network.shape.space.pairwise_logmap(encoded.centres, points), encoded.limits[:, None]
        distance = union_distance(hyperboloid_distance(z, limits, network.shape.gamma), encoded.weights)
        outside_norm = union_distance(norm(outside_part(z, limits)).squeeze(-1), encoded.weights)
        return ContainmentLogits(-network.log_scale.exp() * distance, outside_norm)

    def _containment_loss(self, batch: ListBatch, containment: ContainmentLogits) -> Tensor:
        """Listwise losses over all titles of the batch and over the judged ones, plus the boundary loss."""
        logits = containment.logits
        gains, judged = self._batch_gains(batch)
        order = listwise_loss(logits, gains, gains >= 0) + listwise_loss(logits, gains, judged)
        return order + boundary_loss(containment.outside_norm, gains, judged)

    def _batch_gains(self, batch: ListBatch) -> tuple[Tensor, Tensor]:
        """Gains and judged flags `(B, N)` over all titles of a batch.

        A title that is not a candidate has gain 0, or an unknown gain if it contains all words of the query.
        """
        query_words = [self._words_of(query) for query in batch.queries]
        title_words = [self._words_of(title) for title in batch.titles]
        gains = torch.tensor(
            [[UNKNOWN_GAIN * (query <= title) for title in title_words] for query in query_words],
            device=batch.gains.device,
        )
        judged = torch.zeros_like(gains, dtype=torch.bool)
        return gains.scatter(1, batch.candidates, batch.gains), judged.scatter(1, batch.candidates, batch.judged)

    def _words_of(self, text: str) -> frozenset[str]:
        words = self._words.get(text)
        if words is None:
            words = self._words[text] = frozenset(split_words(text))
        return words

    def _encode_titles(self, titles: Sequence[str], min_chunks: int = MIN_ENCODER_CHUNKS) -> Tensor:
        """Points of titles, `(N, D+1)`, encoded in chunks of similar length, because padding costs as much as text."""
        ids, mask = self.title_ids(titles)
        lengths = mask.sum(-1)
        order = torch.argsort(lengths, stable=True)
        points = []
        for rows in order.chunk(max(min_chunks, len(titles) // ENCODER_CHUNK_SIZE)):
            width = max(1, int(lengths[rows].max()))
            points.append(self.network.product(ids[rows, :width], mask[rows, :width]).points)
        return torch.cat(points)[torch.argsort(order)]

    def query_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of query texts, `(B, T)` each; in training some entities are masked."""
        return self._pad_texts(texts, self.vocabulary.query_limit)

    def title_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of titles, `(N, L)` each; in training some entities are masked."""
        return self._pad_texts(texts, self.vocabulary.title_limit)

    def _pad_texts(self, texts: Sequence[str], limit: int) -> tuple[Tensor, Tensor]:
        ids, mask = (torch.from_numpy(array) for array in pad_ids([self._ids_of(text, limit) for text in texts]))
        if self.training:
            mask &= (torch.rand(mask.shape) >= ENTITY_DROPOUT) | (torch.arange(mask.shape[1]) == 0)
        return ids.to(self.device), mask.to(self.device)

    def _ids_of(self, text: str, limit: int) -> list[int]:
        ids = self._ids.get((text, limit))
        if ids is None:
            ids = self._ids[text, limit] = self.vocabulary.ids(text, limit)
        return ids
