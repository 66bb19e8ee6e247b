"""Time of a search on a real node: plain, reranked in the cluster by each set of signals, and reranked in the client.

python bench/search_latency.py --data ../shared/data/home_depot

All ways run one after the other for each query, in changing order, so that they meet the same state of the machine.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
import numpy as np

from anthem_core.beir import read_dataset
from anthem_core.console import handle_errors, json_option, print_result, progress
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import connect
from anthem_evaluation.measure import describe_machine
from anthem_ingest.ingest import load_products
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id
from anthem_plugin.scoring.params import ScoringParams
from anthem_sandbox.node import cluster_for_tests

if TYPE_CHECKING:
    from collections.abc import Callable

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset

    Search: TypeAlias = Callable[[], object]

LATENCY_INDEX = "anthem-latency"
MEASURED_WINDOWS = (100, 1000)
WARM_UP_QUERIES = 300  # the JVM compiles the script meanwhile
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}


@dataclass(frozen=True)
class LatencySetup:
    """A cluster with the indexed products, and what encodes the queries."""

    cluster: OpenSearch
    encoder: Encoder
    attention: AttentionScorer
    client: AnthemClient

    def ways(self, text: str, window: int) -> dict[str, Search]:
        """Ways to search for a text; all bodies and encoded queries are ready beforehand."""
        plain: dict[str, Any] = {"query": {"match": {"title": {"query": text}}}, "size": 10, "_source": ["title"]}
        region, table = self.encoder.encode_query(text), self.attention.encode_query(text)
        if region is None or table is None:
            return {}
        scoring = ScoringParams.from_bundle(self.encoder.bundle)
        build = partial(build_script_body, plain, scoring=scoring, mode="cluster", window=window)
        bodies = {
            "plain": plain,
            "fetching the titles": {**plain, "size": window},
            "cluster, three signals": build(region=region, tables=[table]).body,
            "cluster, attention": build(region=None, tables=[table]).body,
            "cluster, containment": build(region=region).body,
        }
        searches: dict[str, Search] = {name: partial(self._send, body) for name, body in bodies.items()}
        for mode in ("cluster", "client"):
            name = f"AnthemClient, {mode} mode"
            searches[name] = partial(self.client.search, LATENCY_INDEX, plain, mode=mode, window=window)
        return searches

    def _send(self, body: dict[str, Any]) -> object:
        return self.cluster.search(index=LATENCY_INDEX, body=body)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="BEIR folder with products and queries.",
)
@click.option("--bundle", "bundle_name", default="general", show_default=True, help="Folder or name of a bundle.")
@click.option("--queries", type=click.IntRange(1), default=500, show_default=True, help="Number of timed queries.")
@json_option
@handle_errors
def main(*, data: Path, bundle_name: str, queries: int, as_json: bool) -> None:
    """Time searches of the first QUERIES queries of a dataset. Run it on an idle machine.

    Example: python bench/search_latency.py --data ../shared/data/home_depot
    """
    dataset, encoder = read_dataset(data), Encoder(load_bundle(bundle_name))
    with cluster_for_tests() as url, closing(connect(url)) as cluster:
        _index_products(cluster, dataset, encoder)
        try:
            setup = LatencySetup(
                cluster, encoder, AttentionScorer(encoder.bundle), AnthemClient(cluster, encoder, ClientOptions())
            )
            texts = list(dataset.queries.values())[: queries + WARM_UP_QUERIES]
            times = {window: measure_ways(setup, texts, window) for window in MEASURED_WINDOWS}
        finally:
            cluster.indices.delete(index=LATENCY_INDEX)
    machine = describe_machine()
    result = {"machine": machine, "data": data.name, "products": len(dataset.products), "windows": times}
    print_result(result, format_times(times, machine), as_json=as_json)


def _index_products(cluster: OpenSearch, dataset: Dataset, encoder: Encoder) -> None:
    cluster.indices.delete(index=LATENCY_INDEX, ignore_unavailable=True)
    with progress("loading products", None):
        load_products(cluster, LATENCY_INDEX, dataset.products.values(), encoder)
    cluster.indices.forcemerge(index=LATENCY_INDEX, max_num_segments=1, request_timeout=600)
    cluster.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)


def measure_ways(setup: LatencySetup, texts: list[str], window: int) -> dict[str, dict[str, float]]:
    """Milliseconds of every way, and those added to the plain search of the same query, by quantile."""
    samples: dict[str, list[float]] = defaultdict(list)
    with progress(f"window {window}", len(texts)) as advance:
        for number, text in enumerate(texts):
            timed = _time_once(setup.ways(text, window), first=number)
            advance(1)
            if number >= WARM_UP_QUERIES or number >= len(texts) // 2:
                for name, milliseconds in timed.items():
                    samples[name].append(milliseconds)
    plain = np.array(samples["plain"])
    return {name: _quantiles(np.array(values), plain) for name, values in samples.items()}


def _time_once(ways: dict[str, Search], first: int) -> dict[str, float]:
    """Milliseconds of each way, starting with another way for each query; each runs once before it is timed."""
    names = list(ways)
    milliseconds = {}
    for name in names[first % max(len(names), 1) :] + names[: first % max(len(names), 1)]:
        ways[name]()
        started = time.perf_counter()
        ways[name]()
        milliseconds[name] = 1000 * (time.perf_counter() - started)
    return milliseconds


def _quantiles(values: np.ndarray[Any, np.dtype[np.float64]], plain: np.ndarray[Any, np.dtype[np.float64]]) -> Any:  # noqa: ANN401
    own = {name: round(float(np.quantile(values, share)), 2) for name, share in QUANTILES.items()}
    return own | {"added_p50": round(float(np.median(values - plain)), 2)}


def format_times(times: dict[int, dict[str, dict[str, float]]], machine: str) -> str:
    """A line for each way and window."""
    lines = [f"{'':8}{'':26}{'p50':>7} {'p10':>7} {'p90':>7} {'added':>7}  ms"]
    for window, ways in times.items():
        for name, ms in ways.items():
            values = " ".join(f"{ms[key]:7.2f}" for key in ("p50", "p10", "p90", "added_p50"))
            lines.append(f"{window:<8}{name:26}{values}")
    return "\n".join([*lines, machine])


if __name__ == "__main__":
    main()
