"""Load: clients that ask the search client and the service as fast as they are answered, and what that costs.

python bench/load.py                                  64 clients for 60 s on each
python bench/load.py --clients 8 --seconds 5 --json

Every answer is compared with the one that the same question got when nobody else asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from tempfile import NamedTemporaryFile
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click
import httpx
import numpy as np
from opensearchpy import OpenSearch

from anthem_core.console import print_result, stderr
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_evaluation.measure import describe_machine
from anthem_ingest.ingest import load_products
from anthem_plugin.client import AnthemClient
from anthem_sandbox.catalogue import generate_catalogue
from anthem_sandbox.node import cluster_for_tests

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import numpy.typing as npt

    from anthem_core.beir import Dataset

    Ask: TypeAlias = Callable[[int], Hashable]

INDEX = "anthem-load"
SHOP = 2_000
DOCUMENTS = 50
FLAT = 6.0  # MB a minute over the last two thirds of a minute: what 100 answers a second leak at 1 KB each
SERVE = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]


class RefusedError(Exception):
    """The service has as many requests under way as it may, and says when to come back."""


class WrongError(Exception):
    """An answer is not the one that the same question got when nobody else asked."""


@dataclass(frozen=True)
class Load:
    """Clients, each of which asks again as soon as it is answered; for how long, and how many questions there are."""

    clients: int = 64
    seconds: float = 60.0
    questions: int = 100


@dataclass(frozen=True)
class Outcome:
    """What came of a load; `errors` counts all that was neither the right answer nor a refusal."""

    name: str
    clients: int
    seconds: float
    answers: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused: int
    errors: dict[str, int]
    first_mb: float
    last_mb: float
    mb_per_minute: float


def press(name: str, ask: Ask, load: Load, pid: int) -> Outcome:
    """Let all clients ask at once, and compare, time and count what they get; `pid` is the process that serves."""
    expected = [ask(number) for number in range(load.questions)]
    end = time.perf_counter() + load.seconds
    clients = range(load.clients)
    with watched(pid) as memory, ThreadPoolExecutor(load.clients) as threads:
        started = time.perf_counter()
        told = list(
            threads.map(lambda place: asked(ask, expected, place * load.questions // load.clients, end), clients)
        )
        seconds = time.perf_counter() - started
    return outcome(name, load.clients, seconds, [one for some in told for one in some], memory)


def asked(ask: Ask, expected: Sequence[Hashable], first: int, end: float) -> list[tuple[str, float]]:
    """Ask question after question until the end; for each what came of it, `""` where it was right, and its ms."""
    told = []
    for number in count(first):
        started = time.perf_counter()
        if started >= end:
            break
        fault = verdict(ask, number % len(expected), expected[number % len(expected)])
        told.append((fault, (time.perf_counter() - started) * 1000))
        if fault == RefusedError.__name__:
            time.sleep(max(0.0, min(1.0, end - time.perf_counter())))  # as `Retry-After: 1` asks for
    return told


def verdict(ask: Ask, number: int, expected: Hashable) -> str:
    """Ask one question; nothing where the answer is the expected one, else what is wrong."""
    try:
        answer = ask(number)
    except RefusedError:
        return RefusedError.__name__
    except Exception as error:  # noqa: BLE001 (whatever a caller would see is counted)
        return f"{type(error).__name__}: {error}"[:200]
    return "" if answer == expected else WrongError.__name__


def outcome(
    name: str, clients: int, seconds: float, told: Sequence[tuple[str, float]], memory: Sequence[tuple[float, float]]
) -> Outcome:
    """Counts, quantiles of the right answers, and the slope of the memory."""
    right = [ms for fault, ms in told if not fault] or [float("nan")]
    faults = Counter(fault for fault, _ in told if fault)
    refused = faults.pop(RefusedError.__name__, 0)
    p50, p95, p99 = (round(float(value), 1) for value in np.quantile(right, (0.5, 0.95, 0.99)))
    answers = len(told) - refused - faults.total()
    first, last = round(memory[0][1], 1), round(memory[-1][1], 1)
    return Outcome(
        name, clients, round(seconds, 1), answers, round(answers / seconds, 1), p50, p95, p99, refused, dict(faults),
        first, last, round(slope(memory), 2),
    )  # fmt: skip


def slope(memory: Sequence[tuple[float, float]]) -> float:
    """MB a minute by least squares over the last two thirds of samples `(seconds, MB)`; 0 where they are too few."""
    later: npt.NDArray[np.float64] = np.array(memory[len(memory) // 3 :])
    if len(later) < 3:
        return 0.0
    return float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) * 60


@contextmanager
def watched(pid: int, every: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """Samples `(seconds, MB)` of the memory of a process, taken as long as this lasts."""
    samples, done, started = [(0.0, resident(pid))], Event(), time.perf_counter()

    def watch() -> None:
        while not done.wait(every):
            samples.append((time.perf_counter() - started, resident(pid)))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        done.set()
        watcher.join()


def resident(pid: int) -> float:
    """Memory of a process that is not swapped out, in MB; 0 where it is gone."""
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return int(told.stdout or 0) / 1024


def body_of(text: str, size: int = 20) -> dict[str, Any]:
    """Body of a plain search for titles."""
    return {"query": {"match": {"title": {"query": text}}}, "size": size, "_source": ["title"]}


def searching(anthem: AnthemClient, queries: Sequence[str], mode: Literal["cluster", "client"]) -> Ask:
    """Asks the search client; an answer is the way it was ranked and the ids in their order."""

    def ask(number: int) -> Hashable:
        found = anthem.search(INDEX, body_of(queries[number]), mode=mode)
        return found["anthem"]["mode"], tuple(hit["_id"] for hit in found["hits"]["hits"])

    return ask


def reranking(http: httpx.Client, queries: Sequence[str], titles: Sequence[str]) -> Ask:
    """Asks `/v1/rerank`; an answer is the documents in their order, with their scores."""

    def ask(number: int) -> Hashable:
        some = [titles[(number * 7 + place) % len(titles)] for place in range(DOCUMENTS)]
        results = posted(http, "/v1/rerank", {"query": queries[number], "documents": some})["results"]
        return tuple((result["index"], result["relevance_score"]) for result in results)

    return ask


def rewriting(http: httpx.Client, queries: Sequence[str]) -> Ask:
    """Asks `/rewrite`; an answer is the body to send."""
    return lambda number: json.dumps(posted(http, "/rewrite", {"body": body_of(queries[number])}))


def posted(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer of the service.

    Raises:
        RefusedError: It is full, and says so as it should: 503, when to come back, and a sentence.
        httpx.HTTPStatusError: Any other status than 200.
    """
    answer = http.post(path, json=body)
    if answer.status_code == 503 and answer.headers.get("Retry-After") and "under way" in answer.json()["detail"]:
        raise RefusedError
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


@contextmanager
def serving(url: str, concurrency: int, clients: int) -> Iterator[tuple[int, httpx.Client]]:
    """Run `anthem serve` beside a cluster; its process number and a client with a connection for each of `clients`."""
    with NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*SERVE, "--port", "0", "--concurrency", str(concurrency)],
            stdout=log, stderr=log, env=os.environ | {"OPENSEARCH_URL": url},
        )  # fmt: skip
        try:
            limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
            with httpx.Client(base_url=address(process, log.name), limits=limits, timeout=60) as http:
                yield process.pid, http
        finally:
            process.terminate()
            process.wait(30)


def address(process: subprocess.Popen[bytes], log: str, seconds: float = 60) -> str:
    """Where a service says it listens, once it does.

    Raises:
        RuntimeError: It ended, or did not say so in time.
    """
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        with open(log, encoding="utf-8") as said:  # noqa: PTH123 (a name that tempfile gives)
            if found := re.search(r"http://127\.0\.0\.1:\d+", text := said.read()):
                return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"anthem serve does not listen: {text}")


def on_clients(url: str, data: Dataset, encoder: Encoder, load: Load) -> Iterator[Outcome]:
    """Load on the search client in both modes; the process that serves is this one."""
    queries = list(data.queries.values())
    with OpenSearch(hosts=[url], timeout=60, pool_maxsize=load.clients) as opensearch:
        opensearch.indices.delete(index=INDEX, ignore_unavailable=True)
        load_products(opensearch, INDEX, data.products.values(), encoder)
        anthem = AnthemClient(opensearch, encoder, cache=0)  # every query is encoded, as new ones are
        yield press("search, cluster", searching(anthem, queries, "cluster"), load, os.getpid())
        yield press("search, client", searching(anthem, queries, "client"), load, os.getpid())
        opensearch.indices.delete(index=INDEX)


def on_service(url: str, data: Dataset, load: Load) -> Iterator[Outcome]:
    """Load on the service, with room for all clients and then with room for an eighth of them."""
    queries, titles = list(data.queries.values()), [product.title for product in data.products.values()]
    # A client may ask again before the request it was just answered counts as done.
    with serving(url, 2 * load.clients, load.clients) as (pid, http):
        yield press("/v1/rerank", reranking(http, queries, titles), load, pid)
        yield press("/rewrite", rewriting(http, queries), load, pid)
    room = max(1, load.clients // 8)
    with serving(url, room, load.clients) as (pid, http):
        yield press(f"/v1/rerank, room for {room}", reranking(http, queries, titles), load, pid)


def as_text(outcomes: Sequence[Outcome]) -> str:
    """A markdown table, a row a load."""
    head = (
        "| load | clients | s | answers | a second | p50 ms | p95 ms | p99 ms | refused | errors | MB | MB a minute |"
    )
    rows = [
        f"| {one.name} | {one.clients} | {one.seconds:.0f} | {one.answers:,} | {one.per_second:,.0f} | {one.p50_ms} | "
        f"{one.p95_ms} | {one.p99_ms} | {one.refused:,} | {sum(one.errors.values())} | "
        f"{one.first_mb:.0f} to {one.last_mb:.0f} | {one.mb_per_minute:+.1f} |"
        for one in outcomes
    ]
    return "\n".join([head, "|---|" + "---:|" * 11, *rows])


@click.command()
@click.option("--clients", type=click.IntRange(1, 256), default=64, show_default=True, help="Clients at once.")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=60.0, show_default=True, help="For each of the five loads."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(clients: int, seconds: float, *, as_json: bool) -> None:
    """Put load on the search client and the service, on the loopback address, and say what came of it.

    The cluster is ANTHEM_TEST_URL, else one in Docker, else a local node; an index `anthem-load` is made and removed.
    Exit code 1: something but right answers and clean refusals came, or memory grew faster than 6 MB a minute.

    Example: python bench/load.py --clients 8 --seconds 5
    """
    load, data, encoder = Load(clients, seconds), generate_catalogue(products=SHOP), Encoder(load_bundle("general"))
    outcomes = []
    with cluster_for_tests() as url:
        for loads in (on_clients(url, data, encoder, load), on_service(url, data, load)):
            for one in loads:
                stderr.print(one)
                outcomes.append(one)
    value = {"machine": describe_machine(), "loads": [asdict(one) for one in outcomes]}
    print_result(value, f"{describe_machine()}\n\n{as_text(outcomes)}", as_json=as_json)
    sys.exit(any(one.errors or one.mb_per_minute > FLAT for one in outcomes))


if __name__ == "__main__":
    main()
