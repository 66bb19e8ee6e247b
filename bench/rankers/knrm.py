"""K-NRM (Xiong et al. 2017) and Conv-KNRM (Dai et al. 2018): soft counts of title words by their similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from anthem_model.ranker import TrainableRanker
from rankers.lexicon import MAX_QUERY_WORDS, MAX_TITLE_WORDS, WordEmbeddings, cosine_grids, match_words, pair_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rankers.lexicon import Lexicon, PaddedWords

KERNEL_MEANS = tuple(round(0.9 - 0.2 * number, 1) for number in range(10))
KERNEL_DEVIATION = 0.1
LOG_COUNT_SCALE = 0.1  # the authors' 0.01 needs larger weights than a short training reaches
NGRAM_SIZES = (1, 2, 3)  # words


def kernel_features(grids: Tensor, exact: Tensor | None, mask: Tensor) -> Tensor:
    """Kernel features `(B, C, K)` of cosine grids `(B, C, Q, T)`: `Σ_q log Σ_t exp(−(cos − μ)²/2σ²)`.

    If `exact` is given, one more kernel counts exact matches; the papers write it as μ = 1, σ = 0.001.
    """
    has_word = mask.any(-1)
    row = (has_word.flatten().cumsum(0) - 1).view(has_word.shape)  # number of each query word within the batch
    cosines = grids[mask]  # most cells are padding, and the exponentials cost most
    kernels = torch.exp((cosines[:, None] - torch.tensor(KERNEL_MEANS)).square() / (-2 * KERNEL_DEVIATION**2))
    row_of_cell = row[..., None].expand(mask.shape)[mask]
    counts = torch.zeros(int(has_word.sum()), len(KERNEL_MEANS)).index_add(0, row_of_cell, kernels)
    if exact is not None:
        exact_counts = exact.logical_and(mask).sum(-1)[has_word]
        counts = torch.cat([counts, exact_counts[:, None].to(counts.dtype)], dim=-1)
    pairs = has_word[..., 0].numel()
    pair_of_row = torch.arange(pairs).view(*has_word.shape[:-1], 1).expand(has_word.shape)[has_word]
    log_counts = LOG_COUNT_SCALE * counts.clamp_min(1e-10).log()
    features = torch.zeros(pairs, counts.shape[-1]).index_add(0, pair_of_row, log_counts)
    return features.view(*has_word.shape[:-1], -1)


def match_ngrams(query: PaddedWords, title: PaddedWords, size: int) -> Tensor:
    """Whether the same `size` words begin at both positions: `(B, Q)` and `(B, C, T)` to `(B, C, Q, T)`."""
    left, right = (F.pad(words.keys, (0, size - 1)).unfold(-1, size, 1) for words in (query, title))
    return (left[:, None, :, None] == right[:, :, None, :]).all(-1)


class Knrm(TrainableRanker):
    """K-NRM: eleven kernels over the cosines of words, and a linear layer."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension)
        self.last = nn.Linear(1 + len(KERNEL_MEANS), 1)

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`w·φ + b`, `(B, C)`."""
        query, title = self.lexicon.read(queries, MAX_QUERY_WORDS), self.lexicon.read(titles, MAX_TITLE_WORDS)
        candidate_words = title[candidates]
        grids = cosine_grids(self.words.directions(query.ids), self.words.directions(title.ids)[candidates])
        mask = pair_mask(query.mask, candidate_words.mask)
        scores: Tensor = self.last(kernel_features(grids, match_words(query, candidate_words), mask)).squeeze(-1)
        return scores


class ConvKnrm(TrainableRanker):
    """Conv-KNRM: the kernels for every pair of word n-grams, one to three words of the query and of the title."""

    def __init__(self, lexicon: Lexicon, dimension: int = 64, filters: int = 64) -> None:
        super().__init__()
        self.lexicon = lexicon
        self.words = WordEmbeddings(lexicon, dimension)
        self.convolutions = nn.ModuleList(nn.Conv1d(dimension, filters, size) for size in NGRAM_SIZES)
        self.last = nn.Linear(len(NGRAM_SIZES) ** 2 * len(KERNEL_MEANS) + len(NGRAM_SIZES), 1)

    def score_candidates(self, queries: Sequence[str], titles: Sequence[str], candidates: Tensor) -> Tensor:
        """`w·φ + b`, `(B, C)`; φ joins the kernel features of all nine pairs of n-gram sizes."""
        query, title = self.lexicon.read(queries, MAX_QUERY_WORDS), self.lexicon.read(titles, MAX_TITLE_WORDS)
        candidate_words = title[candidates]
        mask = pair_mask(query.mask, candidate_words.mask)
        query_ngrams = self._encode_ngrams(self.words(query.ids))
        title_ngrams = [vectors[candidates] for vectors in self._encode_ngrams(self.words(title.ids))]
        features = [
            kernel_features(
                cosine_grids(left, right),
                match_ngrams(query, candidate_words, query_size) if query_size == title_size else None,
                mask,
            )
            for query_size, left in zip(NGRAM_SIZES, query_ngrams, strict=True)
            for title_size, right in zip(NGRAM_SIZES, title_ngrams, strict=True)
        ]
        scores: Tensor = self.last(torch.cat(features, -1)).squeeze(-1)
        return scores

    def _encode_ngrams(self, vectors: Tensor) -> list[Tensor]:
        """Unit vectors of the n-grams that begin at each word, one tensor per size; 0 past the end of the text."""
        channels_first = vectors.transpose(1, 2)
        return [
            F.normalize(torch.relu(conv(F.pad(channels_first, (0, size - 1)))).transpose(1, 2), dim=-1)
            for size, conv in zip(NGRAM_SIZES, self.convolutions, strict=True)
        ]
