"""Throughput, latency and memory of `anthem serve`: `/v1/rerank` with 100 real titles, beside `/health`.

python bench/service.py
python bench/service.py --runs 3 --requests 500 --json

The load generator shares the machine with the service, so it costs little: one thread, kept connections, prepared
bytes. Every request has a query of its own, and there are more of them than the service caches.
"""

from __future__ import annotations

import json
import random
import re
import selectors
import socket
import time
from dataclasses import asdict, dataclass, field
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import httpx
import numpy as np

from anthem_core.beir import read_dataset
from anthem_core.console import handle_errors, json_option, print_result, progress
from anthem_evaluation.measure import describe_machine
from cells import benchmark_data_folder
from load import CLOSED_ADDRESS, run_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.beir import Dataset

DATASET_NAME = "home_depot"
TITLES_PER_REQUEST = 100
PREPARED_REQUESTS = 4_000
WARM_UP_REQUESTS = 200
RECEIVED_BYTES = 2**16

_HEADER_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class EndpointLoad:
    """A path, its prepared requests, and the number of connections that send them without a pause."""

    path: str
    requests: Iterator[bytes]
    connections: int


@dataclass
class EndpointFigures:
    """Figures of an endpoint, one value per run; `--json` prints them."""

    path: str
    connections: int
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p90_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)  # of the service, per request

    def format_row(self) -> str:
        """A row of the table: medians, and the range of the throughput."""
        rates = f"{median(self.per_second):,.0f} | {min(self.per_second):,.0f} to {max(self.per_second):,.0f}"
        times = " | ".join(f"{median(values):.2f}" for values in (self.p50_ms, self.p90_ms, self.processor_ms))
        return f"| `{self.path}` | {self.connections} | {rates} | {times} |"


class LoadConnection:
    """A kept connection, which has one request in progress at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self._received = b""
        self._started = 0.0

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._received, self._started = b"", time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float | None:
        """Milliseconds from the request to the complete answer; None if a part of the answer is still missing.

        Raises:
            ConnectionError: The service closed the connection, or answered another status than 200.
        """
        part = self.socket.recv(RECEIVED_BYTES)
        self._received += part
        head, end, body = self._received.partition(_HEADER_END)
        if not part or (end and b" 200 " not in head[:16]):
            raise ConnectionError(f"the service answered {self._received[:200]!r}; expected status 200")
        length = _CONTENT_LENGTH.search(head) if end else None
        if length is None or len(body) < int(length[1]):
            return None
        return 1000 * (time.perf_counter() - self._started)


def send_requests(address: tuple[str, int], load: EndpointLoad, count: int) -> tuple[list[float], float]:
    """Send `count` requests over all connections; returns the milliseconds of each, and the seconds of all."""
    milliseconds: list[float] = []
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(min(load.connections, count)):
            connection = LoadConnection(address)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(load.requests))
        unsent = count - len(selector.get_map())
        while selector.get_map():
            for key, _ in selector.select():
                elapsed = key.data.receive()
                if elapsed is None:
                    continue
                milliseconds.append(elapsed)
                if unsent:
                    key.data.send(next(load.requests))
                    unsent -= 1
                else:
                    selector.unregister(key.data.socket)
                    key.data.socket.close()
    return milliseconds, time.perf_counter() - started


def prepare_rerank_requests(dataset: Dataset, host: str) -> list[bytes]:
    """Requests to `/v1/rerank`, each with another query and random titles of a dataset."""
    generator = random.Random(0)
    titles, queries = [product.title for product in dataset.products.values()], sorted(set(dataset.queries.values()))
    return [
        format_request(
            "POST", "/v1/rerank", host, {"query": text, "documents": generator.sample(titles, TITLES_PER_REQUEST)}
        )
        for text in generator.sample(queries, PREPARED_REQUESTS)
    ]


def format_request(method: str, path: str, host: str, body: dict[str, Any] | None = None) -> bytes:
    """An HTTP request as bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}{_HEADER_END.decode()}".encode() + content


def measure_service(
    url: httpx.URL, loads: Sequence[EndpointLoad], runs: int, count: int
) -> tuple[list[EndpointFigures], dict[str, float]]:
    """Figures of every load, which take turns, and the resident MB after the warm-up and after all requests."""
    address = (url.host, url.port or 80)
    figures = [EndpointFigures(load.path, load.connections) for load in loads]
    for load in loads:
        send_requests(address, load, WARM_UP_REQUESTS)
    resident_mb = {"after_warm_up": read_process_metric(url, "resident_memory_bytes") / 2**20}
    with progress("measuring", runs * len(loads)) as advance:
        for load, figure in [*zip(loads, figures, strict=True)] * runs:
            processor_seconds = read_process_metric(url, "cpu_seconds_total")
            milliseconds, seconds = send_requests(address, load, count)
            processor_seconds = read_process_metric(url, "cpu_seconds_total") - processor_seconds
            p50, p90 = np.quantile(milliseconds, (0.5, 0.9))
            figure.per_second.append(round(count / seconds, 1))
            figure.p50_ms.append(round(float(p50), 2))
            figure.p90_ms.append(round(float(p90), 2))
            figure.processor_ms.append(round(1000 * processor_seconds / count, 3))
            advance(1)
    resident_mb["after_all"] = read_process_metric(url, "resident_memory_bytes") / 2**20
    return figures, {moment: round(megabytes, 1) for moment, megabytes in resident_mb.items()}


def read_process_metric(url: httpx.URL, name: str) -> float:
    """Value of a metric of the service's process, such as its resident memory; Linux alone has them."""
    found = re.search(rf"^process_{name} (\S+)$", httpx.get(url.join("/metrics")).text, re.MULTILINE)
    return float(found[1]) if found else float("nan")


@click.command()
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Number of runs of each load.")
@click.option("--requests", "count", type=click.IntRange(1), default=1_000, show_default=True, help="Requests a run.")
@click.option(
    "--connections", type=click.IntRange(2, 32), default=8, show_default=True, help="Connections of the larger load."
)
@json_option
@handle_errors
def main(*, runs: int, count: int, connections: int, as_json: bool) -> None:
    """Measure `anthem serve` on the loopback address, with one connection and with several. Run it on an idle machine.

    Example: python bench/service.py --runs 3 --requests 500
    """
    dataset = read_dataset(benchmark_data_folder() / DATASET_NAME)
    with run_service(CLOSED_ADDRESS, 2 * connections, 1) as (_, http):
        requests = cycle(prepare_rerank_requests(dataset, http.base_url.host))
        nothing = cycle([format_request("GET", "/health", http.base_url.host)])
        loads = [
            EndpointLoad(path, prepared, number)
            for number in (1, connections)
            for path, prepared in (("/health", nothing), ("/v1/rerank", requests))
        ]
        figures, resident_mb = measure_service(http.base_url, loads, runs, count)
    machine = describe_machine()
    report = {"machine": machine, "loads": [asdict(figure) for figure in figures], "resident_mb": resident_mb}
    print_result(report, f"{machine}\n\n{format_endpoint_table(figures, resident_mb)}", as_json=as_json)


def format_endpoint_table(figures: Sequence[EndpointFigures], resident_mb: dict[str, float]) -> str:
    """A markdown table with one row per load, then the ratio of the two endpoints and the memory."""
    nothing, rerank = (median(figure.per_second) for figure in figures[-2:])
    return "\n".join(
        [
            "| endpoint | connections | requests/s | runs | p50 ms | p90 ms | processor ms |",
            "|---|" + "---:|" * 6,
            *(figure.format_row() for figure in figures),
            "",
            f"`{figures[-1].path}`: {rerank / nothing:.0%} of the requests/s of `{figures[-2].path}`",
            f"resident: {resident_mb['after_warm_up']} MB after the warm-up, {resident_mb['after_all']} MB at the end",
        ]
    )


if __name__ == "__main__":
    main()
