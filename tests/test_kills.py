"""`anthem ingest` and `anthem serve` killed at random times, on a real node."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from opensearchpy.helpers import scan

pytestmark = pytest.mark.node

INGEST_COMMAND = [sys.executable, "-c", "from anthem_ingest.cli import ingest; ingest()"]
SERVE_COMMAND = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]
RERANK_REQUEST = {"query": "red lamp", "documents": ["red lamp", "blue lamp", "garden hose", "lamp shade"] * 25}


def create_index(client, index, size):
    """Create an index of numbered lamps."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 2, "number_of_replicas": 0}})
    for start in range(0, size, 5_000):
        numbers = range(start, min(size, start + 5_000))
        lines = (line for n in numbers for line in ({"index": {"_id": str(n)}}, {"title": f"red lamp {n}"}))
        assert not client.bulk(index=index, body=list(lines))["errors"]
    client.indices.refresh(index=index)


def count_vectors(client, index):
    """Number of products with a vector."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.vector"}}})["count"]


def count_versions(client, index):
    """Number of products per version, which counts how often a product was written."""
    hits = scan(client, {"version": True, "_source": False, "query": {"match_all": {}}}, index=index, size=5_000)
    return Counter(hit["_version"] for hit in hits)


def test_an_ingest_killed_at_random_loses_and_repeats_nothing(
    client, cluster, index, proof, wait_until, tmp_path, record_figures
):
    """After an ingest is killed at random times and run again, every product has a vector that was written once."""
    kills, products, rate = (20, 40_000, 500) if proof else (2, 2_000, 250)
    create_index(client, index, products)
    command = [*INGEST_COMMAND, index, "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    rng, vector_counts = random.Random(7), [0]
    for _ in range(kills):
        with subprocess.Popen(
            [*command, "--rate", str(rate)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            wait_until(
                lambda process=process: process.poll() is not None or count_vectors(client, index) > vector_counts[-1]
            )
            time.sleep(rng.uniform(0, 2))
            assert process.poll() is None, "the ingest ended before it was killed"
            process.kill()
        vector_counts.append(count_vectors(client, index))
    process = subprocess.run([*command, "--json"], check=True, capture_output=True)
    counts = json.loads(process.stdout)
    assert counts["written"] <= products - vector_counts[-1]
    assert counts["written"] + counts["skipped"] == count_vectors(client, index) == products
    assert count_versions(client, index) == {2: products}
    record_figures(f"{kills} kills of ingest", products=products, with_a_vector_after_each=vector_counts[1:])


def is_running(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def list_children(pid):
    """Ids of the child processes of a process, of all its threads."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


@pytest.mark.parametrize(
    ("number", "to_group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)]
)
def test_slices_stop_with_their_parent(client, cluster, index, wait_until, tmp_path, number, to_group):
    """Ctrl-C in a terminal, SIGTERM and SIGKILL end all processes of `--slices`; the next run writes the rest."""
    products = 2_000  # at 200 per second: enough for a busy machine to see the first before the last
    create_index(client, index, products)
    command = [*INGEST_COMMAND, index, "--url", cluster, "--slices", "2", "--dead-letter", str(tmp_path / "dead")]
    with subprocess.Popen(
        [*command, "--rate", "200"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        wait_until(lambda: process.poll() is not None or count_vectors(client, index) > 0)
        assert process.poll() is None, process.stderr.read()
        children = list_children(process.pid)
        assert len(children) >= 2
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.wait() == 130 if number == signal.SIGINT else process.wait() != 0
        wait_until(lambda: not any(map(is_running, children)))
        message = process.stderr.read()
    assert b"Traceback" not in message, message
    written = count_vectors(client, index)
    time.sleep(1)
    assert count_vectors(client, index) == written < products
    done = subprocess.run([*command, "--json"], check=True, capture_output=True)
    counts = json.loads(done.stdout)
    assert (counts["written"], counts["skipped"]) == (products - written, written)
    assert count_versions(client, index) == {2: products}


def test_a_service_killed_under_load_restarts_unchanged(wait_until, tmp_path, proof, record_figures):
    """While a service is killed, a client gets a correct answer or loses the connection; after a restart it answers."""
    kills, port, expected, counts = (10 if proof else 1), "0", None, Counter()
    for number in range(kills):
        log = (tmp_path / str(number)).open("a+")  # the service appends to it, wherever this process reads
        with (
            log,
            subprocess.Popen(
                [*SERVE_COMMAND, "--port", port, "--json"], stdout=log, stderr=log, env=environment_without_cluster()
            ) as process,
        ):
            port = str(
                json.loads(wait_until(lambda log=log, process=process: find_listening_line(log, process)))["port"]
            )
            url = f"http://127.0.0.1:{port}/v1/rerank"
            expected = expected or check_results(httpx.post(url, json=RERANK_REQUEST, timeout=60))
            answers = []
            with ThreadPoolExecutor(8) as threads:
                clients = [threads.submit(send_until_killed, url, process, answers) for _ in range(8)]
                wait_until(lambda answers=answers: len(answers) >= 24)
                process.send_signal(signal.SIGKILL)
            for sender in clients:
                sender.result()  # raises the error of a client
        lost = sum(answer is None for answer in answers)
        assert all(answer in (expected, None) for answer in answers)
        counts.update(right=len(answers) - lost, lost=lost)
    record_figures(f"{kills} kills of serve, 8 clients", **counts)


def environment_without_cluster():
    """An environment whose cluster address does not answer."""
    return os.environ | {"OPENSEARCH_URL": "http://127.0.0.1:9"}


def find_listening_line(log, process):
    """The line that a service prints when it listens, or None."""
    log.seek(0)
    assert process.poll() is None, log.read()
    return next((line for line in log if line.startswith("{") and line.endswith("}\n")), None)


def check_results(response):
    """The documents of a response in order, with their scores; its status must be 200."""
    assert response.status_code == 200, response.text
    return response.json()["results"]


def send_until_killed(url, process, answers):
    """Send requests until the service has ended, and append each answer; None for a lost connection."""
    with httpx.Client(timeout=60) as http:
        while process.poll() is None:
            try:
                answers.append(check_results(http.post(url, json=RERANK_REQUEST)))
            except httpx.TransportError:
                answers.append(None)
