"""How wide a query is: learned last, from how many products answer it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import lsqr

from anthem_model.data.pseudo_queries import sample_pseudo_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from anthem_model.anthem_ranker import AnthemRanker
    from anthem_model.data.training_shop import TrainingShop
    from anthem_model.nn.network import EncodedQueries

RIDGE_PENALTY = 1.0
ANSWER_COUNT_SCALE = 0.25  # of the logarithm of the number of products that becomes size
QUERY_CHUNK_SIZE = 256
MAX_COUNTED_PSEUDO_QUERIES = 8000  # pseudo-queries a shop
PSEUDO_QUERY_WEIGHT = (
    0.05  # weight of a pseudo-query beside judged ones, for words say less of what answers them than people
)
LSQR_TOLERANCE = 1e-8


class AnswerCounts(NamedTuple):
    """Queries with how many products answer each, and what each weighs in the fit."""

    texts: list[str]
    numbers: list[int]
    weight: float


@torch.no_grad()
def fit_query_sizes(ranker: AnthemRanker, shops: Sequence[TrainingShop]) -> None:
    """Fit every trigram's extent so that a query is the larger, the more products answer it.

    Ridge regression, `e = (AᵀVA + I)⁻¹AᵀVy`, of `y = log(1 + n)`, centred by kind and shop, on the attention that a
    query's trigrams draw and how many they are, `A`; `V` weighs judged queries and pseudo-queries. No category, no word
    count and no rarity is shown to it. Nothing else of the model moves.
    """
    found = [one for shop in shops for one in count_answers(shop)]
    extent = ranker.network.query.extent.weight
    extent.zero_()
    if found:
        rows = sparse.vstack([one.weight**0.5 * _attention_matrix(ranker, one.texts) for one in found])
        wanted = np.concatenate([one.weight**0.5 * _centred_logs(one.numbers) for one in found])
        fitted = lsqr(rows, wanted, damp=RIDGE_PENALTY**0.5, atol=LSQR_TOLERANCE, btol=LSQR_TOLERANCE)[0]
        extent.copy_(ANSWER_COUNT_SCALE * torch.from_numpy(fitted).view(2, -1).T)


def count_answers(shop: TrainingShop) -> Iterator[AnswerCounts]:
    """Judged queries with the number of products called the best for them, and words of titles with all that hold them.

    The latter weigh as much as the former only where nobody judged.
    """
    if shop.judged:
        numbers = [sum(gain == 1 for gain in one.gains) for one in shop.judged]
        yield AnswerCounts([one.text for one in shop.judged], numbers, 1.0)
    if asked := sample_pseudo_queries(shop.titles, Random(0), MAX_COUNTED_PSEUDO_QUERIES):
        yield AnswerCounts(
            asked, [len(shop.holding(text)) for text in asked], PSEUDO_QUERY_WEIGHT if shop.judged else 1.0
        )


def _centred_logs(numbers: Sequence[int]) -> npt.NDArray[np.float64]:
    logs = np.log1p(np.array(numbers, float))
    centred: npt.NDArray[np.float64] = logs - logs.mean()
    return centred


def _attention_matrix(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    """Attention that each trigram of the vocabulary draws, and a tenth of how often it stands there; `(B, 2·ids)`."""
    return sparse.vstack(
        [
            _attention_rows(ranker, texts[start : start + QUERY_CHUNK_SIZE])
            for start in range(0, len(texts), QUERY_CHUNK_SIZE)
        ]
    )


def _attention_rows(ranker: AnthemRanker, texts: Sequence[str]) -> sparse.csr_matrix:
    ids, mask = ranker.query_ids(texts)
    asked: EncodedQueries = ranker.network.query(ids, mask)
    looked = asked.entities + asked.intersections.sum(-1) / 2 + asked.intersections.sum(-2) / 2
    rows, held, many = mask.nonzero()[:, 0], ids[mask], ranker.network.shape.ids
    values = torch.cat([looked[mask], torch.full(held.shape, 0.1)])
    places = (torch.cat([rows, rows]).numpy(), torch.cat([held, held + many]).numpy())
    return sparse.csr_matrix((values.numpy(), places), shape=(len(texts), 2 * many))
