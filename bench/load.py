"""Load test of the search client and the service: closed-loop clients, each of which repeats requests without a pause.

python bench/load.py                                  64 clients for 2 minutes per load
python bench/load.py --clients 8 --seconds 5 --json
python bench/load.py --only "/v1/rerank, new queries" --seconds 3600

Every answer is compared with the answer that the same request got without load.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from array import array
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import count
from tempfile import NamedTemporaryFile
from threading import Event, Thread
from typing import TYPE_CHECKING, Literal

import click
import httpx
import numpy as np
from opensearchpy import OpenSearch

from anthem_core.console import FiniteFloatRange, print_result, stderr
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_evaluation.measure import describe_machine
from anthem_ingest.ingest import load_products
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_sandbox.catalogue import generate_catalogue
from anthem_sandbox.node import cluster_for_tests
from load_requests import (
    LOAD_INDEX,
    RefusedError,
    WrongAnswerError,
    new_query_requests,
    rerank_requests,
    rewrite_requests,
    search_requests,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import numpy.typing as npt

    from anthem_core.beir import Dataset
    from load_requests import SendRequest

LOAD_NAMES = ("search, cluster", "search, client", "/v1/rerank", "/v1/rerank, new queries", "/rewrite")
FULL_LOAD_NAME = "/v1/rerank, too many clients"
CLOSED_ADDRESS = "http://localhost:9"  # the service starts without a cluster
CATALOGUE_SIZE = 2_000  # products
MAX_MB_PER_MINUTE = 6.0  # growth over the last third of a load: 100 answers per second that leak 1 KB each
SERVE_COMMAND = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]


@dataclass(frozen=True)
class LoadSettings:
    """Number of concurrent clients, duration of a load, number of different requests, and the loads to run."""

    clients: int = 64
    seconds: float = 180.0
    requests: int = 100
    names: tuple[str, ...] = (*LOAD_NAMES, FULL_LOAD_NAME)


@dataclass(frozen=True)
class ClientRecord:
    """Milliseconds of each correct answer that one client got, and the number of its other answers by fault.

    8 bytes an answer: the search client is measured in the same process, so a longer record would look like a leak.
    """

    correct_ms: array[float] = field(default_factory=lambda: array("d"))
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class LoadResult:
    """Result of one load; `errors` counts everything except correct answers and refusals. `--json` prints it."""

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


def run_load(name: str, send: SendRequest, settings: LoadSettings, pid: int) -> LoadResult:
    """Run all clients at once, and compare, time and count their answers.

    Args:
        name: Name of the load.
        send: Sends one request.
        settings: Number of clients and requests, and the duration.
        pid: Process whose memory is measured.
    """
    expected = [send(number) for number in range(settings.requests)]
    deadline = time.perf_counter() + settings.seconds
    first_requests = [client * settings.requests // settings.clients for client in range(settings.clients)]
    with sample_memory(pid) as memory, ThreadPoolExecutor(settings.clients) as threads:
        started = time.perf_counter()
        records = list(threads.map(lambda first: run_client(send, expected, first, deadline), first_requests))
        seconds = time.perf_counter() - started
    return summarise_load(name, seconds, records, memory)


def run_client(send: SendRequest, expected: Sequence[Hashable], first: int, deadline: float) -> ClientRecord:
    """Send requests until the deadline, and record the answers."""
    record = ClientRecord()
    for number in count(first):
        started = time.perf_counter()
        if started >= deadline:
            break
        fault = find_fault(send, number % len(expected), expected[number % len(expected)])
        if fault:
            record.faults[fault] += 1
        else:
            record.correct_ms.append((time.perf_counter() - started) * 1000)
        if fault == RefusedError.__name__:
            time.sleep(max(0.0, min(1.0, deadline - time.perf_counter())))  # `Retry-After: 1`
    return record


def find_fault(send: SendRequest, number: int, expected: Hashable) -> str:
    """Send one request; returns what is wrong with the answer, or an empty string if it is the expected one."""
    try:
        answer = send(number)
    except (RefusedError, WrongAnswerError) as error:
        return type(error).__name__
    except Exception as error:  # noqa: BLE001 (every error that a caller would see is counted)
        return f"{type(error).__name__}: {error}"[:200]
    return "" if answer == expected else WrongAnswerError.__name__


def summarise_load(
    name: str, seconds: float, records: Sequence[ClientRecord], memory: Sequence[tuple[float, float]]
) -> LoadResult:
    """Counts, quantiles of the correct answers' times, and the growth of the memory."""
    correct_ms = np.concatenate([np.asarray(record.correct_ms) for record in records])
    faults = sum((record.faults for record in records), Counter())
    refused = faults.pop(RefusedError.__name__, 0)
    quantiles = np.quantile(correct_ms, (0.5, 0.95, 0.99)) if len(correct_ms) else [float("nan")] * 3
    p50, p95, p99 = (round(float(value), 1) for value in quantiles)
    return LoadResult(
        name=name,
        clients=len(records),
        seconds=round(seconds, 1),
        answers=len(correct_ms),
        per_second=round(len(correct_ms) / seconds, 1),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        refused=refused,
        errors=dict(faults),
        first_mb=round(memory[0][1], 1),
        last_mb=round(memory[-1][1], 1),
        mb_per_minute=round(fit_growth(memory), 2),
    )


def fit_growth(memory: Sequence[tuple[float, float]]) -> float:
    """MB per minute, by least squares over the last third of the samples (seconds, MB); 0 for fewer than three.

    Threads, caches and the allocator fill up before; on a slow machine that takes more than a minute.
    """
    later: npt.NDArray[np.float64] = np.array(memory[len(memory) * 2 // 3 :])
    if len(later) < 3:
        return 0.0
    return float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) * 60


@contextmanager
def sample_memory(pid: int, interval: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """Yield a list that grows by one sample (seconds, MB) of a process's memory per interval."""
    samples, done, started = [(0.0, resident_megabytes(pid))], Event(), time.perf_counter()

    def sample() -> None:
        while not done.wait(interval):
            samples.append((time.perf_counter() - started, resident_megabytes(pid)))

    sampler = Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        done.set()
        sampler.join()


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process in MB; 0 if it has ended."""
    ps = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return int(ps.stdout or 0) / 1024


@contextmanager
def run_service(url: str, concurrency: int, clients: int) -> Iterator[tuple[int, httpx.Client]]:
    """Run `anthem serve` for a cluster; yields its process number and an HTTP client with a connection per client."""
    with NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*SERVE_COMMAND, "--port", "0", "--concurrency", str(concurrency)],
            stdout=log, stderr=log, env=os.environ | {"OPENSEARCH_URL": url},
        )  # fmt: skip
        try:
            limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
            with httpx.Client(base_url=wait_for_url(process, log.name), limits=limits, timeout=60) as http:
                yield process.pid, http
        finally:
            process.terminate()
            process.wait(30)


def wait_for_url(process: subprocess.Popen[bytes], log_path: str, seconds: float = 60) -> str:
    """Wait until a service logs the URL at which it listens, and return the URL.

    Raises:
        RuntimeError: The service ended, or did not log its URL in time.
    """
    deadline, output = time.monotonic() + seconds, ""
    while process.poll() is None and time.monotonic() < deadline:
        with open(log_path, encoding="utf-8") as log:  # noqa: PTH123 (tempfile returns the path as a string)
            output = log.read()
        if match := re.search(r"http://127\.0\.0\.1:\d+", output):
            return match[0]
        time.sleep(0.05)
    raise RuntimeError(f"anthem serve does not listen: {output}")


def load_search_client(url: str, dataset: Dataset, encoder: Encoder, settings: LoadSettings) -> Iterator[LoadResult]:
    """Loads on the search client in both modes, which runs in this process."""
    queries, names = list(dataset.queries.values()), [name for name in LOAD_NAMES[:2] if name in settings.names]
    if not names:
        return
    with OpenSearch(hosts=[url], timeout=60, pool_maxsize=settings.clients) as opensearch:
        opensearch.indices.delete(index=LOAD_INDEX, ignore_unavailable=True)
        load_products(opensearch, LOAD_INDEX, dataset.products.values(), encoder)
        anthem = AnthemClient(opensearch, encoder, ClientOptions(cache_size=0))  # encode every query, as if it were new
        for name in names:
            mode: Literal["cluster", "client"] = "cluster" if name.endswith("cluster") else "client"
            yield run_load(name, search_requests(anthem, queries, mode), settings, os.getpid())
        opensearch.indices.delete(index=LOAD_INDEX)


def load_service(url: str, dataset: Dataset, settings: LoadSettings) -> Iterator[LoadResult]:
    """Loads on the service: with capacity for all clients, and then with capacity for one eighth of them."""
    queries, titles = list(dataset.queries.values()), [product.title for product in dataset.products.values()]
    # A client may send a request before the service has stopped counting its previous one.
    with run_service(url, 2 * settings.clients, settings.clients) as (pid, http):
        requests: dict[str, Callable[[], SendRequest]] = {
            "/v1/rerank": lambda: rerank_requests(http, queries, titles),
            "/v1/rerank, new queries": lambda: new_query_requests(http, titles),
            "/rewrite": lambda: rewrite_requests(http, queries),
        }
        for name, prepare in requests.items():
            if name in settings.names:
                yield run_load(name, prepare(), settings, pid)
    if FULL_LOAD_NAME in settings.names:
        with run_service(url, max(1, settings.clients // 8), settings.clients) as (pid, http):
            yield run_load(FULL_LOAD_NAME, rerank_requests(http, queries, titles), settings, pid)


def format_load_table(results: Sequence[LoadResult]) -> str:
    """A markdown table with one row per load."""
    header = "| load | clients | s | answers | answers/s | p50 ms | p95 ms | p99 ms | refused | errors | MB | MB/min |"
    rows = [
        f"| {result.name} | {result.clients} | {result.seconds:.0f} | {result.answers:,} | {result.per_second:,.0f} | "
        f"{result.p50_ms} | {result.p95_ms} | {result.p99_ms} | {result.refused:,} | {sum(result.errors.values())} | "
        f"{result.first_mb:.0f} to {result.last_mb:.0f} | {result.mb_per_minute:+.1f} |"
        for result in results
    ]
    return "\n".join([header, "|---|" + "---:|" * 11, *rows])


@click.command()
@click.option(
    "--clients", type=click.IntRange(1, 256), default=64, show_default=True, help="Number of concurrent clients."
)
@click.option(
    "--seconds",
    type=FiniteFloatRange(0.1, 3_600),
    default=180.0,
    show_default=True,
    help="Duration of each load.",
)
@click.option(
    "--only",
    "names",
    type=click.Choice([*LOAD_NAMES, FULL_LOAD_NAME]),
    multiple=True,
    help="A load to run; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(clients: int, seconds: float, names: tuple[str, ...], *, as_json: bool) -> None:
    """Run six loads on the search client and the service, on the loopback address, and report the results.

    The cluster is ANTHEM_TEST_URL if set, else one in Docker, else a local node. The index `anthem-load` is created
    and deleted. Exit code 1: a load had errors or wrong answers, or memory grew by more than 6 MB per minute.

    Example: python bench/load.py --clients 8 --seconds 5
    """
    settings = LoadSettings(clients, seconds, names=names or LoadSettings.names)
    dataset = generate_catalogue(products=CATALOGUE_SIZE)
    encoder = Encoder(load_bundle("general"))
    results = []
    needs_cluster = any(name in settings.names for name in LOAD_NAMES[:2])
    with cluster_for_tests() if needs_cluster else nullcontext(CLOSED_ADDRESS) as url:
        for loads in (load_search_client(url, dataset, encoder, settings), load_service(url, dataset, settings)):
            for result in loads:
                stderr.print(result)
                results.append(result)
    report = {"machine": describe_machine(), "loads": [asdict(result) for result in results]}
    print_result(report, f"{describe_machine()}\n\n{format_load_table(results)}", as_json=as_json)
    sys.exit(any(result.errors or result.mb_per_minute > MAX_MB_PER_MINUTE for result in results))


if __name__ == "__main__":
    main()
