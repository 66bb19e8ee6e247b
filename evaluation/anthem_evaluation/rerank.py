"""Reranking a run offline: the products of its windows, their signals, and the new order. No cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_core.attention import Attention
from anthem_core.beir import read_products
from anthem_core.bundle import ALL_SIGNALS
from anthem_core.encoder import Encoder
from anthem_core.errors import BundleError, DataError
from anthem_core.text import text_of, trigrams
from anthem_evaluation.metrics import in_order, ranked
from anthem_ingest.actions import source_of
from anthem_plugin.rerank import attended, best_first, exact_point, point_distances, scores
from anthem_plugin.rewrite import NO_WORDS, WINDOW
from anthem_plugin.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anthem_core.beir import Problem
    from anthem_core.bundle import Bundle
    from anthem_core.lorentz import Array
    from anthem_evaluation.metrics import Run

Advance: TypeAlias = "Callable[[int], object]"

NO_QUERY = "the queries have no such id"
STEP = 1024  # products that are encoded between two moves of the progress bar


def _ignore(_: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Products:
    """What is known of the products of a run, by id; one that is not in the corpus has neither text nor point."""

    texts: Mapping[str, str]
    points: Mapping[str, Array]


@dataclass(frozen=True)
class Reranked:
    """A run in its new order, and why some of its queries kept theirs."""

    run: Run
    left_alone: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranker:
    """What orders a window offline, as `client` mode does it in a search; `attention` None leaves that signal out."""

    encoder: Encoder
    scoring: Scoring
    attention: Attention | None

    @classmethod
    def of(cls, bundle: Bundle, signals: Collection[str], *, threads: int = 1) -> Ranker:
        """Ranker of a bundle by some signals.

        Raises:
            BundleError: The bundle has no graph, or no weights, for one of them.
        """
        scoring = Scoring.of(bundle)
        attention = Attention(bundle, threads=threads) if "attention" in signals else None
        if attention and not scoring.attentive:
            raise BundleError(
                f"{bundle.path} has fusion weights for {sorted(bundle.fusion)}; '{ALL_SIGNALS}' was wanted. "
                "Export again with this version, or rank by other --signals."
            )
        return cls(Encoder(bundle, threads=threads), scoring, attention)

    def order(self, text: str, lexical: Mapping[str, float], products: Products) -> list[str] | None:
        """Ids of a window, best first, from their lexical scores in falling order; None for a query without words."""
        query = self.encoder.query(text)
        if query is None:
            return None
        ids = list(lexical)
        points = [exact_point(products.points[product]) if product in products.points else None for product in ids]
        distance = point_distances(points, query, self.scoring)
        texts = [products.texts.get(product, "") for product in ids]
        attention = attended(self.attention, text, texts) if self.attention else None
        found = scores(np.array([lexical[product] for product in ids]), distance, self.scoring, attention)
        return [ids[number] for number in best_first(found)]


def best_signals(bundle: Bundle) -> str:
    """The most signals a bundle can rank by, as `--signals` names them."""
    known = ALL_SIGNALS if Scoring.of(bundle).attentive else "lexical+containment"
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


def in_windows(run: Run, window: int = WINDOW) -> set[str]:
    """Products among the first `window` of any query; equal scores keep their order."""
    return {product for scored in run.values() for product in in_order(scored)[:window]}


def read_texts(
    corpus: Path, wanted: Collection[str], fields: Sequence[str], problems: list[Problem], advance: Advance = _ignore
) -> dict[str, str]:
    """Texts of the wanted products, as `anthem ingest` reads them; the corpus is streamed, nothing else of it kept.

    Raises:
        DataError: The corpus cannot be read, or has not one of the products.
    """
    texts = {}
    for product in read_products(corpus, problems):
        if product.id in wanted:
            texts[product.id] = text_of(source_of(product), fields)
        advance(1)
    if wanted and not texts:
        raise DataError(
            f"{corpus} has none of the {len(wanted)} products to rerank, such as {next(iter(wanted))!r}; "
            "name the corpus that the run was made from with --corpus."
        )
    return texts


def encode(texts: Mapping[str, str], encoder: Encoder, advance: Advance = _ignore) -> dict[str, Array]:
    """Points `(D+1,)` of products by id, in float32; none for a text without letters or digits."""
    points: dict[str, Array] = {}
    for chunk in _chunks(texts):
        worded = [product for product in chunk if trigrams(texts[product], 1)]
        points.update(zip(worded, encoder.products([texts[product] for product in worded]), strict=True))
        advance(len(chunk))
    return points


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    ids = list(texts)
    return (ids[start : start + STEP] for start in range(0, len(ids), STEP))


def rerank_run(
    run: Run,
    queries: Mapping[str, str],
    products: Products,
    ranker: Ranker,
    *,
    window: int = WINDOW,
    advance: Advance = _ignore,
) -> Reranked:
    """Every product of a run in its new order, those beneath the window in their old; scores are places.

    A query without a text, or without letters or digits in it, keeps its order, and the result says why.
    """
    result = Reranked({})
    for query, scored in run.items():
        former = in_order(scored)
        lexical = {product: scored[product] for product in former[:window]}
        order = ranker.order(queries[query], lexical, products) if query in queries else None
        if order is None:
            result.left_alone[query] = NO_WORDS if query in queries else NO_QUERY
        result.run[query] = ranked([*(order or lexical), *former[window:]])
        advance(1)
    return result
