"""Ingest into a cluster that is busy, slow or changing, and ingest that is killed, on a real node."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tenacity import wait_random_exponential

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.versions import SHARD_DOC_SORT
from anthem_ingest import index_io
from anthem_ingest.ingest import IngestOptions, ingest_index

pytestmark = pytest.mark.node

INGEST_COMMAND = "from anthem_ingest.cli import ingest; ingest()"


def create_index(client, index, number):
    """Create an index of numbered sofas."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 2, "number_of_replicas": 0}})
    lines = [line for n in range(number) for line in ({"index": {"_id": str(n)}}, {"title": f"red sofa {n}"})]
    client.bulk(index=index, body=lines, refresh=True)


@contextmanager
def run_faulty_proxy(url, faults):
    """A loopback proxy in front of a cluster that applies one fault to each bulk request, until none is left.

    A fault is a status to answer with, or a function that changes the response.
    """

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_bulk = self.path.partition("?")[0].endswith("/_bulk")
            fault = faults.pop(0) if is_bulk and faults else None
            status, answer = (fault, b"{}") if isinstance(fault, int) else self.forward(body)
            answer = fault(answer) if callable(fault) else answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST  # noqa: N815

        def forward(self, body):
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            request = urllib.request.Request(url + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        def log_message(self, *_):
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def refuse_half(response):
    """A successful bulk response in which every second product is changed to 429."""
    changed = json.loads(response)
    for item in changed["items"][::2]:
        (result,) = item.values()
        result.update(status=429, error={"type": "opensearch_rejected_execution_exception", "reason": "busy"})
    return json.dumps(changed).encode()


@pytest.fixture
def short_waits(monkeypatch):
    """Waits of milliseconds between attempts."""
    monkeypatch.setattr(index_io, "_backoff", wait_random_exponential(multiplier=0.001, max=0.01))


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("faults", [[429], [503, 429, 502], [refuse_half], [429, refuse_half, 503, refuse_half]])
def test_a_busy_cluster_loses_no_product(client, cluster, index, encoder, faults):
    """Refused requests and refused products are sent again, and every product gets its vector, once."""
    create_index(client, index, 30)
    with run_faulty_proxy(cluster, faults) as url, connect(url) as slow:
        report = ingest_index(slow, index, encoder)
    assert not faults
    assert (report.written + report.skipped, report.failed, report.conflicts) == (30, 0, 0)
    assert versions(client, index) == {2}


@pytest.mark.usefixtures("short_waits")
def test_a_cluster_that_stays_busy_is_not_retried_forever(client, cluster, index, encoder):
    """After the last attempt, refused products count as failures with the reason, and the run continues."""
    create_index(client, index, 30)
    with run_faulty_proxy(cluster, [429] * index_io.MAX_ATTEMPTS) as url, connect(url) as slow:
        report = ingest_index(slow, index, encoder)
    assert (report.written, report.failed) == (0, 30)
    assert "429" in report.failures[0].reason


@pytest.mark.usefixtures("short_waits")
def test_a_cluster_that_is_gone_ends_the_run(client, index, encoder, monkeypatch):
    """If the cluster stops answering, the run ends after all attempts with an error that names the cause."""
    create_index(client, index, 3)
    monkeypatch.setattr(index_io, "MAX_ATTEMPTS", 2)
    with connect("http://127.0.0.1:9") as gone:
        monkeypatch.setattr(client, "bulk", gone.bulk)
        with pytest.raises(ClusterError, match="does not answer"):
            ingest_index(client, index, encoder)


def versions(client, index):
    """The versions that occur among the products of an index; a version counts how often a product was written."""
    body = {"size": 10_000, "version": True, "_source": False}
    return {hit["_version"] for hit in client.search(index=index, body=body)["hits"]["hits"]}


def count_vectors(client, index):
    """Number of products with a vector."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.vector"}}})["count"]


def test_a_killed_run_loses_nothing_and_writes_nothing_twice(client, cluster, index, tmp_path):
    """After three killed runs and a complete one, every product has its vector and was written once."""
    create_index(client, index, 2_000)
    command = [sys.executable, "-c", INGEST_COMMAND, index, "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    for kill_after in (1, 500, 1_000):
        process = subprocess.Popen([*command, "--rate", "300"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while count_vectors(client, index) < kill_after and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, "it must be killed before it ends"
        process.kill()
        process.wait()
    done = subprocess.run([*command, "--json"], check=True, capture_output=True)
    counts = json.loads(done.stdout)
    assert counts["written"] <= 1_000
    assert counts["written"] + counts["skipped"] == count_vectors(client, index) == 2_000
    assert versions(client, index) == {2}


def test_a_lost_point_in_time_ends_the_run_and_the_next_one_finishes(client, index, encoder, monkeypatch):
    """If a point in time is lost, the run ends with an error; the next run writes only what is left."""
    if not index_io.read_release(client).has(SHARD_DOC_SORT):
        pytest.skip("this release reads by scroll")
    create_index(client, index, 6)
    pages = index_io.read_product_pages

    def lose_view(*args):
        for page in pages(*args):
            yield page
            client.delete_all_pits()

    monkeypatch.setattr(index_io, "PRODUCTS_PER_PAGE", 2)
    with monkeypatch.context() as patched:
        patched.setattr(index_io, "read_product_pages", lose_view)
        with pytest.raises(ClusterError, match=r"left the cluster.*Run the command again"):
            ingest_index(client, index, encoder)
    client.indices.refresh(index=index)
    before = count_vectors(client, index)
    assert before < 6
    assert ingest_index(client, index, encoder).written == 6 - before


def test_changes_during_a_run_are_kept(client, index, encoder):
    """All updates from another thread are kept, and products that a run skipped get their vector in the next one."""
    create_index(client, index, 600)
    stop = threading.Event()
    changed = []

    def change_titles():
        while not stop.is_set():
            number = len(changed) % 600
            body = {"doc": {"title": f"boot {len(changed)}", "price": 1}}
            client.update(index=index, id=str(number), body=body, retry_on_conflict=9)
            changed.append(number)

    thread = threading.Thread(target=change_titles)
    thread.start()
    try:
        reports = [ingest_index(client, index, encoder) for _ in range(2)]
    finally:
        stop.set()
        thread.join()
    assert all(report.failed == 0 for report in reports)
    last = {number: f"boot {order}" for order, number in enumerate(changed)}
    client.indices.refresh(index=index)
    report = ingest_index(client, index, encoder)
    assert (report.failed, report.conflicts) == (0, 0)
    found = client.mget(index=index, body={"ids": [str(number) for number in last]})["docs"]
    assert {int(hit["_id"]): hit["_source"]["title"] for hit in found} == last
    assert count_vectors(client, index) == 600


def test_a_rate_is_kept(client, index, encoder):
    """No more products are written per second than `rate` allows."""
    create_index(client, index, 60)
    started = time.perf_counter()
    assert ingest_index(client, index, encoder, options=IngestOptions(rate=40)).written == 60
    assert time.perf_counter() - started > 59 / 40
