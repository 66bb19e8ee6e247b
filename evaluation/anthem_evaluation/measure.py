"""Measurements on a cluster: runs, latencies, containment. Every search goes through `AnthemClient`."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.cores import usable_cores
from anthem_core.opensearch.connection import cluster_errors
from anthem_evaluation.metrics import relevant_grade
from anthem_evaluation.report import ContainmentShares, SearchLatency
from anthem_evaluation.runs import rank_scores, told_apart_scores
from anthem_plugin.rewriter.placeholder import fill_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.runs import Run
    from anthem_plugin.client import AnthemClient
    from anthem_plugin.modes import ModeName

RUN_DEPTH = 100  # hits of each query in a run
TIMED_PAGE_SIZE = 10  # hits of a search that is timed


@dataclass(frozen=True)
class SearchSetup:
    """How an index is searched: the field matched or a body of one's own, the rerank mode, the hits reranked.

    `page_limit` is the number of hits that a search may fetch, or None if it is not known to be limited.
    """

    client: AnthemClient
    index: str
    field: str = "title"
    mode: ModeName = "cluster"
    window: int = RUN_DEPTH
    body: Mapping[str, Any] | None = None
    page_limit: int | None = None

    def search(self, text: str, *, size: int = RUN_DEPTH, mode: ModeName | None = None) -> dict[str, Any]:
        """Response to the own body, or else to a `match` of the text on the field, without sources."""
        body = {**self.query_body(text), "size": self.fit(size), "_source": False}
        options: dict[str, Any] = {"query_text": text, "window": self.window, "preference": "_local"}
        with cluster_errors():
            return self.client.search(self.index, body, mode=mode or self.mode, **options)

    def fit(self, size: int) -> int:
        """The largest page up to this one that a search may fetch."""
        return min(size, self.page_limit or size)

    def query_body(self, text: str) -> dict[str, Any]:
        """The own body with the text filled in, or else a `match` of the text on the field."""
        if self.body is None:
            return {"query": {"match": {self.field: {"query": text}}}}
        filled: dict[str, Any] = fill_text(self.body, text)
        return filled


@dataclass(frozen=True)
class SearchRun:
    """A run, the reason for each query that was not reranked, and the number of the others by their signals.

    The keys of `signals` are those of `anthem rerank --signals`, such as `lexical,attention`. `scored` is the same run
    with the scores of the response, where it has them.
    """

    run: Run
    not_reranked: dict[str, str]
    signals: dict[str, int]
    scored: Run = field(default_factory=dict)


def run_queries(
    setup: SearchSetup, queries: Mapping[str, str], *, mode: ModeName, advance: Callable[[int], object] = lambda _: None
) -> SearchRun:
    """Search for every query once; the run keeps the first hundred hits in the order of the response."""
    run: Run = {}
    scored: Run = {}
    not_reranked = {}
    signals: Counter[str] = Counter()
    for query, text in queries.items():
        response = setup.search(text, mode=mode)
        hits = response["hits"]["hits"]
        run[query] = rank_scores([hit["_id"] for hit in hits])
        scored[query] = told_apart_scores({hit["_id"]: hit["_score"] for hit in hits}) or run[query]
        report = response["anthem"]
        if report["reranked"]:
            signals[",".join(report["signals"])] += 1
        elif mode != "none":
            not_reranked[query] = report["reason"]
        advance(1)
    return SearchRun(run, not_reranked, dict(signals.most_common()), scored)


def measure_latencies(
    setup: SearchSetup, texts: Sequence[str], *, rounds: int = 3
) -> tuple[SearchLatency, SearchLatency]:
    """Milliseconds of a search for ten hits, lexical and reranked.

    The two kinds take turns at being first. A first round that warms up is not counted.
    """
    lexical: list[float] = []
    reranked: list[float] = []
    for round_number in range(rounds + 1):
        for number, text in enumerate(texts):
            pair: list[tuple[ModeName, list[float]]] = [("none", lexical), (setup.mode, reranked)]
            for mode, milliseconds in pair if (number + round_number) % 2 else reversed(pair):
                elapsed = _time_search(setup, text, mode)
                if round_number:
                    milliseconds.append(elapsed)
    used_mode = setup.search(texts[0], size=TIMED_PAGE_SIZE)["anthem"]["mode"]
    return _summarise_latency("lexical", lexical), _summarise_latency(f"reranked ({used_mode})", reranked)


def _time_search(setup: SearchSetup, text: str, mode: ModeName) -> float:
    started = time.perf_counter()
    setup.search(text, size=TIMED_PAGE_SIZE, mode=mode)
    return (time.perf_counter() - started) * 1000


def _summarise_latency(name: str, milliseconds: Iterable[float]) -> SearchLatency:
    p50, p95, p99 = np.percentile(list(milliseconds), [50, 95, 99])
    return SearchLatency(name, float(p50), float(p95), float(p99))


def measure_containment(encoder: Encoder, dataset: Dataset, qrels: Qrels) -> ContainmentShares | None:
    """Shares of the judged products, relevant and not, inside their query's region at default slack.

    None if no relevant or no irrelevant product was judged.
    """
    relevant = relevant_grade(qrels)
    inside: dict[bool, list[bool]] = {True: [], False: []}
    for query_id, grades in qrels.items():
        query = encoder.encode_query(dataset.queries[query_id])
        if query is None:
            continue
        points = encoder.encode_products([dataset.products[product].title for product in grades])
        for grade, is_inside in zip(grades.values(), query.contains(points, encoder.bundle.slack), strict=True):
            inside[grade >= relevant].append(bool(is_inside))
    if not (inside[True] and inside[False]):
        return None
    return ContainmentShares(*(sum(inside[kind]) / len(inside[kind]) for kind in (True, False)))


def describe_machine() -> str:
    """Processor, cores, memory, system and Python, such as `AMD EPYC, 2 cores, 24 GB, Linux, Python 3.11.7`."""
    cores, memory = usable_cores(), f"{_memory_gigabytes()} GB"
    return f"{_processor_name()}, {cores} cores, {memory}, {platform.system()}, Python {platform.python_version()}"


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gigabytes() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
