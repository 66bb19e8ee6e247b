"""Offline reranking of a run, without a cluster: the products of its windows, their signals, and the new order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.beir import read_products, read_queries
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_CONTAINMENT
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.errors import DataError
from anthem_core.lines import find_plain_or_gzipped
from anthem_core.opensearch.schema import product_text
from anthem_evaluation.runs import rank_scores, ranked_ids
from anthem_ingest.actions import build_product_source
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON
from anthem_plugin.scoring.params import ScoringParams, to_float64
from anthem_plugin.scoring.window import rank_descending, score_window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anthem_core.beir import SkippedLine
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.runs import Run

UNKNOWN_QUERY_REASON = "the queries file has no query with this id"
ENCODING_CHUNK_SIZE = 1024  # products encoded between two updates of the progress bar


def _no_progress(_: int) -> None:
    """Progress that is not shown."""


@dataclass(frozen=True)
class RunProducts:
    """The products of a run, encoded once: their rows by id, and the values of each row.

    `points (N+1, D+1)` are NaN, and `titles` of length 0, where a product has no value; so is the last row, which
    all products share that are missing from the corpus. None for a signal that is not used.
    """

    rows: Mapping[str, int]
    points: Array | None = None
    titles: TitleEntities | None = None

    def find(self, ids: Iterable[str]) -> Array:
        """Rows of some products, `(n,)`."""
        return np.array([self.rows.get(product, len(self.rows)) for product in ids], np.int64)


@dataclass(frozen=True)
class RerankedRun:
    """A run in its new order, and the reason for each query that kept its order."""

    run: Run
    not_reranked: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OfflineReranker:
    """Ranks a window as `client` mode does in a search, by the signals that are not None."""

    scoring: ScoringParams
    encoder: Encoder | None
    attention: AttentionScorer | None
    vocabulary: Vocabulary

    @classmethod
    def from_bundle(cls, bundle: Bundle, signals: Collection[str], *, threads: int = 1) -> OfflineReranker:
        """Reranker of a bundle by the lexical score and those of `containment` and `attention` that are in `signals`.

        Raises:
            BundleError: The bundle has no graph or no fusion weights for them.
        """
        encoder = Encoder(bundle, threads=threads) if "containment" in signals else None
        attention = AttentionScorer(bundle, threads=threads) if "attention" in signals else None
        return cls(ScoringParams.from_bundle(bundle), encoder, attention, bundle.vocabulary)

    def encode_products(self, texts: Mapping[str, str], advance: Callable[[int], object] = _no_progress) -> RunProducts:
        """Values of products by id, for the signals of this reranker."""
        encoded = []
        for chunk in _chunks(texts.values()):
            encoded += [encode_points(chunk, self.encoder)] if self.encoder else []
            advance(len(chunk))
        points = np.concatenate([*encoded, np.full((1, self.scoring.dimension + 1), np.nan)])
        titles = self.attention.encode_titles([*texts.values(), ""]) if self.attention else None
        rows = {product: row for row, product in enumerate(texts)}
        return RunProducts(rows, points if self.encoder else None, titles)

    def order(self, text: str, lexical: Mapping[str, float], products: RunProducts) -> list[str] | None:
        """Ids of a window, best first; `lexical` holds its scores in descending order.

        None for a query without letters or digits.
        """
        if not self.vocabulary.has_words(text):
            return None
        ids, rows = list(lexical), products.find(lexical)
        scores = score_window(
            np.array([lexical[product] for product in ids]),
            self.scoring,
            distance=self._distances(text, rows, products),
            attention=self._attention_scores(text, rows, products),
        )
        return [ids[number] for number in rank_descending(scores)]

    def _distances(self, text: str, rows: Array, products: RunProducts) -> Array | None:
        query = self.encoder.encode_query(text) if self.encoder else None
        if query is None or products.points is None:
            return None
        points = products.points[rows]
        distances, known = np.full(len(rows), np.nan), np.isfinite(points[:, 0])
        distances[known] = to_float64(query).distance(points[known], self.scoring.gamma)
        return distances

    def _attention_scores(self, text: str, rows: Array, products: RunProducts) -> Array | None:
        table = self.attention.encode_query(text) if self.attention else None
        if table is None or products.titles is None:
            return None
        return table.score(select_titles(products.titles, rows))


def select_titles(titles: TitleEntities, rows: Array) -> TitleEntities:
    """Some titles, by their rows, in that order."""
    starts, lengths = np.cumsum(titles.lengths) - titles.lengths, titles.lengths[rows]
    shifts = starts[rows] - (np.cumsum(lengths) - lengths)  # from an entity's place in the selection to its own
    entities = np.arange(lengths.sum()) + np.repeat(shifts, lengths)
    return TitleEntities(titles.ids[entities], titles.weights[entities], lengths)


def available_signals(bundle: Bundle) -> str:
    """All signals that a bundle can rank by, in the form of `--signals`."""
    return (ALL_SIGNALS if bundle.has_attention else LEXICAL_CONTAINMENT).replace("+", ",")


def check_scores(run: Run) -> None:
    """Check that the scores of a run can be lexical ones.

    Raises:
        DataError: A score is negative: the model multiplies a lexical score, so a negative one would be ranked the
            wrong way round.
    """
    for query, scores in run.items():
        product, lowest = min(scores.items(), key=lambda item: item[1])
        if lowest < 0:
            raise DataError(
                f"Product {product!r} of query {query!r} has the score {lowest}. Expected lexical scores of 0 or more, "
                "such as those of BM25. Rerank the run of a lexical engine."
            )


def check_query_ids(run: Run, queries: Collection[str], path: Path) -> None:
    """Check that at least one query of a run has a text.

    Raises:
        DataError: None has.
    """
    if not any(query in queries for query in run):
        raise DataError(
            f"None of the {len(run)} queries of the run, such as {next(iter(run))!r}, is in {path}, which has "
            f"{next(iter(queries))!r}. Expected the same ids in both files. Check --queries."
        )


def are_ranks(run: Run) -> bool:
    """Whether the scores of every query count down to 1, as in a file that was written by ranks."""
    lists = [scores for scores in run.values() if len(scores) > 1]
    return bool(lists) and all(scores == rank_scores(ranked_ids(scores)) for scores in lists)


def products_in_windows(run: Run, window: int = DEFAULT_WINDOW) -> set[str]:
    """Products among the first `window` of any query; equal scores keep their order."""
    return {product for scores in run.values() for product in ranked_ids(scores)[:window]}


def read_query_texts(path: Path, skipped_lines: list[SkippedLine]) -> dict[str, str]:
    """Query texts by id of a file, or of that in a BEIR folder; bad lines are skipped and added to `skipped_lines`.

    Raises:
        DataError: There is no such file, or it cannot be read, has no query, or more than 1 % of its lines are bad.
    """
    file = _find_queries_file(path) if path.is_dir() else path
    queries = read_queries(file, skipped_lines)
    if not queries:
        raise DataError(f'{path} has no queries. Expected lines such as {{"_id": …, "text": …}}. Check the path.')
    return queries


def _find_queries_file(folder: Path) -> Path:
    found = find_plain_or_gzipped(folder, "queries", ".jsonl")
    if not found:
        raise DataError(
            f"{folder} is a folder without queries.jsonl or queries.jsonl.gz. Name the file with --queries."
        )
    return found["queries"]


def read_product_texts(
    corpus: Path,
    ids: Collection[str],
    fields: Sequence[str],
    skipped_lines: list[SkippedLine],
    advance: Callable[[int], object] = _no_progress,
) -> dict[str, str]:
    """Texts of some products by id, composed as `anthem ingest` does; the corpus is streamed.

    Raises:
        DataError: The corpus cannot be read, has none of the products, or none of them has text in the fields.
    """
    texts = {}
    required = list(dict.fromkeys(field.split(".")[0] for field in fields))
    for product in read_products(corpus, skipped_lines, required):
        if product.id in ids:
            texts[product.id] = product_text(build_product_source(product), fields)
        advance(1)
    if ids and not texts:
        raise DataError(
            f"{corpus} has none of the {len(ids)} products to rerank, such as {next(iter(ids))!r}. "
            "Name the corpus of this run with --corpus."
        )
    if ids and not any(texts.values()):
        raise DataError(
            f"No product of {corpus} that the run contains has text in {', '.join(fields)}. Name another field, such "
            "as title, text or metadata.brand, with --field."
        )
    return texts


def encode_points(texts: Sequence[str], encoder: Encoder) -> Array:
    """Point of each text in float64, `(N, D+1)`, as an index stores it; NaN without letters or digits."""
    points = np.full((len(texts), encoder.bundle.dimension + 1), np.nan)
    filled = [number for number, text in enumerate(texts) if encoder.bundle.vocabulary.has_words(text)]
    vectors = encoder.encode_vectors([texts[number] for number in filled])
    points[filled] = unpack_points(vectors, encoder.bundle.vector_step)
    return points


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    every = list(texts)
    return (every[start : start + ENCODING_CHUNK_SIZE] for start in range(0, len(every), ENCODING_CHUNK_SIZE))


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
