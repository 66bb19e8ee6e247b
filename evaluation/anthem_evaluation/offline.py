"""Offline reranking of a run, without a cluster: the products of its windows, their signals, and the new order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.beir import read_products, read_queries
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import ALL_SIGNALS
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.tokenizer import has_words
from anthem_core.errors import BundleError, DataError
from anthem_core.opensearch.schema import product_text
from anthem_evaluation.runs import rank_scores, ranked_ids
from anthem_ingest.actions import build_product_source
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import (
    lift_point,
    none_if_unknown,
    point_distances,
    rank_descending,
    score_attention,
    score_window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anthem_core.beir import SkippedLine
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.runs import Run

UNKNOWN_QUERY_REASON = "the queries file has no query with this id"
ENCODING_CHUNK_SIZE = 1024  # products encoded between two updates of the progress bar


def _no_progress(_: int) -> None:
    """Progress that is not shown."""


@dataclass(frozen=True)
class RunProducts:
    """Texts and points `(D+1,)` of a run's products by id; a product missing from the corpus has neither."""

    texts: Mapping[str, str]
    points: Mapping[str, Array]


@dataclass(frozen=True)
class RerankedRun:
    """A run in its new order, and the reason for each query that kept its order."""

    run: Run
    not_reranked: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OfflineReranker:
    """Ranks a window as `client` mode does in a search; without `attention` that signal is left out."""

    encoder: Encoder
    scoring: ScoringParams
    attention: AttentionScorer | None

    @classmethod
    def from_bundle(cls, bundle: Bundle, signals: Collection[str], *, threads: int = 1) -> OfflineReranker:
        """Reranker of a bundle that uses the given signals.

        Raises:
            BundleError: The bundle has no graph or no fusion weights for one of them.
        """
        scoring = ScoringParams.from_bundle(bundle)
        attention = AttentionScorer(bundle, threads=threads) if "attention" in signals else None
        if attention and not scoring.attention_fusion:
            raise BundleError(
                f"{bundle.path} has fusion weights for {sorted(bundle.fusion)}; expected '{ALL_SIGNALS}' among them. "
                "Export the bundle again with this version, or use other --signals."
            )
        return cls(Encoder(bundle, threads=threads), scoring, attention)

    def order(self, text: str, lexical: Mapping[str, float], products: RunProducts) -> list[str] | None:
        """Ids of a window, best first; `lexical` holds its scores in descending order.

        None for a query without letters or digits.
        """
        query = self.encoder.encode_query(text)
        if query is None:
            return None
        ids = list(lexical)
        points = [lift_point(products.points[product]) if product in products.points else None for product in ids]
        distances = point_distances(points, query, self.scoring)
        texts = [products.texts.get(product, "") for product in ids]
        attention = none_if_unknown(score_attention(self.attention, [text], texts)) if self.attention else None
        lexical_scores = np.array([lexical[product] for product in ids])
        scores = score_window(lexical_scores, distances, self.scoring, attention)
        return [ids[number] for number in rank_descending(scores)]


def available_signals(bundle: Bundle) -> str:
    """All signals that a bundle can rank by, in the form of `--signals`."""
    signals = ALL_SIGNALS if ScoringParams.from_bundle(bundle).attention_fusion else "lexical+containment"
    return signals.replace("+", ",")


def check_scores(run: Run) -> None:
    """Check that the scores of a run can be lexical ones.

    Raises:
        DataError: A score is negative, which the saturation of the lexical signal does not accept.
    """
    for query, scores in run.items():
        product, lowest = min(scores.items(), key=lambda item: item[1])
        if lowest < 0:
            raise DataError(
                f"Product {product!r} of query {query!r} has the score {lowest}. Expected lexical scores of 0 or more, "
                "such as those of BM25. Add a constant to the scores, or rerank the run of a lexical engine."
            )


def products_in_windows(run: Run, window: int = DEFAULT_WINDOW) -> set[str]:
    """Products among the first `window` of any query; equal scores keep their order."""
    return {product for scores in run.values() for product in ranked_ids(scores)[:window]}


def read_query_texts(path: Path, skipped_lines: list[SkippedLine]) -> dict[str, str]:
    """Query texts by id; bad lines are skipped and added to `skipped_lines`.

    Raises:
        DataError: The file cannot be read, has no query, or more than 1 % of its lines are bad.
    """
    queries = read_queries(path, skipped_lines)
    if not queries:
        raise DataError(f'{path} has no queries. Expected lines such as {{"_id": …, "text": …}}. Check the path.')
    return queries


def read_product_texts(
    corpus: Path,
    ids: Collection[str],
    fields: Sequence[str],
    skipped_lines: list[SkippedLine],
    advance: Callable[[int], object] = _no_progress,
) -> dict[str, str]:
    """Texts of some products by id, composed as `anthem ingest` does; the corpus is streamed.

    Raises:
        DataError: The corpus cannot be read, or has none of the products.
    """
    texts = {}
    for product in read_products(corpus, skipped_lines):
        if product.id in ids:
            texts[product.id] = product_text(build_product_source(product), fields)
        advance(1)
    if ids and not texts:
        raise DataError(
            f"{corpus} has none of the {len(ids)} products to rerank, such as {next(iter(ids))!r}. "
            "Name the corpus of this run with --corpus."
        )
    return texts


def encode_product_texts(
    texts: Mapping[str, str], encoder: Encoder, advance: Callable[[int], object] = _no_progress
) -> dict[str, Array]:
    """Points `(D+1,)` of products by id, in float32; a text without letters or digits gets none."""
    points: dict[str, Array] = {}
    for chunk in _chunks(texts):
        with_words = [product for product in chunk if has_words(texts[product])]
        encoded = encoder.encode_products([texts[product] for product in with_words])
        points.update(zip(with_words, encoded, strict=True))
        advance(len(chunk))
    return points


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    ids = list(texts)
    return (ids[start : start + ENCODING_CHUNK_SIZE] for start in range(0, len(ids), ENCODING_CHUNK_SIZE))


def rerank_run(
    run: Run,
    queries: Mapping[str, str],
    products: RunProducts,
    reranker: OfflineReranker,
    *,
    window: int = DEFAULT_WINDOW,
    advance: Callable[[int], object] = _no_progress,
) -> RerankedRun:
    """Rerank the window of each query; products below it keep their order, and the scores become ranks.

    A query without a text, or whose text has no letters or digits, keeps its order; the result has the reason.
    """
    result = RerankedRun({})
    for query, scores in run.items():
        ids = ranked_ids(scores)
        lexical = {product: scores[product] for product in ids[:window]}
        order = reranker.order(queries[query], lexical, products) if query in queries else None
        if order is None:
            result.not_reranked[query] = NO_WORDS_REASON if query in queries else UNKNOWN_QUERY_REASON
        result.run[query] = rank_scores([*(order or lexical), *ids[window:]])
        advance(1)
    return result
