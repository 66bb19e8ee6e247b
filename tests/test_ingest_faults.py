"""Ingest against a cluster that is busy, slow or changing, and killed at any moment, on a real node."""

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
from anthem_ingest.ingest import ingest_index

pytestmark = pytest.mark.node

COMMAND = "from anthem_ingest.cli import ingest; ingest()"


def fill(client, index, number):
    """Make an index of numbered sofas."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 2, "number_of_replicas": 0}})
    lines = [line for n in range(number) for line in ({"index": {"_id": str(n)}}, {"title": f"red sofa {n}"})]
    client.bulk(index=index, body=lines, refresh=True)


@contextmanager
def faulty(url, faults):
    """A proxy on loopback before a cluster, whose answers to bulk requests are spoilt by `faults`, the first first."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            bulk = self.path.startswith("/_bulk")
            fault = faults.pop(0) if bulk and faults else None
            status, answer = (fault, b"{}") if isinstance(fault, int) else self.passed_on(body)
            answer = fault(answer) if callable(fault) else answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST  # noqa: N815

        def passed_on(self, body):
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            request = urllib.request.Request(url + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def refused(answer):
    """The answer to a bulk request that was done, with every second product refused as too much."""
    changed = json.loads(answer)
    for item in changed["items"][::2]:
        (result,) = item.values()
        result.update(status=429, error={"type": "opensearch_rejected_execution_exception", "reason": "busy"})
    return json.dumps(changed).encode()


@pytest.fixture
def hasty(monkeypatch):
    """Back-off in milliseconds."""
    monkeypatch.setattr(index_io, "_wait", wait_random_exponential(multiplier=0.001, max=0.01))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("faults", [[429], [503, 429, 502], [refused], [429, refused, 503, refused]])
def test_a_busy_cluster_costs_time_and_no_product(client, cluster, index, encoder, faults):
    """Whole requests and single products refused as too much are sent again, and every product gets its one vector."""
    fill(client, index, 30)
    with faulty(cluster, faults) as url, connect(url) as slow:
        report = ingest_index(slow, index, encoder)
    assert not faults
    assert (report.written + report.skipped, report.failed, report.conflicts) == (30, 0, 0)
    assert versions(client, index) == {2}


@pytest.mark.usefixtures("hasty")
def test_a_cluster_that_stays_busy_is_not_asked_for_ever(client, cluster, index, encoder):
    """After the last attempt the products that were refused are failures with the reason, and the run goes on."""
    fill(client, index, 30)
    with faulty(cluster, [429] * index_io.MAX_ATTEMPTS) as url, connect(url) as slow:
        report = ingest_index(slow, index, encoder)
    assert (report.written, report.failed) == (0, 30)
    assert "429" in report.failures[0].reason


@pytest.mark.usefixtures("hasty")
def test_a_cluster_that_is_gone_ends_the_run(client, index, encoder, monkeypatch):
    """A cluster that does not answer any more is an error in words, after the attempts."""
    fill(client, index, 3)
    monkeypatch.setattr(index_io, "ATTEMPTS", 2)
    with connect("http://127.0.0.1:9") as gone:
        monkeypatch.setattr(client, "bulk", gone.bulk)
        with pytest.raises(ClusterError, match="does not answer"):
            ingest_index(client, index, encoder)


def versions(client, index):
    """Set of versions of the products of an index, which count how often each was written."""
    body = {"size": 10_000, "version": True, "_source": False}
    return {hit["_version"] for hit in client.search(index=index, body=body)["hits"]["hits"]}


def pointed(client, index):
    """Number of products with a vector."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.vector"}}})["count"]


def test_a_run_that_is_killed_loses_nothing_and_doubles_nothing(client, cluster, index, tmp_path):
    """Killed at three moments and run again, every product has its vector, and was written once."""
    fill(client, index, 2_000)
    command = [sys.executable, "-c", COMMAND, index, "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    for share in (1, 500, 1_000):
        process = subprocess.Popen([*command, "--rate", "300"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while pointed(client, index) < share and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, "it was to be killed before its end"
        process.kill()
        process.wait()
    done = subprocess.run([*command, "--json"], check=True, capture_output=True)
    counts = json.loads(done.stdout)
    assert counts["written"] <= 1_000
    assert counts["written"] + counts["skipped"] == pointed(client, index) == 2_000
    assert versions(client, index) == {2}


def test_a_view_that_is_lost_is_told_and_the_next_run_finishes(client, index, encoder, monkeypatch):
    """A point in time goes with its node: the run ends and says so, and the next one writes what is left, no more."""
    if not index_io.read_release(client).has(SHARD_DOC_SORT):
        pytest.skip("an index is read by scroll there")
    fill(client, index, 6)
    pages = index_io.read_product_pages

    def losing(*args):
        for page in pages(*args):
            yield page
            client.delete_all_pits()

    monkeypatch.setattr(index_io, "PAGE", 2)
    with monkeypatch.context() as patched:
        patched.setattr(index_io, "pages", losing)
        with pytest.raises(ClusterError, match=r"went away.*Run ingest again"):
            ingest_index(client, index, encoder)
    client.indices.refresh(index=index)
    before = pointed(client, index)
    assert before < 6
    assert ingest_index(client, index, encoder).written == 6 - before


def test_changes_while_a_run_goes_on_all_stay(client, index, encoder):
    """Live updates from another thread are all there afterwards, and what the run left alone the next one takes."""
    fill(client, index, 600)
    stop = threading.Event()
    changed = []

    def live():
        while not stop.is_set():
            number = len(changed) % 600
            body = {"doc": {"title": f"boot {len(changed)}", "price": 1}}
            client.update(index=index, id=str(number), body=body, retry_on_conflict=9)
            changed.append(number)

    thread = threading.Thread(target=live)
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
    assert pointed(client, index) == 600


def test_a_rate_is_kept(client, index, encoder):
    """No more products are written a second than were asked for."""
    from anthem_ingest.ingest import IngestOptions

    fill(client, index, 60)
    started = time.perf_counter()
    assert ingest_index(client, index, encoder, options=IngestOptions(rate=40)).written == 60
    assert time.perf_counter() - started > 59 / 40
