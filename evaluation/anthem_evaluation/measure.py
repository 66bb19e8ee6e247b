"""What is measured on a cluster: runs, latency, containment. Everything sent goes through `AnthemClient`."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.geometry.regions import contained
from anthem_core.opensearch.connection import cluster_errors
from anthem_evaluation.metrics import relevant_grade
from anthem_evaluation.report import ContainmentShares, SearchLatency
from anthem_evaluation.runs import rank_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.runs import Run
    from anthem_plugin.client import AnthemClient, ModeName

RUN_DEPTH = 100
TIMED_PAGE_SIZE = 10


@dataclass(frozen=True)
class SearchSetup:
    """How an index is searched: the field that is matched, where hits are reranked, and how many are."""

    client: AnthemClient
    index: str
    field: str = "title"
    mode: ModeName = "cluster"
    window: int = RUN_DEPTH

    def hits(
        self, text: str, *, size: int = RUN_DEPTH, mode: ModeName | None = None, source: object = False
    ) -> dict[str, Any]:
        """Response to one query text, a `match` on the field."""
        body = {"query": {"match": {self.field: {"query": text}}}, "size": size, "_source": source}
        with cluster_errors():
            return self.client.search(self.index, body, mode=mode or self.mode, window=self.window, preference="_local")


@dataclass(frozen=True)
class SearchRun:
    """A run, and why some of its queries were not reranked."""

    run: Run
    left_alone: dict[str, str]


def run_queries(
    searches: SearchSetup,
    queries: Mapping[str, str],
    *,
    mode: ModeName,
    advance: Callable[[int], object] = lambda _: None,
) -> SearchRun:
    """Run every query once, the first hundred hits in the order in which they came."""
    run: Run = {}
    left_alone = {}
    for query, text in queries.items():
        response = searches.hits(text, mode=mode)
        run[query] = rank_scores([hit["_id"] for hit in response["hits"]["hits"]])
        if mode != "none" and not response["anthem"]["reranked"]:
            left_alone[query] = response["anthem"]["reason"]
        advance(1)
    return SearchRun(run, left_alone)


def measure_latencies(
    searches: SearchSetup, texts: Sequence[str], *, rounds: int = 3
) -> tuple[SearchLatency, SearchLatency]:
    """Milliseconds of a page of ten, lexical and reranked, by turns the first; the first round is not counted."""
    plain: list[float] = []
    reranked: list[float] = []
    for number in range(rounds + 1):
        for place, text in enumerate(texts):
            pair: list[tuple[ModeName, list[float]]] = [("none", plain), (searches.mode, reranked)]
            for mode, milliseconds in pair if (place + number) % 2 else reversed(pair):
                took = _time_search(searches, text, mode)
                if number:
                    milliseconds.append(took)
    used = searches.hits(texts[0], size=TIMED_PAGE_SIZE)["anthem"]["mode"]
    return _summarise_latency("lexical", plain), _summarise_latency(f"reranked ({used})", reranked)


def _time_search(searches: SearchSetup, text: str, mode: ModeName) -> float:
    started = time.perf_counter()
    searches.hits(text, size=TIMED_PAGE_SIZE, mode=mode)
    return (time.perf_counter() - started) * 1000


def _summarise_latency(name: str, milliseconds: Iterable[float]) -> SearchLatency:
    p50, p95 = np.percentile(list(milliseconds), [50, 95])
    return SearchLatency(name, float(p50), float(p95))


def measure_containment(encoder: Encoder, dataset: Dataset, qrels: Qrels) -> ContainmentShares | None:
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
    return ContainmentShares(*(sum(inside[kind]) / len(inside[kind]) for kind in (True, False)))


def describe_machine() -> str:
    """Processor, cores, memory, system and Python, such as `AMD EPYC, 2 cores, 24 GB, Linux, Python 3.11.7`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor_name()}, {cores} cores, {_memory_gigabytes()} GB, {platform.system()}, Python {platform.python_version()}"


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gigabytes() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
