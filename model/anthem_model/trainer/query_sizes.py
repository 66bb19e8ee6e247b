"""Query sizes: after training, limits are scaled so that a query with more matching products is larger."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import lsqr

from anthem_model.data.pseudo_queries import sample_pseudo_queries
from anthem_model.nn.network import pool_attention

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from anthem_model.anthem_ranker import AnthemRanker
    from anthem_model.data.training_shop import TrainingShop

RIDGE_PENALTY = 1.0
ANSWER_COUNT_SCALE = 0.25  # log size per log number of matching products
QUERY_CHUNK_SIZE = 256
MAX_COUNTED_PSEUDO_QUERIES = 8000  # per shop
PSEUDO_QUERY_WEIGHT = 0.05  # relative to judged queries: judgments say more about what matches than shared words do
ENTITY_COUNT_FACTOR = 0.1  # of the second extent of an entity, which does not depend on attention
LSQR_TOLERANCE = 1e-8


class AnswerCounts(NamedTuple):
    """Queries, the number of products that match each, and their weight in the fit."""

    texts: list[str]
    counts: list[int]
    weight: float


@torch.no_grad()
def fit_query_sizes(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> None:
    """Fit the two extents of every entity; no other parameter changes.

    Ridge regression `e = (AᵀVA + I)⁻¹AᵀVy` of `y = log(1 + n)`, n the number of matching products, centred per shop and
    kind of query. `A` are the attention weights of a query's entities and their counts, `V` the weights of judged
    queries and pseudo-queries.
    """
    groups = [group for shop in shops for group in count_answers(shop)]
    extent = ranker.network.query.extent.weight
    extent.zero_()
    if groups:
        inputs = sparse.vstack([group.weight**0.5 * _attention_matrix(ranker, group.texts) for group in groups])
        targets = np.concatenate([group.weight**0.5 * _centred_logs(group.counts) for group in groups])
        extents = lsqr(inputs, targets, damp=RIDGE_PENALTY**0.5, atol=LSQR_TOLERANCE, btol=LSQR_TOLERANCE)[0]
        extent.copy_(ANSWER_COUNT_SCALE * torch.from_numpy(extents).view(2, -1).T)


def count_answers(shop: TrainingShop) -> Iterator[AnswerCounts]:
    """Judged queries with their numbers of products of the top grade, then pseudo-queries.

    A title matches a pseudo-query if it contains all words. Without judgments, pseudo-queries have full weight.
    """
    if shop.judged_queries:
        counts = [sum(gain == 1 for gain in query.gains) for query in shop.judged_queries]
        yield AnswerCounts([query.text for query in shop.judged_queries], counts, 1.0)
    if pseudo_queries := sample_pseudo_queries(shop.titles, Random(0), MAX_COUNTED_PSEUDO_QUERIES):
        counts = [len(shop.rows_containing(text)) for text in pseudo_queries]
        yield AnswerCounts(pseudo_queries, counts, PSEUDO_QUERY_WEIGHT if shop.judged_queries else 1.0)


def _centred_logs(counts: Sequence[int]) -> npt.NDArray[np.float64]:
    logs = np.log1p(np.array(counts, float))
    centred: npt.NDArray[np.float64] = logs - logs.mean()
    return centred


def _attention_matrix(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    """Attention of every entity in every text, then a tenth of its count; `(B, 2·ids)`."""
    starts = range(0, len(texts), QUERY_CHUNK_SIZE)
    return sparse.vstack([_attention_rows(ranker, texts[start : start + QUERY_CHUNK_SIZE]) for start in starts])


def _attention_rows(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    ids, mask = ranker.query_ids(texts)
    encoded = ranker.network.query(ids, mask)
    attention = pool_attention(encoded.entities, encoded.intersections)
    rows, columns, width = mask.nonzero()[:, 0], ids[mask], ranker.network.shape.ids
    values = torch.cat([attention[mask], torch.full(columns.shape, ENTITY_COUNT_FACTOR)])
    coordinates = (torch.cat([rows, rows]).numpy(), torch.cat([columns, columns + width]).numpy())
    return sparse.csr_matrix((values.numpy(), coordinates), shape=(len(texts), 2 * width))
