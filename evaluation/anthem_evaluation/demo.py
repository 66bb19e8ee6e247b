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
from anthem_core.bundle import load
from anthem_core.catalogue import generate
from anthem_core.cluster import connect, explained
from anthem_core.console import err, progress, skipped
from anthem_core.encoder import Encoder
from anthem_core.errors import DataError
from anthem_core.node import demo_cluster, status
from anthem_evaluation.assess import Judgments, assess
from anthem_evaluation.measure import Searches
from anthem_evaluation.report import Timing
from anthem_ingest.ingest import ingest_index, survey
from anthem_plugin.client import AnthemClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset
    from anthem_evaluation.report import Report
    from anthem_plugin.client import Mode

SPLIT = "dev"
LIMITS = (
    "Only what the lexical search found is put into a new order: a product it missed stays missed.",
    "The latencies are those of one caller on one node of the same machine.",
)
UNJUDGED = "Products that nobody judged count as irrelevant, which favours the engine that chose what was judged."
GENERATED = (
    "A program made catalogue and judgments, and the bundle that ships has learned from these titles and from the "
    "judgments of other queries: this shows that the job works, not what it is worth."
)


@dataclass(frozen=True)
class Demo:
    """What a demo leaves behind: a report, where the products are, and whether that is the local node, which stays."""

    report: Report
    url: str
    index: str
    lasting: bool


@dataclass
class Clock:
    """Seconds that each step took."""

    steps: list[Timing] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step and say so."""
        started = time.monotonic()
        yield
        self.steps.append(Timing(name, round(time.monotonic() - started, 1)))
        err.print(f"{name}: {self.steps[-1].seconds} s")


def run_demo(folder: Path | None, bundle: str, mode: Mode = "client") -> Demo:
    """Do the main job on a BEIR folder, or on the generated catalogue; `client` mode knows all three signals.

    Raises:
        BundleError: There is no such bundle.
        DataError: The folder cannot be read or has no judged queries of the split `dev`.
        NodeError: No cluster can be had.
        ClusterError: The cluster refuses something.
    """
    clock = Clock()
    encoder = Encoder(load(bundle), threads=os.cpu_count() or 1)
    with clock.step("read the catalogue" if folder else "generate the catalogue"):
        judgments = _judgments(folder)
    with ExitStack() as stack:
        with clock.step("start OpenSearch"):
            url = stack.enter_context(demo_cluster())
        client = stack.enter_context(connect(url))
        stack.enter_context(explained())
        index, report = _main_job(client, encoder, judgments, clock, mode)
    limits = (*report.limits, GENERATED if folder is None else UNJUDGED, *LIMITS)
    return Demo(replace(report, timings=tuple(clock.steps), limits=limits), url, index, lasting=url == status().url)


def _judgments(folder: Path | None) -> Judgments:
    name, dataset = ("catalogue", generate()) if folder is None else (folder.resolve().name, read_dataset(folder))
    skipped(dataset.problems)
    if not dataset.qrels.get(SPLIT):
        raise DataError(f"{folder} has no qrels/{SPLIT}.tsv with judgments; the demo measures its gain on them.")
    return Judgments(name, dataset, SPLIT)


def _main_job(
    client: OpenSearch, encoder: Encoder, judgments: Judgments, clock: Clock, mode: Mode
) -> tuple[str, Report]:
    index = "anthem-demo-" + re.sub(r"[^a-z0-9]+", "-", judgments.name.lower())
    with clock.step("index the products, without vectors"):
        _fill(client, index, judgments.dataset)
    with clock.step("give every product its vector"):
        _ingest(client, index, encoder)
    with clock.step("search as before and reranked, and measure"):
        cluster = f"OpenSearch {client.info()['version']['number']}"
        report = assess(judgments, Searches(AnthemClient(client, encoder), index, mode=mode), encoder, cluster)
    return index, report


def _ingest(client: OpenSearch, index: str, encoder: Encoder) -> None:
    found = survey(client, index, encoder.bundle)
    err.print(str(found))
    with progress("encoding", found.products) as advance:
        err.print(f"{index}: {ingest_index(client, index, encoder, advance=advance)}")


def _fill(client: OpenSearch, index: str, dataset: Dataset) -> None:
    """Index the products as a shop has them before it knows ANTHEM; the index is the demo's own and made anew."""
    client.indices.delete(index=index, ignore_unavailable=True)
    client.indices.create(index=index, body=shop_index())
    with progress("indexing", len(dataset.products)) as advance:
        actions = _documents(index, dataset, advance)
        bulk(client, actions, chunk_size=1000)
    client.indices.refresh(index=index)


def _documents(index: str, dataset: Dataset, advance: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for product in dataset.products.values():
        yield {"_index": index, "_id": product.id, "_source": {"title": product.title, "text": product.text}}
        advance(1)


def shop_index() -> dict[str, Any]:
    """Index of a shop without vectors: English text, one shard."""
    english = {"type": "text", "analyzer": "english"}
    return {
        "settings": {"number_of_shards": 1, "number_of_replicas": 0},
        "mappings": {"properties": {"title": english, "text": english}},
    }
