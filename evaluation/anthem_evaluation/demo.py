"""The whole main job from nothing: a node, a catalogue, vectors, searches before and after, a report."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from opensearchpy.helpers import bulk

from anthem_core.beir import read_dataset
from anthem_core.console import print_skipped, progress, stderr
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import DataError
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_evaluation.evaluate import EvaluationSet, evaluate_reranking
from anthem_evaluation.measure import SearchSetup
from anthem_evaluation.report import StepTiming
from anthem_ingest.ingest import ingest_index, survey_index
from anthem_plugin.client import AnthemClient
from anthem_sandbox.catalogue import generate_catalogue
from anthem_sandbox.node import cluster_for_demo, get_node_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset
    from anthem_evaluation.report import Report
    from anthem_plugin.client import ModeName

DEMO_SPLIT = "dev"
GENERAL_CAVEATS = (
    "Only what the lexical search found is put into a new order: a product it missed stays missed.",
    "The latencies are those of one caller on one node of the same machine.",
)
UNJUDGED_CAVEAT = (
    "Products that nobody judged count as irrelevant, which favours the engine that chose what was judged."
)
GENERATED_DATA_CAVEAT = (
    "A program made catalogue and judgments, and the bundle that ships has learned from these titles and from the "
    "judgments of other queries: this shows that the job works, not what it is worth."
)


@dataclass(frozen=True)
class DemoOutcome:
    """What a demo leaves behind: a report, where the products are, and whether that is the local node, which stays."""

    report: Report
    url: str
    index: str
    lasting: bool


@dataclass
class StepTimer:
    """Seconds that each step took."""

    steps: list[StepTiming] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step and say so."""
        started = time.monotonic()
        yield
        self.steps.append(StepTiming(name, round(time.monotonic() - started, 1)))
        stderr.print(f"{name}: {self.steps[-1].seconds} s")


def run_demo(folder: Path | None, bundle: str, mode: ModeName = "client") -> DemoOutcome:
    """Do the main job on a BEIR folder, or on the generated catalogue; `client` mode knows all three signals.

    Raises:
        BundleError: There is no such bundle.
        DataError: The folder cannot be read or has no judged queries of the split `dev`.
        NodeError: No cluster can be had.
        ClusterError: The cluster refuses something.
    """
    clock = StepTimer()
    encoder = Encoder(load_bundle(bundle), threads=os.cpu_count() or 1)
    with clock.step("read the catalogue" if folder else "generate the catalogue"):
        judgments = _read_evaluation_set(folder)
    with ExitStack() as stack:
        with clock.step("start OpenSearch"):
            url = stack.enter_context(cluster_for_demo())
        client = stack.enter_context(connect(url))
        stack.enter_context(cluster_errors())
        index, report = _index_ingest_evaluate(client, encoder, judgments, clock, mode)
    limits = (*report.limits, GENERATED_DATA_CAVEAT if folder is None else UNJUDGED_CAVEAT, *GENERAL_CAVEATS)
    return DemoOutcome(
        replace(report, timings=tuple(clock.steps), limits=limits), url, index, lasting=url == get_node_status().url
    )


def _read_evaluation_set(folder: Path | None) -> EvaluationSet:
    name, dataset = (
        ("catalogue", generate_catalogue()) if folder is None else (folder.resolve().name, read_dataset(folder))
    )
    print_skipped(dataset.problems)
    if not dataset.qrels.get(DEMO_SPLIT):
        raise DataError(f"{folder} has no qrels/{DEMO_SPLIT}.tsv with judgments; the demo measures its gain on them.")
    return EvaluationSet(name, dataset, DEMO_SPLIT)


def _index_ingest_evaluate(
    client: OpenSearch, encoder: Encoder, judgments: EvaluationSet, clock: StepTimer, mode: ModeName
) -> tuple[str, Report]:
    index = "anthem-demo-" + re.sub(r"[^a-z0-9]+", "-", judgments.name.lower())
    with clock.step("index the products, without vectors"):
        _index_products(client, index, judgments.dataset)
    with clock.step("give every product its vector"):
        _ingest(client, index, encoder)
    with clock.step("search as before and reranked, and measure"):
        cluster = f"OpenSearch {client.info()['version']['number']}"
        report = evaluate_reranking(
            judgments, SearchSetup(AnthemClient(client, encoder), index, mode=mode), encoder, cluster
        )
    return index, report


def _ingest(client: OpenSearch, index: str, encoder: Encoder) -> None:
    found = survey_index(client, index, encoder.bundle)
    stderr.print(str(found))
    with progress("encoding", found.products) as advance:
        stderr.print(f"{index}: {ingest_index(client, index, encoder, advance=advance)}")


def _index_products(client: OpenSearch, index: str, dataset: Dataset) -> None:
    """Index the products as a shop has them before it knows ANTHEM; the index is the demo's own and made anew."""
    client.indices.delete(index=index, ignore_unavailable=True)
    client.indices.create(index=index, body=plain_index_body())
    with progress("indexing", len(dataset.products)) as advance:
        actions = _documents(index, dataset, advance)
        bulk(client, actions, chunk_size=1000)
    client.indices.refresh(index=index)


def _documents(index: str, dataset: Dataset, advance: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for product in dataset.products.values():
        yield {"_index": index, "_id": product.id, "_source": {"title": product.title, "text": product.text}}
        advance(1)


def plain_index_body() -> dict[str, Any]:
    """Index of a shop without vectors: English text, one shard."""
    english = {"type": "text", "analyzer": "english"}
    return {
        "settings": {"number_of_shards": 1, "number_of_replicas": 0},
        "mappings": {"properties": {"title": english, "text": english}},
    }
