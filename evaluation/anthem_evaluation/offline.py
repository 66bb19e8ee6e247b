"""Reranking a run offline: the products of its windows, their signals, and the new order. No cluster."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

from anthem_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_core.beir import read_products
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import ALL_SIGNALS
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.errors import BundleError
from anthem_core.opensearch.schema import product_text
from anthem_evaluation.runs import rank_scores, ranked_ids
from anthem_ingest.actions import build_product_source
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.query_text import NO_WORDS_REASON
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import lift_point, point_distances, rank_descending, score_attention, score_window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anthem_core.beir import SkippedLine
    from anthem_core.encoding.bundle import Bundle
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.runs import Run

Advance: TypeAlias = "Callable[[int], object]"

UNKNOWN_QUERY = "the queries have no such id"
ENCODING_CHUNK_SIZE = 1024  # products that are encoded between two moves of the progress bar


def _no_progress(_: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class RunProducts:
    """What is known of the products of a run, by id; one that is not in the corpus has neither text nor point."""

    texts: Mapping[str, str]
    points: Mapping[str, Array]


@dataclass(frozen=True)
class RerankedRun:
    """A run in its new order, and why some of its queries kept theirs."""

    run: Run
    left_alone: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OfflineReranker:
    """What orders a window offline, as `client` mode does it in a search; `attention` None leaves that signal out."""

    encoder: Encoder
    scoring: ScoringParams
    attention: AttentionScorer | None

    @classmethod
    def of(cls, bundle: Bundle, signals: Collection[str], *, threads: int = 1) -> OfflineReranker:
        """Ranker of a bundle by some signals.

        Raises:
            BundleError: The bundle has no graph, or no weights, for one of them.
        """
        scoring = ScoringParams.of(bundle)
        attention = AttentionScorer(bundle, threads=threads) if "attention" in signals else None
        if attention and not scoring.attentive:
            raise BundleError(
                f"{bundle.path} has fusion weights for {sorted(bundle.fusion)}; '{ALL_SIGNALS}' was wanted. "
                "Export again with this version, or rank by other --signals."
            )
        return cls(Encoder(bundle, threads=threads), scoring, attention)

    def order(self, text: str, lexical: Mapping[str, float], products: RunProducts) -> list[str] | None:
        """Ids of a window, best first, from their lexical scores in falling order; None for a query without words."""
        query = self.encoder.query(text)
        if query is None:
            return None
        ids = list(lexical)
        points = [lift_point(products.points[product]) if product in products.points else None for product in ids]
        distance = point_distances(points, query, self.scoring)
        texts = [products.texts.get(product, "") for product in ids]
        attention = score_attention(self.attention, text, texts) if self.attention else None
        found = score_window(np.array([lexical[product] for product in ids]), distance, self.scoring, attention)
        return [ids[number] for number in rank_descending(found)]


def available_signals(bundle: Bundle) -> str:
    """The most signals a bundle can rank by, as `--signals` names them."""
    known = ALL_SIGNALS if ScoringParams.of(bundle).attentive else "lexical+containment"
    return known.replace("+", ",")


def check_scores(run: Run) -> None:
    """Check that the scores of a run are lexical ones.

    Raises:
        DataError: One is negative, which saturation cannot take.
    """
    for query, scored in run.items():
        product, lowest = min(scored.items(), key=lambda item: item[1])
        if lowest < 0:
            raise DataError(
                f"found the score {lowest} of product {product!r} for query {query!r}; wanted lexical scores, none of "
                "them negative, as BM25 gives them: add a constant, or rerank the run of a lexical engine"
            )


def products_in_windows(run: Run, window: int = DEFAULT_WINDOW) -> set[str]:
    """Products among the first `window` of any query; equal scores keep their order."""
    return {product for scored in run.values() for product in ranked_ids(scored)[:window]}


def read_product_texts(
    corpus: Path,
    wanted: Collection[str],
    fields: Sequence[str],
    problems: list[SkippedLine],
    advance: Advance = _no_progress,
) -> dict[str, str]:
    """Texts of the wanted products, as `anthem ingest` reads them; the corpus is streamed, nothing else of it kept.

    Raises:
        DataError: The corpus cannot be read, or has not one of the products.
    """
    texts = {}
    for product in read_products(corpus, problems):
        if product.id in wanted:
            texts[product.id] = product_text(build_product_source(product), fields)
        advance(1)
    if wanted and not texts:
        raise DataError(
            f"{corpus} has none of the {len(wanted)} products to rerank, such as {next(iter(wanted))!r}; "
            "name the corpus that the run was made from with --corpus."
        )
    return texts


def encode_products(texts: Mapping[str, str], encoder: Encoder, advance: Advance = _no_progress) -> dict[str, Array]:
    """Points `(D+1,)` of products by id, in float32; none for a text without letters or digits."""
    points: dict[str, Array] = {}
    for chunk in _chunks(texts):
        worded = [product for product in chunk if extract_trigrams(texts[product], 1)]
        points.update(zip(worded, encoder.products([texts[product] for product in worded]), strict=True))
        advance(len(chunk))
    return points


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    ids = list(texts)
    return (ids[start : start + ENCODING_CHUNK_SIZE] for start in range(0, len(ids), ENCODING_CHUNK_SIZE))


def rerank_run(
    run: Run,
    queries: Mapping[str, str],
    products: RunProducts,
    ranker: OfflineReranker,
    *,
    window: int = DEFAULT_WINDOW,
    advance: Advance = _no_progress,
) -> RerankedRun:
    """Every product of a run in its new order, those beneath the window in their old; scores are places.

    A query without a text, or without letters or digits in it, keeps its order, and the result says why.
    """
    result = RerankedRun({})
    for query, scored in run.items():
        former = ranked_ids(scored)
        lexical = {product: scored[product] for product in former[:window]}
        order = ranker.order(queries[query], lexical, products) if query in queries else None
        if order is None:
            result.left_alone[query] = NO_WORDS_REASON if query in queries else UNKNOWN_QUERY
        result.run[query] = rank_scores([*(order or lexical), *former[window:]])
        advance(1)
    return result


def read_queries(path: Path) -> dict[str, str]:
    """Texts by id of `queries.jsonl[.gz]`.

    Raises:
        DataError: The file cannot be read, holds no query, or a line has no `_id` and `text` of its own.
    """
    queries: dict[str, str] = {}
    for number, line in enumerate(_query_lines(path), 1):
        if line.strip():
            query, text = _parse_query(line, f"{path}, line {number}")
            if query in queries:
                raise DataError(f"{path}, line {number}: found query {query!r} again, wanted it once; remove one line")
            queries[query] = text
    if not queries:
        raise DataError(f"{path}: found no query, wanted lines of _id and text; check that this is the file you meant")
    return queries


def _query_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch or write it anew.") from error


def _parse_query(line: bytes, place: str) -> tuple[str, str]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
        query, text = str(record["_id"]), record["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{place}: found no query ({error!r}), wanted an object with _id and text; mend it") from error
    if not isinstance(text, str):
        raise DataError(f"{place}: found the text {text!r}, wanted a string; mend the line")
    return query, text
