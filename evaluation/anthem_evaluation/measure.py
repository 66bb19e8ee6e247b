"""What is measured on a cluster: runs, latency, containment. Everything sent goes through `AnthemClient`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.cluster import explained
from anthem_core.containment import contained
from anthem_evaluation.metrics import ranked, relevant_grade
from anthem_evaluation.report import Contained, Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoder import Encoder
    from anthem_evaluation.metrics import Run
    from anthem_plugin.client import AnthemClient, Mode

DEPTH = 100
PAGE = 10


@dataclass(frozen=True)
class Searches:
    """How an index is searched: the field that is matched, where hits are reranked, and how many are."""

    client: AnthemClient
    index: str
    field: str = "title"
    mode: Mode = "cluster"
    window: int = DEPTH

    def hits(self, text: str, *, size: int = DEPTH, mode: Mode | None = None, source: object = False) -> dict[str, Any]:
        """Response to one query text, a `match` on the field."""
        body = {"query": {"match": {self.field: {"query": text}}}, "size": size, "_source": source}
        with explained():
            return self.client.search(self.index, body, mode=mode or self.mode, window=self.window, preference="_local")


@dataclass(frozen=True)
class Measured:
    """A run, and why some of its queries were not reranked."""

    run: Run
    left_alone: dict[str, str]


def run_queries(
    searches: Searches, queries: Mapping[str, str], *, mode: Mode, advance: Callable[[int], object] = lambda _: None
) -> Measured:
    """Run every query once, the first hundred hits in the order in which they came."""
    run: Run = {}
    left_alone = {}
    for query, text in queries.items():
        response = searches.hits(text, mode=mode)
        run[query] = ranked([hit["_id"] for hit in response["hits"]["hits"]])
        if mode != "none" and not response["anthem"]["reranked"]:
            left_alone[query] = response["anthem"]["reason"]
        advance(1)
    return Measured(run, left_alone)


def latencies(searches: Searches, texts: Sequence[str], *, rounds: int = 3) -> tuple[Latency, Latency]:
    """Milliseconds of a page of ten, lexical and reranked, by turns the first; the first round is not counted."""
    plain: list[float] = []
    reranked: list[float] = []
    for number in range(rounds + 1):
        for place, text in enumerate(texts):
            pair: list[tuple[Mode, list[float]]] = [("none", plain), (searches.mode, reranked)]
            for mode, milliseconds in pair if (place + number) % 2 else reversed(pair):
                took = _timed(searches, text, mode)
                if number:
                    milliseconds.append(took)
    used = searches.hits(texts[0], size=PAGE)["anthem"]["mode"]
    return _latency("lexical", plain), _latency(f"reranked ({used})", reranked)


def _timed(searches: Searches, text: str, mode: Mode) -> float:
    started = time.perf_counter()
    searches.hits(text, size=PAGE, mode=mode)
    return (time.perf_counter() - started) * 1000


def _latency(name: str, milliseconds: Iterable[float]) -> Latency:
    p50, p95 = np.percentile(list(milliseconds), [50, 95])
    return Latency(name, float(p50), float(p95))


def containment_shares(encoder: Encoder, dataset: Dataset, qrels: Qrels) -> Contained | None:
    """Shares of judged products, relevant and below that grade, that lie in their query's region at default slack.

    None where there is none of one kind.
    """
    relevant = relevant_grade(qrels)
    inside: dict[bool, list[bool]] = {True: [], False: []}
    for query_id, judged in qrels.items():
        query = encoder.query(dataset.queries[query_id])
        if query is None:
            continue
        points = encoder.products([dataset.products[product].title for product in judged])
        for grade, lies_inside in zip(judged.values(), contained(query, points, encoder.bundle.slack), strict=True):
            inside[grade >= relevant].append(bool(lies_inside))
    if not (inside[True] and inside[False]):
        return None
    return Contained(*(sum(inside[kind]) / len(inside[kind]) for kind in (True, False)))
